--- Hooks of modules: registering them, taking them off, and the call that runs them. A module without hooks never comes here.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local class = require("lunette.nn.class")

local Module, record_of = class.Module, class.record_of
local unpack, select = unpack, select

local hooks = {}

local Handle = {}
Handle.__index = Handle

local hook_kinds = {"forward_pre", "forward", "backward"}

-- A module whose last hook is gone is called directly again.
local function refresh(record)
  local some = false
  for _, kind in ipairs(hook_kinds) do
    local all = record.hooks[kind]
    some = some or all ~= nil and #all > 0
  end
  class.set_call(record, some and hooks.call or nil)
end
hooks.refresh = refresh

--- Takes the hook off; a second time does nothing.
function Handle:remove()
  local kept = {}
  for _, entry in ipairs(self.record.hooks[self.kind]) do
    if entry ~= self.entry then kept[#kept + 1] = entry end
  end
  self.record.hooks[self.kind] = kept
  refresh(self.record)
end

-- Lists of hooks are replaced, never changed, so that a hook may remove itself or others while they run.
local function add(self, kind, method, hook)
  local record = record_of(self, method)
  if type(hook) ~= "function" then
    arguments.fail(("%s: the hook must be a function, not %s"):format(method, arguments.describe(hook)))
  end
  local entry, all = {hook}, {}
  record.hooks = record.hooks or {}
  for i, other in ipairs(record.hooks[kind] or {}) do all[i] = other end
  all[#all + 1] = entry
  record.hooks[kind] = all
  refresh(record)
  return setmetatable({record = record, kind = kind, entry = entry}, Handle)
end

--- hook(m, inputs) before forward: nil, one value, or the array of all inputs.
function Module:register_forward_pre_hook(hook) return add(self, "forward_pre", "register_forward_pre_hook", hook) end

--- hook(m, inputs, output) after forward; a value that is not nil replaces the output.
function Module:register_forward_hook(hook) return add(self, "forward", "register_forward_hook", hook) end

--- hook(m, grad_input, grad_output): the gradients of the call's inputs and outputs, as arrays with n, nil where there is none;
--- the array it returns, if any, replaces grad_input.
function Module:register_backward_hook(hook) return add(self, "backward", "register_backward_hook", hook) end

function Module:register_full_backward_hook(hook) return add(self, "backward", "register_full_backward_hook", hook) end

-- The call -------------------------------------------------------------------------------------------------------------------------------

local function pack(...) return {n = select("#", ...), ...} end

-- A hook's answer for several values: an array stands for all of them, anything else for the only one.
local function all_of(answer)
  if type(answer) ~= "table" or getmetatable(answer) then return {n = 1, answer} end
  answer.n = answer.n or #answer
  return answer
end

local function run_pre(self, all, input)
  for _, entry in ipairs(all or {}) do
    local answer = entry[1](self, input)
    if answer ~= nil then input = all_of(answer) end
  end
  return input
end

local function run_after(self, all, input, output)
  for _, entry in ipairs(all or {}) do
    local several = output.n ~= 1
    local answer = entry[1](self, input, several and output or output[1])
    if answer ~= nil then output = several and all_of(answer) or {n = 1, answer} end
  end
  return output
end

-- Backward hooks: one identity node over the inputs and one over the outputs of the call. The latter notes the gradients that come in,
-- the former, which runs when those of all inputs are known, calls the hooks. Made when first needed: autograd requires this package.
local Entrance, Exit

local function answered(state, grad_input)
  local grad_output = state.grad_output or {n = state.outputs}
  state.grad_output = nil
  for _, entry in ipairs(state.entries) do
    local answer = entry[1](state.module, grad_input, grad_output)
    if answer ~= nil then grad_input = all_of(answer) end
  end
  return grad_input
end

-- The values in `...` at their places among n.
local function spread(places, n, ...)
  local out = {n = n}
  for k, place in ipairs(places) do out[place] = select(k, ...) end
  return out
end

local function make_functions()
  local Function = require("lunette.autograd").Function
  Entrance, Exit = Function:subclass("ModuleEntrance"), Function:subclass("ModuleExit")

  function Entrance.forward(ctx, state, ...)
    ctx.state = state
    return hooks.aliases(...)
  end

  function Entrance.backward(ctx, ...)
    local state = ctx.state
    local grad_input = answered(state, spread(state.places, state.inputs, ...))
    local out = {}
    for k, place in ipairs(state.places) do out[k] = grad_input[place] end
    return nil, unpack(out, 1, #state.places)
  end

  function Exit.forward(ctx, state, ...)
    ctx.state = state
    return hooks.aliases(...)
  end

  function Exit.backward(ctx, ...)
    local state = ctx.state
    state.grad_output = spread(state.out_places, state.outputs, ...)
    if #state.places == 0 then answered(state, {n = state.inputs}) end
    return nil, ...
  end
end

--- Fresh tensors over the elements of the given ones.
function hooks.aliases(...)
  local out = {...}
  for i = 1, #out do out[i] = out[i]:detach() end
  return unpack(out)
end

-- The places of values that want a gradient, and those values.
local function wanting(values)
  local places, tensors = {}, {}
  for i = 1, values.n do
    if base.is_tensor(values[i]) and values[i].requires_grad then
      places[#places + 1], tensors[#tensors + 1] = i, values[i]
    end
  end
  return places, tensors
end

local function replaced(values, places, ...)
  local out = {n = values.n}
  for i = 1, values.n do out[i] = values[i] end
  for k, place in ipairs(places) do out[place] = select(k, ...) end
  return out
end

local function enter(self, entries, input)
  if not Entrance then make_functions() end
  local places, tensors = wanting(input)
  local state = {module = self, entries = entries, places = places, inputs = input.n}
  if #places == 0 then return state, input end
  return state, replaced(input, places, Entrance.apply(state, unpack(tensors)))
end

local function leave(state, output)
  local places, tensors = wanting(output)
  state.out_places, state.outputs = places, output.n
  if #places == 0 then return output end
  return replaced(output, places, Exit.apply(state, unpack(tensors)))
end

--- What runs when a module with hooks is called.
function hooks.call(self, ...)
  local all = getmetatable(self).hooks
  local input = run_pre(self, all.forward_pre, pack(...))
  local state
  if all.backward and #all.backward > 0 then state, input = enter(self, all.backward, input) end
  local output = run_after(self, all.forward, input, pack(self.forward(self, unpack(input, 1, input.n))))
  if state then output = leave(state, output) end
  return unpack(output, 1, output.n)
end

return hooks
