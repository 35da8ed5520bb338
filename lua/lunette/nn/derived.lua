--- Tensors of modules that are computed from others before every call: a pruned weight, a normalised one. What computes one is an object of a class below
--- `Method`, which is a hook of the module too; it is copied with the module, and computes anew when the module is loaded or moved.

local class = require("lunette.class")
local hooks = require("lunette.nn.hooks")
local internals = require("lunette.nn.internals")
local owned = require("lunette.nn.owned")
local each = require("lunette.each")

local getmetatable, ipairs, rawset = getmetatable, ipairs, rawset

local derived = {}

local Method = class.define("nn.utils.Method", {doc = "Computes a tensor of a module; classes below it have _compute(self, module) and the field `_tensor_name`."})
derived.Method = Method

local function set(method, module, value) rawset(getmetatable(module).__index, method._tensor_name, owned(value)) end

--- Before a call of the module.
function Method:__call(module) set(self, module, self:_compute(module)) end

--- When what the tensor comes from was exchanged.
function Method:_renew(module) set(self, module, self:_compute(module)) end

--- Makes a method compute the tensor of its name, which must be registered no more.
function derived.attach(method, module)
  internals.own(getmetatable(module), "derived")[method._tensor_name] = method
  method:_renew(module)
  hooks.add(module, "forward_pre", {method}, false)
end

--- Undoes that; the tensor goes.
function derived.detach(method, module)
  local inner = getmetatable(module)
  inner.derived[method._tensor_name] = nil
  rawset(inner.__index, method._tensor_name, nil)
  hooks.remove(module, "forward_pre", method)
end

--- The method of a class that computes a tensor of the module; without a name any.
function derived.find(module, owner, name)
  for key, method in each(getmetatable(module).derived) do
    if (name == nil or key == name) and class.isinstance(method, owner) then return method end
  end
end

--- Ends what the function `owner` ("weight_norm") did to a name; the module's text stands in the error when it did nothing. Returns the tensor's present value and
--- the method.
function derived.undo(owner, module, kind, name)
  local method = derived.find(module, kind, name)
  if not method then require("lunette.errors").fail(("remove_%s: %s of '%s' not found in %s"):format(owner, owner, name, tostring(module))) end
  local value = method:_compute(module):detach()
  derived.detach(method, module)
  return value, method
end

--- Takes a registered tensor out of a module and gives it back under another name; `owner` is the function that is named in errors.
function derived.rename(owner, module, name, new_name)
  local inner = getmetatable(module)
  local t = inner.__index[name]
  if inner.kind[name] ~= "parameter" or t == nil then
    local errors, names = require("lunette.errors"), {}
    for i, other in ipairs(inner.parameter) do names[i] = other end
    local why = inner.derived[name] and " is computed from other parameters" or " is no parameter"
    errors.fail(("%s: '%s'%s of %s%s"):format(owner, name, why, inner.class.__name, errors.hint(name, names)))
  end
  internals.forget(inner, name)
  if new_name then module:register_parameter(new_name, t) end
  return t
end

return derived
