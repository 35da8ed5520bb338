--- backward and grad. The engine is C; where it meets something that only Lua can do, a hook or a custom Function, it returns, `serve` does it and lets
--- the engine go on.

local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local each = require("lunette.each")
local protect = require("lunette.protect")
local callbacks = require("lunette.autograd.callbacks")
local gradients = require("lunette.autograd.tensor")
local modes = require("lunette.autograd.modes")

local C, ffi, T = base.C, base.ffi, base.T
local check, fail, wrap, pointer, is_tensor, take, give = base.check, base.fail, base.wrap, base.pointer, base.is_tensor, base.take, base.give
local type, select, tonumber, ipairs = type, select, tonumber, ipairs

local engine_calls = {}
local OK, NEEDS_LUA = tonumber(C.LN_OK), tonumber(C.LN_NEEDS_LUA)
local HOOKS = tonumber(C.LN_STOP_HOOKS)

-- Serving the engine ---------------------------------------------------------------------------------------------------------------------

-- A tensor that C hands over, from ask(engine, i, out).
local function taken(ask, engine, i)
  local block = take()
  local status = ask(engine, i, block.outputs)
  local p = block.outputs[0]
  give(block)
  check(status)
  return gradients.as_gradient(wrap(p))
end
engine_calls.taken = taken

local function answer(engine, i, t) check(C.ln_engine_answer(engine, i, t and pointer(t) or nil)) end
engine_calls.answer = answer

