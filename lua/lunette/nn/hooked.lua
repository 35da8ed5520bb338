--- What runs when a module with hooks is called, or any module while there are hooks of all. Other calls never come here.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")

local fail, describe = arguments.fail, arguments.describe
local unpack, select, pcall, error, ipairs, getmetatable, type = unpack, select, pcall, error, ipairs, getmetatable, type

local hooked = {kinds = {"forward_pre", "forward", "backward_pre", "backward"}}

--- The hooks of all modules, by kind.
hooked.all = {forward_pre = {}, forward = {}, backward_pre = {}, backward = {}}

local function pack(...) return {n = select("#", ...), ...} end

-- The hooks of a call: those of all modules, then the module's own.
local function hooks_of(self, kind)
  local all, own = hooked.all[kind], getmetatable(self).hooks[kind]
  if not own or #own == 0 then return all end
  if #all == 0 then return own end
  local out = {}
  for _, list in ipairs({all, own}) do
    for _, entry in ipairs(list) do out[#out + 1] = entry end
  end
  return out
end

-- A hook's answer for several values: an array stands for all of them, anything else for the only one.
local function all_of(answer)
  if type(answer) ~= "table" or getmetatable(answer) then return {n = 1, answer} end
  answer.n = answer.n or #answer
  return answer
end

-- Inputs -----------------------------------------------------------------------------------------------------------------------------------

-- The inputs without the table of names that the call ends in, and this table.
local function split_names(input)
  local last = input[input.n]
  if input.n == 0 or arguments.form_of(last) ~= "names" then return input, {} end
  local plain = {n = input.n - 1}
  for i = 1, plain.n do plain[i] = input[i] end
  return plain, last
end

local function join_names(input, names)
  if arguments.form_of(names) ~= "names" then return input end
  local out = {n = input.n + 1}
  for i = 1, input.n do out[i] = input[i] end
  out[out.n] = names
  return out
end

local function run_pre(self, input)
  for _, entry in ipairs(hooks_of(self, "forward_pre")) do
    if entry.with_kwargs then
      local plain, names = split_names(input)
      local answer, new_names = entry[1](self, plain, names)
      if answer ~= nil and type(new_names) ~= "table" then
        fail(("%s: a forward pre-hook with kwargs returns the inputs and the table of names, the second value is %s"):format(
          self.class.__name, describe(new_names)))
      end
      if answer ~= nil then input = join_names(all_of(answer), new_names) end
    else
      local answer = entry[1](self, input)
      if answer ~= nil then input = all_of(answer) end
    end
  end
  return input
end

-- Outputs ----------------------------------------------------------------------------------------------------------------------------------

local function answer_of(entry, self, input, output)
  local value = output
  if output and output.n == 1 then value = output[1] end
  if not entry.with_kwargs then return entry[1](self, input, value) end
  local plain, names = split_names(input)
  return entry[1](self, plain, names, value)
end

local function run_after(self, input, output, done)
  for _, entry in ipairs(hooks_of(self, "forward")) do
    if done then done[entry] = true end
    local answer = answer_of(entry, self, input, output)
    if answer ~= nil then output = output.n ~= 1 and all_of(answer) or {n = 1, answer} end
  end
  return output
end

-- Backward hooks: one identity node over the inputs and one over the outputs of the call. The latter notes the gradients that come in, the former, which runs
-- when those of all inputs are known, calls the hooks. Made when first needed: autograd requires this package.
local Entrance, Exit

local function run_backward(state, grad_input)
  local grad_output = state.grad_output or {n = state.outputs}
  state.grad_output = nil
  for _, entry in ipairs(state.hooks) do
    local answer = entry[1](state.module, grad_input, grad_output)
    if answer ~= nil then
      if #state.positions == 0 then
        fail(("%s: a backward hook of a call whose inputs want no gradient must return nothing"):format(state.module.class.__name))
      end
      grad_input = all_of(answer)
      if grad_input.n ~= state.inputs then
        fail(("%s: a backward hook returned %d gradients for %d inputs"):format(state.module.class.__name, grad_input.n, state.inputs))
      end
    end
  end
  return grad_input
end

local function run_backward_pre(state, grad_output)
  for _, entry in ipairs(state.pre_hooks) do
    local answer = entry[1](state.module, grad_output)
    if answer ~= nil then
      grad_output = all_of(answer)
      if grad_output.n ~= state.outputs then
        fail(("%s: a backward pre-hook returned %d gradients for %d outputs"):format(state.module.class.__name, grad_output.n, state.outputs))
      end
    end
  end
  return grad_output
end

-- The values in `...` at their positions among n.
local function spread(positions, n, ...)
  local out = {n = n}
  for k, position in ipairs(positions) do out[position] = select(k, ...) end
  return out
end

local function gathered(values, positions)
  local out = {}
  for k, position in ipairs(positions) do out[k] = values[position] end
  return unpack(out, 1, #positions)
end

local function make_functions()
  local Function = require("lunette.autograd").Function
  Entrance, Exit = Function:subclass("ModuleEntrance"), Function:subclass("ModuleExit")

  local function aliases(ctx, state, ...)
    ctx.state = state
    ctx:set_materialize_grads(false)
    local out = {...}
    for i = 1, #out do out[i] = out[i]:detach() end
    return unpack(out)
  end
  Entrance.forward, Exit.forward = aliases, aliases

  function Entrance.backward(ctx, ...)
    local state = ctx.state
    return nil, gathered(run_backward(state, spread(state.positions, state.inputs, ...)), state.positions)
  end

  function Exit.backward(ctx, ...)
    local state = ctx.state
    state.grad_output = run_backward_pre(state, spread(state.out_positions, state.outputs, ...))
    local results = state.grad_output
    if #state.positions == 0 then run_backward(state, {n = state.inputs}) end
    return nil, gathered(results, state.out_positions)
  end
end

-- The positions of values that want a gradient, and those values.
local function wanting(values)
  local positions, tensors = {}, {}
  for i = 1, values.n do
    if base.is_tensor(values[i]) and values[i].requires_grad then
      positions[#positions + 1], tensors[#tensors + 1] = i, values[i]
    end
  end
  return positions, tensors
end

local function replaced(values, positions, ...)
  local out = {n = values.n}
  for i = 1, values.n do out[i] = values[i] end
  for k, position in ipairs(positions) do out[position] = select(k, ...) end
  return out
end

local function enter(self, input)
  local all, pre = hooks_of(self, "backward"), hooks_of(self, "backward_pre")
  if #all == 0 and #pre == 0 then return nil, input end
  if not Entrance then make_functions() end
  local positions, tensors = wanting(input)
  local state = {module = self, hooks = all, pre_hooks = pre, positions = positions, inputs = input.n}
  if #positions == 0 then return state, input end
  return state, replaced(input, positions, Entrance.apply(state, unpack(tensors)))
end

local function leave(state, output)
  local positions, tensors = wanting(output)
  state.out_positions, state.outputs = positions, output.n
  if #positions == 0 then return output end
  return replaced(output, positions, Exit.apply(state, unpack(tensors)))
end

-- The call ---------------------------------------------------------------------------------------------------------------------------------

local function run(self, seen, ...)
  local input = run_pre(self, pack(...))
  if seen then seen.input = input end
  local state
  state, input = enter(self, input)
  local output = pack(self.forward(self, unpack(input, 1, input.n)))
  if seen then seen.output = output end
  output = run_after(self, input, output, seen and seen.done)
  if state then output = leave(state, output) end
  return output
end

-- A call with hooks that run in any case: those that an error kept from running do so before it is raised again. Their own errors are only reported.
local function run_always(self, ...)
  local seen = {input = pack(...), done = {}}
  local ok, output = pcall(run, self, seen, ...)
  if ok then return output end
  for _, entry in ipairs(hooks_of(self, "forward")) do
    if entry.always_call and not seen.done[entry] then
      local good, message = pcall(answer_of, entry, self, seen.input, seen.output)
      if not good then io.stderr:write(("warning: a forward hook that is always called raised an error: %s\n"):format(tostring(message))) end
    end
  end
  error(output, 0)
end

local function has_always(self)
  for _, entry in ipairs(hooks_of(self, "forward")) do
    if entry.always_call then return true end
  end
  return false
end

--- Runs a module with its hooks.
function hooked.call(self, ...)
  local output
  if has_always(self) then output = run_always(self, ...) else output = run(self, nil, ...) end
  return unpack(output, 1, output.n)
end

return hooked
