--- Gradients as Lua sees them: backward, grad, modes, hooks, custom Functions, scopes.
--
-- The engine is C. Where it meets something that only Lua can do (a hook, a custom Function) it returns, `drive`
-- does it and lets the engine go on. A Lua part is an integer in C; the closure stands in `parts`, and C tells which integers are free again.

local base = require("lunette.ffi")
local ops = require("lunette.ops")
local arguments = require("lunette.arguments")

local C, ffi, T, fields, setters = base.C, base.ffi, base.T, base.fields, base.setters
local check, fail, wrap, pointer, is_tensor, take, give = base.check, base.fail, base.wrap, base.pointer, base.is_tensor, base.take, base.give
local bit, type, pcall, error, select, unpack, tonumber = bit, type, pcall, error, select, unpack, tonumber
local getinfo = debug.getinfo

local autograd = {}
local GRAD, ANOMALY = 1, 2
local OK, NEEDS_LUA = tonumber(C.LN_OK), tonumber(C.LN_NEEDS_LUA)

-- Closures that C knows by number --------------------------------------------------------------------------------------------------------

local registry = base.registry
registry.parts = registry.parts or {free = {}, last = 0}
local parts = registry.parts
local function drain()
  local block = take()
  local n = C.ln_dead_ids(block.ids, 256)
  while n > 0 do
    for i = 0, n - 1 do
      local id = block.ids[i]
      parts[id] = nil
      table.insert(parts.free, id)
    end
    n = C.ln_dead_ids(block.ids, 256)
  end
  give(block)
end

local function keep(part)
  drain()
  local id = table.remove(parts.free)
  if not id then
    parts.last = parts.last + 1
    id = parts.last
  end
  parts[id] = part
  return id
end

-- Modes ----------------------------------------------------------------------------------------------------------------------------------

local function restore(former, ok, ...)
  C.ln_mode_set(former)
  if not ok then error((...), 0) end
  return ...
end

--- Runs fn(...) with a bit of the mode set or cleared; the mode is restored when fn returns, raises, and while it yields.
local function with_mode(mask, on, fn, ...)
  if type(fn) ~= "function" then fail("a function is expected: lt.no_grad(function() ... end)") end
  local former = C.ln_mode_get()
  local mode = on and bit.bor(former, mask) or bit.band(former, bit.bnot(mask))
  if not coroutine.running() then
    C.ln_mode_set(mode)
    return restore(former, pcall(fn, ...))
  end
  local inner = coroutine.create(fn)
  local function resume(...)
    local outer = C.ln_mode_set(mode)
    local function step(ok, ...)
      mode = C.ln_mode_set(outer)
      if not ok then error((...), 0) end
      if coroutine.status(inner) == "dead" then return ... end
      return resume(coroutine.yield(...))
    end
    return step(coroutine.resume(inner, ...))
  end
  return resume(...)
end

--- Runs fn(...) without recording; returns what it returns.
function autograd.no_grad(fn, ...) return with_mode(GRAD, false, fn, ...) end

--- Runs fn(...) with recording switched on again.
function autograd.enable_grad(fn, ...) return with_mode(GRAD, true, fn, ...) end

--- Runs fn(...) with recording on or off; without fn switches it for good.
function autograd.set_grad_enabled(on, fn, ...)
  if type(on) ~= "boolean" then fail("set_grad_enabled: a boolean is expected, got " .. type(on)) end
  if fn ~= nil then return with_mode(GRAD, on, fn, ...) end
  local mode = C.ln_mode_get()
  C.ln_mode_set(on and bit.bor(mode, GRAD) or bit.band(mode, bit.bnot(GRAD)))
end

function autograd.is_grad_enabled() return bit.band(C.ln_mode_get(), GRAD) ~= 0 end

