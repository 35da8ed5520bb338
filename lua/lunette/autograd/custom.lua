--- Custom Functions: a class with forward and backward written in Lua is a node of the graph.

local base = require("lunette.ffi")
local classes = require("lunette.class")
local ops = require("lunette.ops")
local kinds = require("lunette.kinds")
local callbacks = require("lunette.autograd.callbacks")
local engine_calls = require("lunette.autograd.engine")
local modes = require("lunette.autograd.modes")

local C, ffi = base.C, base.ffi
local check, fail, pointer, is_tensor = base.check, base.fail, base.pointer, base.is_tensor
local describe = kinds.describe
local type, select, unpack, tonumber, setmetatable = type, select, unpack, tonumber, setmetatable

local OK = tonumber(C.LN_OK)

local function pack(...) return {n = select("#", ...), ...} end

-- Contexts -------------------------------------------------------------------------------------------------------------------------------

local Context = {}
Context.__index = Context

-- What a context was told in forward, out of reach of scripts: saved, dirty, without; nothing once the node is recorded.
local notes = setmetatable({}, {__mode = "k"})

local function notes_of(ctx, method)
  local own = notes[ctx]
  if not own then fail(("%s is called in forward, on its context, with a colon: ctx:%s(...)"):format(method, method)) end
  return own
end

local function tensors_of(method, ...)
  local list = pack(...)
  for i = 1, list.n do
    if not is_tensor(list[i]) then fail(("%s takes tensors, argument %d is %s"):format(method, i, describe(list[i]))) end
  end
  return list
end

--- Keeps tensors, inputs or outputs of forward, for backward, where they stand in ctx.saved_tensors (an array with n). Values kept in other
-- fields of ctx are fine, but an output kept there is never freed: it holds the graph that holds ctx.
function Context:save_for_backward(...)
  notes_of(self, "save_for_backward").saved = tensors_of("save_for_backward", ...)
end

--- Marks inputs that forward changed in place and returns.
function Context:mark_dirty(...) notes_of(self, "mark_dirty").dirty = tensors_of("mark_dirty", ...) end

--- Marks outputs that have no gradient.
function Context:mark_non_differentiable(...)
  local without = notes_of(self, "mark_non_differentiable").without
  local list = tensors_of("mark_non_differentiable", ...)
  for i = 1, list.n do without[list[i].id] = true end
end

--- set_materialize_grads(false): backward gets nil, not zeros, for an output that no gradient came to.
function Context:set_materialize_grads(value)
  local own = notes_of(self, "set_materialize_grads")
  if type(value) ~= "boolean" then fail("set_materialize_grads: argument 'value' must be true or false, got " .. describe(value)) end
  own.keeps_nil = not value
end

-- Backward -------------------------------------------------------------------------------------------------------------------------------

local Node = {} -- the callback of a node
Node.__index = Node

local function shape_of(p)
  local shape = {}
  for d = 0, p.ndim - 1 do shape[d + 1] = tonumber(p.shape[d]) end
  return shape
end

--- The callback of a call: `inputs[i]` is the input of the node that argument i is, counted from 0; `outputs[i]` how to make zeros of output i,
-- unless backward gets nil for an output without a gradient.
local function new_node(class, ctx, args, outputs, keeps_nil)
  local node = setmetatable({class = class, ctx = ctx, n_args = args.n, n_saved = 0, inputs = {}, outputs = {}}, Node)
  local n = 0
  for i = 1, args.n do
    if is_tensor(args[i]) then node.inputs[i], n = n, n + 1 end
  end
  for i = 1, keeps_nil and 0 or outputs.n do
    local p = is_tensor(outputs[i]) and pointer(outputs[i])
    if p then node.outputs[i] = {shape_of(p), 0, base.dtype_name[p.dtype], base.device_name(p.device)} end
  end
  return node
end

function Node:gradients(engine, n_out)
  local grads = {}
  for i = 1, n_out do
    grads[i] = engine_calls.taken(C.ln_engine_gradient, engine, i - 1)
    if not grads[i] and self.outputs[i] then grads[i] = ops.full(unpack(self.outputs[i])) end
  end
  return grads
end