-- The numbers of the hooks of a tensor, in the order in which they were registered.
local function in_order(hooks)
  local numbers = {}
  for number in each(hooks) do numbers[#numbers + 1] = number end
  table.sort(numbers)
  return numbers
end

local function run_hooks(engine, hooks)
  local gradient = taken(C.ln_engine_gradient, engine, 0)
  for _, number in ipairs(in_order(hooks)) do
    local hook = hooks[number]
    local changed = hook and hook(gradient)
    if changed then
      local handle = gradients.handle_of(changed)
      if not is_tensor(handle) then fail("a tensor hook returns nil or the new gradient, not a " .. type(changed)) end
      gradient = changed
      answer(engine, 0, handle)
    end
  end
end

-- Does what the engine stopped for: a callback is a list of hooks, or a record of a custom Function with the method `backward`.
local function serve(engine)
  local number, counts = ffi.new("int64_t[1]"), ffi.new("int[2]")
  local kind = C.ln_engine_stop(engine, number, counts, counts + 1)
  local callback = callbacks.list[tonumber(number[0])]
  if kind == HOOKS then
    run_hooks(engine, callback)
  else
    callback:backward(engine, counts[0], counts[1])
  end
end

local function serve_recorded(engine, create_graph)
  if create_graph then return modes.enable_grad(serve, engine) end
  return modes.no_grad(serve, engine)
end

local function drive(engine, create_graph, status)
  while status == NEEDS_LUA do
    serve_recorded(engine, create_graph)
    status = C.ln_engine_run(engine)
  end
  check(status)
end

--- Lets an engine go on from `status`, and hands it back whatever happens; finish(engine) reads results before. The collector hands it back when it runs
-- in a coroutine that yields in a hook and is never resumed.
local function complete(engine, create_graph, status, finish)
  engine = ffi.gc(engine, C.ln_engine_free)
  return protect.call(function()
    C.ln_engine_free(ffi.gc(engine, nil))
    callbacks.drain()
  end, function()
    drive(engine, create_graph, status)
    return finish and finish(engine)
  end)
end

-- Arguments ------------------------------------------------------------------------------------------------------------------------------

-- An array of tensors from an argument that may be one; entries may be left out where `gaps` says so.
local function list_of(name, argument, value, gaps)
  if is_tensor(value) then return {value, n = 1} end
  local n = value.n or #value
  local list = {n = n}
  for i = 1, n do
    local t = value[i]
    if not (is_tensor(t) or gaps and t == nil) then fail(("%s: entry %d of %s must be a tensor, not %s"):format(name, i, argument, arguments.describe(t))) end
    list[i] = t
  end
  return list
end

local function pointers_of(list, n)
  local array = ffi.new("ln_tensor *[?]", n + 1)
  for i = 1, n do array[i - 1] = list[i] and pointer(list[i]) or nil end
  return array
end

--- One pass over the graph, with `create_graph`, `retain_graph`, and `inputs` that alone get gradients; `finish(engine)` reads results before the
-- engine goes.
local function pass(roots, grads, inputs, options, accumulate, finish)
  local retain = options.retain_graph
  if retain == nil then retain = options.create_graph end
  local slot = ffi.new("ln_engine *[1]")
  check(C.ln_engine_start(pointers_of(roots, roots.n), grads and pointers_of(grads, roots.n), roots.n, retain, options.create_graph,
    inputs and pointers_of(inputs, inputs.n), inputs and inputs.n or 0, accumulate, slot))
  return complete(slot[0], options.create_graph, C.ln_engine_run(slot[0]), finish)
end

-- backward and grad ----------------------------------------------------------------------------------------------------------------------

local parse_backward = arguments.signature("backward", "self:tensor, gradient:tensor?, retain_graph:bool?, create_graph:bool=false, inputs:tensor|table?")

local function backward_with_options(...)
  local t, gradient, retain_graph, create_graph, inputs = parse_backward(...)
  if inputs ~= nil then
    inputs = list_of("backward", "inputs", inputs)
    if inputs.n == 0 then fail("backward: inputs is empty") end
    for i = 1, inputs.n do
      if not C.ln_tensor_is_leaf(pointer(inputs[i])) then fail("backward: inputs must be leaves; lt.autograd.grad gives gradients of others") end
    end
  end
  pass({t, n = 1}, {gradient}, inputs, {retain_graph = retain_graph, create_graph = create_graph}, true)
end

--- Accumulates the gradient of this tensor into the leaves that it was made from.
-- @param gradient of this tensor's shape; may be left out for a single number, where it is 1
-- @param retain_graph keeps saved values for another pass; default create_graph
-- @param create_graph records the pass, so that gradients can be differentiated. The gradient of a leaf then holds a graph that holds the leaf, as in
-- PyTorch: set `grad = nil` when done, or use autograd.grad, or the memory of both is never given back
-- @param inputs only these leaves accumulate
function T.backward(t, gradient, ...)
  local given = is_tensor(gradient)
  if select("#", ...) == 0 and is_tensor(t) and (given or type(gradient) == "nil") then
    local root, grad = pointer(t), given and pointer(gradient) or nil
    local block = take()
    local status = C.ln_backward(root, grad, block.engine)
    local engine = block.engine[0]
    give(block)
    if status == OK then return end
    if status ~= NEEDS_LUA then check(status) end
    return complete(engine, false, NEEDS_LUA)
  end
  return backward_with_options(t, gradient, ...)
end

local parse_several = arguments.signature("backward", "tensors:tensor|table, grad_tensors:tensor|table?, retain_graph:bool?, create_graph:bool=false")

--- Backward of several tensors at once; `grad_tensors` may leave out those of single numbers.
function engine_calls.backward(...)
  local tensors, grad_tensors, retain_graph, create_graph = parse_several(...)
  pass(list_of("backward", "tensors", tensors), grad_tensors and list_of("backward", "grad_tensors", grad_tensors, true), nil,
    {retain_graph = retain_graph, create_graph = create_graph}, true)
end

local parse_grad = arguments.signature("grad", "outputs:tensor|table, inputs:tensor|table, grad_outputs:tensor|table?, retain_graph:bool?, "
  .. "create_graph:bool=false, allow_unused:bool=false")

local function results_of(engine, n, allow_unused)
  local results = {n = n}
  for i = 1, n do
    results[i] = taken(C.ln_engine_result, engine, i - 1)
    if not results[i] and not allow_unused then
      fail(("grad: input %d was not used in the graph; say allow_unused = true if that is meant"):format(i))
    end
  end
  return results
end

--- The gradients of outputs with respect to inputs, as an array with `n`; nothing is accumulated.
-- An input that the outputs do not depend on is an error, or nil with allow_unused.
function engine_calls.grad(...)
  local outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused = parse_grad(...)
  inputs = list_of("grad", "inputs", inputs)
  if inputs.n == 0 then fail("grad: inputs is empty") end
  return pass(list_of("grad", "outputs", outputs), grad_outputs and list_of("grad", "grad_outputs", grad_outputs, true), inputs,
    {retain_graph = retain_graph, create_graph = create_graph}, false, function(engine) return results_of(engine, inputs.n, allow_unused) end)
end

return engine_calls
