--- What a tensor knows of gradients: its fields, requires_grad_, retain_grad, detach, register_hook.

local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local callbacks = require("lunette.autograd.callbacks")
local class = require("lunette.class")
local Handle = require("lunette.handle")

local C, ffi, T, fields, setters = base.C, base.ffi, base.T, base.fields, base.setters
local check, fail, wrap, pointer, is_tensor, take, give = base.check, base.fail, base.wrap, base.pointer, base.is_tensor, base.take, base.give
local type, tonumber = type, tonumber

-- Gradients that are row-sparse: a SparseTensor in Lua, a handle for C -----------------------------------------------------------------------

local function as_gradient(handle)
  if type(handle) == "nil" or handle._p.rows == nil then return handle end
  return require("lunette.sparse").around(handle)
end

local function handle_of(value)
  if type(value) ~= "userdata" then return value end
  local SparseTensor = require("lunette.sparse")
  return class.isinstance(value, SparseTensor) and value.handle or value
end

-- Leaves and their gradients -------------------------------------------------------------------------------------------------------------

local parse_requires = arguments.signature("requires_grad_", "self:tensor, requires_grad:bool=true")
--- Whether a leaf wants a gradient; returns the tensor.
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
  return as_gradient(wrap(grad))
end

--- "MulBackward0", nil for a leaf.
function fields.grad_fn(t)
  local name = C.ln_tensor_grad_fn(pointer(t))
  if name == nil then return nil end
  local words = ffi.string(name):gsub("_(%a)", string.upper):gsub("^%a", string.upper)
  return words .. "Backward0"
end

function setters.grad(t, value)
  local given = handle_of(value)
  if value ~= nil and not is_tensor(given) then fail("grad: a tensor or nil is expected, got " .. arguments.describe(value)) end
  check(C.ln_tensor_set_grad(pointer(t), is_tensor(given) and pointer(given) or nil))
end

--- Is it a SparseTensor? A tensor is none.
function fields.is_sparse() return false end

function setters.requires_grad(t, value)
  if type(value) ~= "boolean" then fail("requires_grad: a boolean is expected, got " .. type(value)) end
  check(C.ln_tensor_set_requires_grad(pointer(t), value))
end

function setters.data(t, value)
  if not is_tensor(value) then fail("data: a tensor is expected, got " .. type(value)) end
  check(C.ln_tensor_set_data(pointer(t), pointer(value)))
end

-- Hooks ------------------------------------------------------------------------------------------------------------------------------------

-- The hooks of a tensor by number. What registers others meanwhile, a finalizer or a debug hook, finds the same table.
local function hooks_of(p)
  local number = tonumber(C.ln_hook_callback(p))
  if number == 0 then
    local own = callbacks.keep({})
    local status = C.ln_hook_attach(p, own)
    number = tonumber(C.ln_hook_callback(p))
    if number ~= own then callbacks.forget(own) end
    check(status)
  end
  return callbacks.list[number]
end

--- Calls hook(gradient) when the gradient of this tensor has been computed; what it returns, if anything, takes the gradient's place.
-- A hook that uses the tensor itself, not only the gradient it is given, keeps both in memory until it is removed.
-- @return a handle with :remove()
function T.register_hook(t, hook)
  if type(hook) ~= "function" then fail("register_hook: a function is expected, got " .. type(hook)) end
  local p = pointer(t)
  local list, number = hooks_of(p), callbacks.number()
  list[number] = hook
  return Handle(function() list[number] = nil end)
end

return {as_gradient = as_gradient, handle_of = handle_of}
