--- Classes of objects that are no modules: optimizers, schedulers, datasets, loaders.
--
-- An object is a userdata with its fields behind it, so that `#object` and `object[i]` are its class's: `__len(self)`, `__getitem(self, i)`
-- for numbers, `__call(self, ...)`, `__repr(self)`. Fields that a class lacks are nil.

local each = require("lunette.each")
local arguments = require("lunette.arguments")

local getmetatable, setmetatable, type, newproxy = getmetatable, setmetatable, type, newproxy

local object = {}

local function length(self)
  local owner = getmetatable(self).class
  if not owner.__len then arguments.fail(owner.__name .. " has no length") end
  return owner.__len(self)
end

-- Several values of an item become an array, since an index gives one value.
local function one(...)
  if select("#", ...) <= 1 then return (...) end
  return {n = select("#", ...), ...}
end

local function call(self, ...)
  local owner = getmetatable(self).class
  if not owner.__call then arguments.fail(owner.__name .. " cannot be called") end
  return owner.__call(self, ...)
end

local function text(self) return self:__repr() end

local function item(self, key)
  local owner = getmetatable(self).class
  if type(key) ~= "number" then return owner[key] end
  if not owner.__getitem then arguments.fail(owner.__name .. " cannot be indexed by number") end
  return one(owner.__getitem(self, key))
end

local function allocate(owner)
  local self = newproxy(true)
  local meta = getmetatable(self)
  local fields = setmetatable({}, {__index = function(_, key) return item(self, key) end})
  meta.__index, meta.__newindex, meta.__len, meta.__call, meta.__tostring = fields, fields, length, call, text
  meta.class, meta.is_lunette_object = owner, true
  return self
end

local function construct(owner, ...)
  local self = allocate(owner)
  owner.__init(self, ...)
  return self
end

local function class_text(owner) return "class " .. owner.__name end

--- A class `name` below `parent` (may be nil), and the parent: owner(...) makes an object and runs `__init`.
function object.class(name, parent)
  local owner = {__name = name, __lineage = {}}
  owner.class, owner.__lineage[owner] = owner, true
  for above in each(parent and parent.__lineage or {}) do owner.__lineage[above] = true end
  if not parent then
    owner.__init = function() end
    owner.__repr = function(self) return self.class.__name end
  end
  return setmetatable(owner, {__index = parent, __call = construct, __tostring = class_text}), parent
end

--- For use as a class's `subclass`.
function object.subclass(parent, name)
  if type(parent) ~= "table" or type(name) ~= "string" then
    arguments.fail("subclass is a method of a class and takes a name: Class:subclass(\"Name\")")
  end
  return object.class(name, parent)
end

--- Refuses a call of a method without its object: `optimizer.step()`.
function object.check_self(self, owner, method)
  if object.isinstance(self, owner) then return end
  local name = owner.__name
  local variable = name:lower()
  arguments.fail(("%s is a method of %s, called with a colon: %s:%s(...)"):format(method, name, variable, method))
end

--- A copy of an object for lt.deepcopy: each field through `copy_any`. A class that keeps more than fields can tell completes the copy in
-- `__copied(self, original)`.
function object.copy(original, copy_any, memo)
  local owner = getmetatable(original).class
  local new = allocate(owner)
  memo[original] = new
  for key, value in each(getmetatable(original).__index) do new[key] = copy_any(value, memo) end
  if owner.__copied then owner.__copied(new, original) end
  return new
end

--- Is `x` an object of a class made here?
function object.is(x)
  local meta = type(x) == "userdata" and getmetatable(x)
  return meta and meta.is_lunette_object == true
end

--- Is `x` an object of the class or of one below it?
function object.isinstance(x, owner)
  local meta = type(x) == "userdata" and getmetatable(x)
  local lineage = meta and meta.is_lunette_object and meta.class.__lineage
  return (lineage and lineage[owner]) == true
end

return object
