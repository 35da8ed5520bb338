--- Runs a model on an example, seen from outside: hooks on some of its modules for one run, in evaluation, without gradients, after which everything is as it was.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local autograd = require("lunette.autograd")
local hooks = require("lunette.nn.hooks")
local protect = require("lunette.protect")

local getmetatable, ipairs, select, type, unpack = getmetatable, ipairs, select, type, unpack

local trace = {}

--- The arguments of a call: an example is one tensor or an array of all arguments.
function trace.values(owner, example)
  if arguments.is_tensor(example) or arguments.is_packed(example) then return {n = 1, example} end
  if type(example) == "table" and getmetatable(example) == nil and #example > 0 then
    local out = {n = example.n or #example}
    for i = 1, out.n do out[i] = example[i] end
    return out
  end
  arguments.fail(("%s: the example must be a tensor, or an array of the arguments of a call, not %s"):format(owner, arguments.describe(example)))
end

--- All tensors in a value: itself, or those in an array, however deep.
function trace.tensors(value, out)
  out = out or {}
  if arguments.is_tensor(value) then
    out[#out + 1] = value
  elseif arguments.is_packed(value) then
    out[#out + 1] = value.data
  elseif type(value) == "table" and getmetatable(value) == nil then
    for i = 1, value.n or #value do trace.tensors(value[i], out) end
  end
  return out
end

local function pack(...) return {n = select("#", ...), ...} end

--- What a model returns for `values`, as an array with n. `watch`: an array of {module, before = fn(module, input), after = fn(module, input, output)}, hooks for this
--- run; what they return is taken as hooks' answers are.
function trace.run(model, values, watch)
  local modes, handles = {}, {}
  local function finish()
    for _, handle in ipairs(handles) do handle:remove() end
    for m, mode in each(modes) do m.training = mode end
  end
  return protect.call(finish, function()
    for m in model:modules() do modes[m], m.training = m.training, false end
    for _, entry in ipairs(watch or {}) do
      local m = entry[1]
      if entry.before then handles[#handles + 1] = hooks.add(m, "forward_pre", {entry.before}, false) end
      if entry.after then handles[#handles + 1] = hooks.add(m, "forward", {entry.after}, false) end
    end
    return autograd.no_grad(function() return pack(model(unpack(values, 1, values.n))) end)
  end)
end

return trace
