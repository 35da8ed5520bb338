--- lt.deepcopy and lt.isinstance.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local class = require("lunette.class")
local hooks = require("lunette.nn.hooks")
local internals = require("lunette.nn.internals")
local Parameter = require("lunette.nn.parameter").Parameter
local ordered = require("lunette.nn.ordered")

local copy = {}
local copy_any

local function copy_tensor(t, memo)
  if memo[t.id] then return memo[t.id] end
  if not t.is_leaf then
    arguments.fail(("deepcopy: only tensors made by hand can be copied, this one was computed by %s; use t:detach()"):format(tostring(t.grad_fn)))
  end
  local new = t:detach():clone()
  if internals.is_parameter(t) then new = Parameter(new, t.requires_grad) elseif t.requires_grad then new:requires_grad_(true) end
  if internals.is_buffer(t) then new._p.flags = t._p.flags end
  if internals.is_uninitialized(t) then internals.set_uninitialized(new) end
  if t.grad ~= nil then new.grad = t.grad:detach():clone() end
  memo[t.id] = new
  return new
end

-- A hook that is an object is copied with the module.
local function copy_hook(entry, memo)
  if not class.is_instance(entry[1]) then return entry end
  local new = {}
  for key, value in each(entry) do new[key] = value end
  new[1] = copy_any(entry[1], memo)
  return new
end

-- Hooks that are functions stay the same; the copy may lose one that the original keeps.
local function copy_hooks(inner, copied, memo)
  for kind, all in each(inner.hooks) do
    local list = {}
    for i, entry in ipairs(all) do list[i] = copy_hook(entry, memo) end
    internals.own(copied, "hooks")[kind] = list
  end
  hooks.refresh(copied)
end

-- Tensors that are computed from others are not copied, but computed again.
function internals.Module.__uncopied(original, key) return getmetatable(original).derived[key] ~= nil end

-- Fields were copied; what is registered, and hooks, are not.
function internals.Module:__copied(original, _, memo)
  local inner, copied = getmetatable(original), getmetatable(self)
  for name, kind in each(inner.kind) do internals.own(copied, "kind")[name] = kind end
  for _, kind in ipairs({"parameter", "buffer", "module"}) do
    for i, name in ipairs(inner[kind]) do internals.own(copied, kind)[i] = name end
  end
  for name in each(inner.transient) do internals.own(copied, "transient")[name] = true end
  copy_hooks(inner, copied, memo)
  for name, method in each(inner.derived) do
    internals.own(copied, "derived")[name] = copy_any(method, memo)
  end
  internals.renew_derived(self)
  internals.changes = internals.changes + 1
end

local function copy_table(source, memo)
  if class.is_class(source) then return source end
  local new
  if ordered.is_map(source) then
    new = ordered.map()
    memo[source] = new
    for _, pair in ipairs(ordered.items(source)) do new[pair[1]] = copy_any(pair[2], memo) end
    for key, value in each(ordered.metadata(source)) do ordered.metadata(new)[key] = value end
    return new
  end
  new = {}
  memo[source] = new
  for key, value in each(source) do new[key] = copy_any(value, memo) end
  return setmetatable(new, getmetatable(source))
end

function copy_any(x, memo)
  if base.is_tensor(x) then return copy_tensor(x, memo) end
  local kind = type(x)
  if kind ~= "table" and kind ~= "userdata" then return x end
  if memo[x] ~= nil then return memo[x] end
  if class.is_instance(x) then return class.copy(x, copy_any, memo) end
  if kind == "table" then return copy_table(x, memo) end
  return x
end

--- A copy of a module, optimizer, dataset, tensor or table with all below it. What is shared inside is shared inside the copy, so that
-- `lt.deepcopy{net, optimizer}` gives an optimizer of the copied net; functions and classes stay the same.
function copy.deepcopy(x) return copy_any(x, {}) end

--- Is `x` of one of the classes, or of a class below them? Classes of modules, nn.Parameter, optimizers, datasets.
function copy.isinstance(x, ...)
  if select("#", ...) == 0 then arguments.fail("isinstance: a class is needed: lt.isinstance(m, nn.Linear)") end
  for i = 1, select("#", ...) do
    local owner = select(i, ...)
    if not class.is_class(owner) then
      arguments.fail(("isinstance: argument %d must be a class, not %s"):format(i + 1, arguments.describe(owner)))
    end
    if class.isinstance(x, owner) then return true end
  end
  return false
end

return copy