function Node:prepare_context(engine)
  local ctx, saved, needs = self.ctx, {n = self.n_saved}, {}
  for i = 1, self.n_saved do saved[i] = engine_calls.taken(C.ln_engine_saved, engine, i - 1) end
  for i = 1, self.n_args do
    local input = self.inputs[i]
    needs[i] = input ~= nil and C.ln_engine_needs(engine, input)
  end
  ctx.saved_tensors, ctx.needs_input_grad = saved, needs
  return ctx
end

function Node:check_results(results)
  local name, n = self.class.__name, self.n_args
  if results.n ~= n then
    fail(("%s.backward returned %d value%s for %d argument%s of forward; it returns one for each, nil where there is no gradient"):format(
      name, results.n, results.n == 1 and "" or "s", n, n == 1 and "" or "s"))
  end
  for i = 1, n do
    if results[i] ~= nil and not is_tensor(results[i]) then fail(("%s.backward: value %d must be a tensor or nil, not %s"):format(name, i, describe(results[i]))) end
  end
end

function Node:backward(engine, n_in, n_out)
  local ctx, grads = self:prepare_context(engine), self:gradients(engine, n_out)
  local results = pack(self.class.backward(ctx, unpack(grads, 1, n_out)))
  ctx.saved_tensors = nil
  self:check_results(results)
  for i = 1, self.n_args do
    local input = self.inputs[i]
    if input and input < n_in then engine_calls.answer(engine, input, results[i]) end
  end
end

-- Forward --------------------------------------------------------------------------------------------------------------------------------

--- An output that forward handed through, or that is a view, is recorded on an alias, so that the input keeps its own history.
local function own_outputs(own, outputs, args)
  if own.dirty then return end
  for i = 1, outputs.n do
    local p = is_tensor(outputs[i]) and pointer(outputs[i])
    if p then
      local through = p.base ~= nil
      for k = 1, args.n do through = through or is_tensor(args[k]) and args[k]._p == p end
      if through then outputs[i] = outputs[i]:detach() end
    end
  end
end

-- The tensors among the first list.n values as pointers; NULL for those that `left_out` names by id.
local function pointers_of(list, left_out)
  local array, n = ffi.new("ln_tensor *[?]", list.n + 1), 0
  for i = 1, list.n do
    local t = is_tensor(list[i]) and list[i]
    if t and not (left_out and left_out[t.id]) then array[n] = pointer(t) end
    if t or left_out then n = n + 1 end
  end
  return array, n
end

local function record(node, own, args, outputs)
  local in_array, n_in = pointers_of(args)
  local out_array, n_out = pointers_of(outputs, own.without)
  local save_array, n_saved = pointers_of(own.saved)
  node.n_saved = n_saved
  local number = callbacks.keep(node)
  local status = C.ln_function_record(number, node.class.__name, in_array, n_in, out_array, n_out, save_array, n_saved)
  if status ~= OK then callbacks.forget(number) end
  check(status)
end

local function wants_gradient(args)
  if not modes.is_grad_enabled() then return false end
  for i = 1, args.n do
    if is_tensor(args[i]) and C.ln_tensor_requires_grad(pointer(args[i])) then return true end
  end
  return false
end

local function apply(class, ...)
  if type(class.forward) ~= "function" or type(class.backward) ~= "function" then
    fail(("%s has no %s: write function %s.%s(ctx, ...)"):format(class.__name, class.forward and "backward" or "forward", class.__name, class.forward and "backward" or "forward"))
  end
  local args, ctx = pack(...), setmetatable({}, Context)
  local own = {saved = {n = 0}, without = {}}
  notes[ctx] = own
  local wanted = wants_gradient(args)
  local outputs = pack(modes.no_grad(class.forward, ctx, ...))
  notes[ctx] = nil
  if wanted then
    own_outputs(own, outputs, args)
    record(new_node(class, ctx, args, outputs, own.keeps_nil), own, args, outputs)
  end
  return unpack(outputs, 1, outputs.n)
end

local Function = classes.define("lt.autograd.Function", {
  doc = "A node of the graph written in Lua: `local Exp = lt.autograd.Function:subclass(\"Exp\")`, then Exp.forward(ctx, ...) and Exp.backward(ctx, ...), which "
    .. "returns as many values as forward had arguments, nil for those without a gradient; it is called Exp.apply(...).",
})

function Function.__subclassed(class)
  class.apply = function(...) return apply(class, ...) end
end

function Function.__new(class)
  fail(("%s is called with apply: %s.apply(...)"):format(class.__name, class.__name))
end

return Function
