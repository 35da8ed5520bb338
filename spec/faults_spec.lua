--- Every allocation of the library fails once: the call raises "out of memory" or does without, nothing is lost, and the next call works.

local child = require("spec.child")

local HEAD = [[
local ffi = require("ffi")
ffi.cdef("void fault_arm(long n); bool fault_disarm(void);")

--- Runs `step` with its n-th allocation failing, for all n, and without. Whenever it succeeds, and always when nothing fails, its result is `wanted`.
local function each_fault(name, wanted, step)
  local n, failed, fired = 0, 0, true
  assert(step() == wanted, name)
  while fired do
    n = n + 1
    ffi.C.fault_arm(n)
    local ok, result = pcall(step)
    fired = ffi.C.fault_disarm()
    if ok then
      assert(result == wanted, ("%s: fault %d changed the result to %s"):format(name, n, tostring(result)))
    else
      failed = failed + 1
      result = tostring(result)
      local said = result:find("out of memory", 1, true) or result:find("Cannot allocate memory", 1, true)
      assert(fired and said, ("%s: fault %d: %s"):format(name, n, result))
    end
    assert(lt.is_grad_enabled() and step() == wanted, ("%s does not work after fault %d"):format(name, n))
  end
  io.write(("%s: %d faults, %d raised\n"):format(name, n - 1, failed))
end
]]

local STEPS = [[
-- The 17th scope, for which memory is asked, cannot begin: the 16th and its tensors stay.
local function nest(depth)
  return lt.scope(function()
    local t = lt.full({2}, depth)
    if depth < 16 then return t + nest(depth + 1) end
    ffi.C.fault_arm(1)
    local ok, message = pcall(lt.scope, function() return lt.ones(2) end)
    assert(ffi.C.fault_disarm() and not ok and message:find("out of memory", 1, true), message)
    return t + 0
  end)
end
assert(nest(1)[0]:item() == 136 and nest(1)[0]:item() == 136)

local x = lt.arange(12):reshape(3, 4):requires_grad_()

each_fault("forward and backward", 506, function()
  x.grad = nil;
  (x * x):sum():backward()
  return ((x.grad * x):detach():sum() / 2):item()
end)

each_fault("a structured operator", 4, function()
  local y = lt.nn.functional.softmax(x:matmul(x:t()), 1)
  return math.floor(y:detach():sum():item() + 1.5)
end)

each_fault("create_graph", 36, function()
  local g = lt.autograd.grad((x ^ 3):sum(), x, {create_graph = true})[1]
  return lt.autograd.grad(g:sum(), x)[1][1][2]:detach():item()
end)

each_fault("a hook and a custom Function", 66 * 4, function()
  local Twice = lt.autograd.Function:subclass("Twice")
  function Twice.forward(ctx, t)
    ctx:save_for_backward(t)
    return t * 2
  end
  function Twice.backward(ctx, dy) return dy * ctx.saved_tensors[1] end
  local y = Twice.apply(x)
  y:register_hook(function(g) return g * 4 end)
  x.grad = nil
  y:sum():backward()
  return x.grad:sum():item()
end)

each_fault("nested scopes", 40, function()
  local function nest(depth)
    return lt.scope(function()
      local t = depth == 40 and lt.zeros(1) or nest(depth + 1)
      return t + 1
    end)
  end
  return nest(1):item() - 0
end)

each_fault("an optimizer", 1, function()
  local p = lt.ones(3, {requires_grad = true})
  local opt = lt.optim.Adam({p}, {lr = 0})
  p:sum():backward()
  opt:step()
  return p[0]:detach():item()
end)

each_fault("a file", 66, function()
  lt.save({a = x:detach(), b = {lt.ones(2)}}, PATH)
  return lt.load(PATH).a:sum():item()
end)

each_fault("a checkpoint", 66, function()
  lt.save({model = {w = x:detach(), turned = x:detach():t()}, list = {1, "x"}}, CHECKPOINT)
  return lt.load(CHECKPOINT).model.turned:sum():item()
end)

each_fault("a packed file", 15, function() return lt.load(PACKED).a:sum():item() end)
]]

describe("with each allocation failing once", function()
  local folder

  setup(function() folder = child.folder() end)
  teardown(function() child.remove_folder(folder) end)

  it("calls raise or do without, and the next ones work", function()
    if os.getenv("LN_NO_CACHE") then return pending("the sanitizers have an allocator of their own") end
    local library = folder .. "/faults.so"
    if child.shell(("cc -shared -fPIC -O1 -o %s spec/faults/malloc.c -ldl 2>&1 || echo failed"):format(library)) then return pending("there is no C compiler") end
    local paths = {PATH = folder .. "/x.safetensors", CHECKPOINT = folder .. "/x.pt", PACKED = "spec/fixtures/files/packed.npz"}
    local source = HEAD .. STEPS:gsub("%u+", function(word) return paths[word] and ("%q"):format(paths[word]) end)
    local status, output = child.run(source, ("LD_PRELOAD=%s LN_NO_CACHE=1"):format(library))
    assert.are.equal(0, status, output)
    local steps, faults = 0, 0
    for n in output:gmatch(": (%d+) faults, %d+ raised\n") do
      steps, faults = steps + 1, faults + tonumber(n)
    end
    assert.are.equal(9, steps, output)
    assert.is_true(faults > 100, output)
  end)
end)