-- In anomaly mode every operator notes the Lua line of its caller before it runs.
local function note_place()
  local level = 2
  local info = getinfo(level, "Sl")
  while info and (info.what == "C" or info.currentline < 0 or info.source:sub(1, #base.root) == base.root) do
    level = level + 1
    info = getinfo(level, "Sl")
  end
  C.ln_anomaly_place(info and ("%s:%d"):format(info.short_src, info.currentline) or "")
end

--- Runs fn(...) so that a backward that fails, or makes nan, names the operator and the Lua line that called it. Slow.
function autograd.detect_anomaly(fn, ...)
  local former = base.anomaly
  base.anomaly = note_place
  local function finish(ok, ...)
    base.anomaly = former
    C.ln_anomaly_place("")
    if not ok then error((...), 0) end
    return ...
  end
  return finish(pcall(with_mode, ANOMALY, true, fn, ...))
end

-- Driving the engine ---------------------------------------------------------------------------------------------------------------------

-- A tensor that C hands over, from ask(engine, i, out).
local function taken(ask, engine, i)
  local block = take()
  local status = ask(engine, i, block.outputs)
  local p = block.outputs[0]
  give(block)
  check(status)
  return wrap(p)
end

local function answer(engine, i, t)
  check(C.ln_engine_answer(engine, i, t and pointer(t) or nil))
end

local function run_hooks(engine, part)
  local gradient = taken(C.ln_engine_gradient, engine, 0)
  for i = 1, part.last do
    local hook = part[i]
    local changed = hook and hook(gradient)
    if changed then
      if not is_tensor(changed) then fail("a tensor hook returns nil or the new gradient, not a " .. type(changed)) end
      gradient = changed
      answer(engine, 0, gradient)
    end
  end
end

local function run_function(engine, part, n_in, n_out)
  local ctx, grads = part.ctx, {}
  local saved = {n = part.n_saved}
  for i = 1, part.n_saved do saved[i] = taken(C.ln_engine_saved, engine, i - 1) end
  ctx.saved_tensors = saved
  for i = 1, n_out do
    grads[i] = taken(C.ln_engine_gradient, engine, i - 1)
    if not grads[i] and part.shapes[i] then grads[i] = ops.full(part.shapes[i], 0, part.dtypes[i], part.devices[i]) end
  end
  ctx.needs_input_grad = {}
  for i = 1, part.n_args do
    local place = part.places[i]
    ctx.needs_input_grad[i] = place ~= nil and C.ln_engine_needs(engine, place)
  end
  local results = {n = 0}
  local function collect(...)
    results = {n = select("#", ...), ...}
  end
  collect(part.class.backward(ctx, unpack(grads, 1, n_out)))
  ctx.saved_tensors = nil
  if results.n > part.n_args then fail(("%s.backward returned %d values for %d arguments of forward"):format(part.name, results.n, part.n_args)) end
  for i = 1, part.n_args do
    local place, dx = part.places[i], results[i]
    if dx ~= nil and not is_tensor(dx) then fail(("%s.backward: value %d is no tensor but a %s"):format(part.name, i, type(dx))) end
    if place and place < n_in then answer(engine, place, dx) end
  end
end

local function serve(engine)
  local stop = ffi.new("int[4]")
  local kind = C.ln_engine_stop(engine, stop, stop + 1, stop + 2, stop + 3)
  local part = parts[stop[0]]
  if kind == 1 then
    run_hooks(engine, part)
  else
    run_function(engine, part, stop[2], stop[3])
  end
end

local function drive(engine, create_graph)
  local status = C.ln_engine_run(engine)
  while status == NEEDS_LUA do
    with_mode(GRAD, create_graph, serve, engine)
    status = C.ln_engine_run(engine)
  end
  check(status)
end

local function tensor_array(list)
  local n = #list
  local array = ffi.new("ln_tensor *[?]", n + 1)
  for i = 1, n do array[i - 1] = list[i] and pointer(list[i]) or nil end
  return array, n
end

local function as_list(name, value)
  if value == nil then return {} end
  if is_tensor(value) then return {value} end
  if type(value) ~= "table" then fail(name .. ": a tensor or an array of tensors is expected, got " .. type(value)) end
  return value
end

--- One pass over the graph; `finish(engine)` reads results before the engine goes.
local function pass(roots, grads, retain_graph, create_graph, inputs, accumulate, finish)
  local root_array, n = tensor_array(roots)
  local grad_array
  if grads then
    grad_array = ffi.new("ln_tensor *[?]", n + 1)
    for i = 1, n do grad_array[i - 1] = is_tensor(grads[i]) and pointer(grads[i]) or nil end
  end
  local input_array, n_inputs = nil, 0
  if inputs then input_array, n_inputs = tensor_array(inputs) end
  local slot = ffi.new("ln_engine *[1]")
  check(C.ln_engine_start(root_array, grad_array, n, retain_graph, create_graph, input_array, n_inputs, accumulate, slot))
  local engine = slot[0]
  local ok, result = pcall(function()
    drive(engine, create_graph)
    return finish and finish(engine)
  end)
  C.ln_engine_free(engine)
  drain()
  if not ok then error(result, 0) end
  return result
end

local parse_backward = arguments.signature("backward", "self:tensor, gradient:tensor?, retain_graph:bool?, create_graph:bool=false, inputs:tensor|table?")

--- The rest of a pass that met a Lua part.
local function backward_with_lua(engine)
  local ok, message = pcall(function()
    with_mode(GRAD, false, serve, engine)
    drive(engine, false)
  end)
  C.ln_engine_free(engine)
  drain()
  if not ok then error(message, 0) end
end

local function backward_with_options(...)
  local t, gradient, retain_graph, create_graph, inputs = parse_backward(...)
  if retain_graph == nil then retain_graph = create_graph end
  if inputs ~= nil then
    inputs = as_list("backward", inputs)
    if #inputs == 0 then fail("backward: inputs is empty") end
    for _, x in ipairs(inputs) do
      if not C.ln_tensor_is_leaf(pointer(x)) then fail("backward: inputs must be leaves; lt.autograd.grad gives gradients of others") end
    end
  end
  pass({t}, {gradient or false}, retain_graph, create_graph, inputs, true)
end

--- Accumulates the gradient of this tensor into the leaves that it was made from.
-- @param gradient of this tensor's shape; may be left out for a single number, where it is 1
-- @param retain_graph keeps saved values for another pass; default create_graph
-- @param create_graph records the pass, so that gradients can be differentiated
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
    return backward_with_lua(engine)
  end
  return backward_with_options(t, gradient, ...)
end

--- Backward of several tensors at once.
function autograd.backward(tensors, grad_tensors, options)
  options = options or {}
  local roots = as_list("backward", tensors)
  pass(roots, grad_tensors and as_list("backward", grad_tensors), options.retain_graph or options.create_graph or false, options.create_graph or false, nil, true)
end

local parse_grad = arguments.signature("grad", "outputs:tensor|table, inputs:tensor|table, grad_outputs:tensor|table?, retain_graph:bool?, "
  .. "create_graph:bool=false, allow_unused:bool=false")

--- The gradients of outputs with respect to inputs, as an array with `n`; nothing is accumulated.
-- An input that the outputs do not depend on is an error, or nil with allow_unused.
function autograd.grad(...)
  local outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused = parse_grad(...)
  if retain_graph == nil then retain_graph = create_graph end
  inputs = as_list("grad", inputs)
  if #inputs == 0 then fail("grad: inputs is empty") end
  return pass(as_list("grad", outputs), grad_outputs and as_list("grad", grad_outputs), retain_graph, create_graph, inputs, false, function(engine)
    local results = {n = #inputs}
    for i = 1, #inputs do
      results[i] = taken(C.ln_engine_result, engine, i - 1)
      if not results[i] and not allow_unused then
        fail(("grad: input %d was not used in the graph; say allow_unused = true if that is meant"):format(i))
      end
    end
    return results
  end)
end

-- Leaves and their gradients -------------------------------------------------------------------------------------------------------------

local parse_requires = arguments.signature("requires_grad_", "self:tensor, requires_grad:bool=true")
function T.requires_grad_(...)
  local t, on = parse_requires(...)
  check(C.ln_tensor_set_requires_grad(pointer(t), on))
  return t
end

--- Keeps the gradient of a tensor that is no leaf.
function T.retain_grad(t) check(C.ln_tensor_retain_grad(pointer(t))) end

--- A tensor that shares the elements and has no history.
function T.detach(t)
  local p, block = pointer(t), take()
  local status = C.ln_tensor_alias(p, block.outputs)
  local alias = block.outputs[0]
  give(block)
  check(status)
  return wrap(alias)
end

function fields.requires_grad(t) return C.ln_tensor_requires_grad(pointer(t)) end
function fields.is_leaf(t) return C.ln_tensor_is_leaf(pointer(t)) end
fields.data = T.detach

function fields.grad(t)
  local p, block = pointer(t), take()
  local status = C.ln_tensor_grad(p, block.outputs)
  local grad = block.outputs[0]
  give(block)
  check(status)
  return wrap(grad)
end

--- "MulBackward0", nil for a leaf.
function fields.grad_fn(t)
  local name = C.ln_tensor_grad_fn(pointer(t))
  if name == nil then return nil end
  local words = ffi.string(name):gsub("_(%a)", string.upper):gsub("^%a", string.upper)
  return words .. "Backward0"
end

function setters.grad(t, value)
  if value ~= nil and not is_tensor(value) then fail("grad: a tensor or nil is expected, got " .. type(value)) end
  check(C.ln_tensor_set_grad(pointer(t), value and pointer(value) or nil))
end

function setters.requires_grad(t, value)
  if type(value) ~= "boolean" then fail("requires_grad: a boolean is expected, got " .. type(value)) end
  check(C.ln_tensor_set_requires_grad(pointer(t), value))
end

function setters.data(t, value)
  if not is_tensor(value) then fail("data: a tensor is expected, got " .. type(value)) end
  check(C.ln_tensor_set_data(pointer(t), pointer(value)))
end

-- Hooks ----------------------------------------------------------------------------------------------------------------------------------

local Handle = {}
Handle.__index = Handle

--- Takes the hook out; a second time does nothing.
function Handle:remove()
  if self.list then self.list[self.place] = nil end
  self.list = nil
end

--- Calls hook(gradient) when the gradient of this tensor has been computed; what it returns, if anything, takes the gradient's place.
-- @return a handle with :remove()
function T.register_hook(t, hook)
  if type(hook) ~= "function" then fail("register_hook: a function is expected, got " .. type(hook)) end
  local p = pointer(t)
  local id = C.ln_hook_id(p)
  local list = id ~= 0 and parts[id]
  if not list then
    list = {last = 0}
    check(C.ln_hook_attach(p, keep(list)))
  end
  list.last = list.last + 1
  list[list.last] = hook
  return setmetatable({list = list, place = list.last}, Handle)
end

-- Custom Functions -----------------------------------------------------------------------------------------------------------------------

local Function = {}
autograd.Function = Function

local Context = {}
Context.__index = Context

--- Keeps tensors, inputs or outputs of forward, for backward, where they stand in ctx.saved_tensors (an array with n). Values kept in other
-- fields of ctx are fine, but an output kept there is never freed: it holds the graph that holds ctx.
function Context:save_for_backward(...)
  self.to_save = {n = select("#", ...), ...}
end

--- Marks inputs that forward changed in place and returns.
function Context:mark_dirty(...) self.dirty = {n = select("#", ...), ...} end

--- Marks outputs that have no gradient.
function Context:mark_non_differentiable(...)
  self.without = self.without or {}
  for i = 1, select("#", ...) do self.without[select(i, ...).id] = true end
end

--- A class of functions: define forward(ctx, ...) and backward(ctx, ...) on it, call it with apply(...).
function Function:subclass(name)
  if type(name) ~= "string" then fail("Function:subclass(name): a name is expected") end
  local class = {name = name}
  class.__index = class
  class.apply = function(...) return autograd.apply_function(class, ...) end
  return setmetatable(class, {__index = self})
end

local function shapes_of(outputs)
  local part = {shapes = {}, dtypes = {}, devices = {}}
  for i = 1, outputs.n do
    local p = is_tensor(outputs[i]) and pointer(outputs[i])
    if p then
      local shape = {}
      for d = 0, p.ndim - 1 do shape[d + 1] = tonumber(p.shape[d]) end
      part.shapes[i], part.dtypes[i], part.devices[i] = shape, base.dtype_name[p.dtype], base.device_name(p.device)
    end
  end
  return part
end

local function same_handle(a, b) return a._p == b._p end

--- An output that forward handed through, or that is a view, is recorded on an alias, so that the input keeps its own history.
local function own_outputs(ctx, outputs, args)
  for i = 1, outputs.n do
    if is_tensor(outputs[i]) then
      local through = pointer(outputs[i]).base ~= nil
      for k = 1, args.n do
        if is_tensor(args[k]) and same_handle(args[k], outputs[i]) then through = true end
      end
      if through and not ctx.dirty then outputs[i] = outputs[i]:detach() end
    end
  end
end

local function record_function(class, ctx, args, outputs)
  local inputs, part = {}, shapes_of(outputs)
  part.class, part.ctx, part.name, part.n_args, part.places = class, ctx, class.name, args.n, {}
  for i = 1, args.n do
    if is_tensor(args[i]) then
      part.places[i] = #inputs
      inputs[#inputs + 1] = args[i]
    end
  end
  local saved = ctx.to_save or {n = 0}
  local save_list = {}
  for i = 1, saved.n do
    if not is_tensor(saved[i]) then fail(class.name .. ": save_for_backward takes tensors, got " .. type(saved[i])) end
    save_list[i] = saved[i]
  end
  part.n_saved, ctx.to_save = saved.n, nil
  local recorded = {}
  for i = 1, outputs.n do
    local t = outputs[i]
    recorded[i] = is_tensor(t) and not (ctx.without and ctx.without[t.id]) and t or false
  end
  local in_array, n_in = tensor_array(inputs)
  local out_array = tensor_array(recorded)
  local save_array = tensor_array(save_list)
  local id = keep(part)
  local status = C.ln_function_record(id, class.name, in_array, n_in, out_array, outputs.n, save_array, saved.n)
  if status ~= OK then parts[id] = nil end
  check(status)
end

function autograd.apply_function(class, ...)
  local args = {n = select("#", ...), ...}
  local wanted = false
  if autograd.is_grad_enabled() then
    for i = 1, args.n do
      if is_tensor(args[i]) and C.ln_tensor_requires_grad(pointer(args[i])) then wanted = true end
    end
  end
  local ctx = setmetatable({}, Context)
  local function collect(...) return {n = select("#", ...), ...} end
  local outputs = collect(with_mode(GRAD, false, class.forward, ctx, ...))
  if wanted then
    own_outputs(ctx, outputs, args)
    record_function(class, ctx, args, outputs)
  end
  return unpack(outputs, 1, outputs.n)
end

-- Scopes ---------------------------------------------------------------------------------------------------------------------------------

local scope = base.scope

local function keep_value(value, seen)
  if is_tensor(value) then
    local p = value._p
    if p == nil or p.generation ~= value._gen or seen[value.id] then return end
    seen[value.id] = true
    if C.ln_scope_keep(p) == OK and scope.depth == 1 then ffi.gc(value, C.ln_handle_release) end
  elseif type(value) == "table" and not seen[value] then
    seen[value] = true
    for k, v in pairs(value) do
      keep_value(k, seen)
      keep_value(v, seen)
    end
  end
end

local function leave(ok, ...)
  if ok then
    local seen = {}
    for i = 1, select("#", ...) do keep_value((select(i, ...)), seen) end
  end
  C.ln_scope_end()
  scope.depth = scope.depth - 1
  if not ok then error((...), 0) end
  return ...
end

--- Runs fn(...) and releases every tensor made inside that it does not return (also within returned tables), also when it raises.
-- Gradients, parameters and buffers live on. A released tensor is an error when used. fn must not yield.
function autograd.scope(fn, ...)
  if type(fn) ~= "function" then fail("scope: a function is expected, got " .. type(fn)) end
  check(C.ln_scope_begin())
  scope.depth = scope.depth + 1
  local body = coroutine.create(fn)
  return leave(pcall(function(...)
    local function done(ok, ...)
      if not ok then error((...), 0) end
      if coroutine.status(body) ~= "dead" then error("lt.scope: the function must not yield", 0) end
      return ...
    end
    return done(coroutine.resume(body, ...))
  end, ...))
end

return autograd
