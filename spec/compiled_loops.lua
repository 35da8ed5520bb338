--- Run by compiled_spec.lua in a process of its own: hot loops, and whether LuaJIT compiled them. A line each: name TAB "compiled" or why not.

local lt = require("lunette")
local nn = lt.nn

--- Runs body(n) and says whether a trace that began in it was completed; else why the traces were given up.
local function compiled(body)
  local vmdef, running, good, reasons = require("jit.vmdef"), {}, false, {}
  local function watch(what, number, func, _, code, reason)
    if what == "start" then
      running[number] = func
    elseif what == "stop" then
      good = good or running[number] == body
    elseif what == "abort" and running[number] == body then
      reasons[#reasons + 1] = (vmdef.traceerr[code] or "?"):format(tostring(reason))
    end
  end
  jit.attach(watch, "trace")
  body(1000)
  jit.attach(watch)
  return good and "compiled" or table.concat(reasons, "; ")
end

local x, y, wanting = lt.rand(8, 8), lt.rand(8, 8), lt.rand(8, 8, {requires_grad = true})
local linear, deep = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))

local loops = {
  {"a + b", function(n) for _ = 1, n do local _ = x + y end end},
  {"a chain of operators and methods", function(n) for _ = 1, n do local _ = ((x * y):exp() - 2):sum(1) end end},
  {"in place", function(n) for _ = 1, n do x:mul_(0.5):add_(y) end end},
  {"views", function(n) for _ = 1, n do local _ = x:narrow(0, 1, 4):t():reshape(-1) end end},
  {"a recorded operator and its backward", function(n) for _ = 1, n do (wanting * y):backward(x) end end},
  {"fields", function(n) for _ = 1, n do local _ = #x.shape == 2 and x.dtype == y.dtype and x.data end end},
  {"a number as index", function(n) for _ = 1, n do local _ = x[1] end end},
  {"a slice as text", function(n) for _ = 1, n do local _ = x["1:3"] end end},
  {"a loss with options", function(n) for _ = 1, n do local _ = nn.functional.mse_loss(x, y, {reduction = "sum"}) end end},
  {"tensors made from a size", function(n) for _ = 1, n do local _ = lt.zeros(8, 8) end end},
  {"a module", function(n) for _ = 1, n do local _ = linear(x) end end},
  {"a module and its backward", function(n) for _ = 1, n do linear(x):backward(y) end end},
  {"a Sequential", function(n) for _ = 1, n do local _ = deep(x) end end},
}

for _, loop in ipairs(loops) do print(loop[1] .. "\t" .. compiled(loop[2])) end
