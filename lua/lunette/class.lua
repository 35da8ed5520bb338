--- Classes: modules, optimizers, schedules, datasets, loaders, handles of hooks, custom Functions.
--
--     local Squares = data.Dataset:subclass("Squares")
--     function Squares:__init(n) self.n = n end
--     local squares = Squares(10)
--
-- An instance is a userdata with its fields behind it, so that `#x`, `x[i]`, `x(...)` and assignments are its class's, which may define
--
--     __init(self, ...)          the constructor
--     __len(self)                #x
--     __getitem(self, i)         x[i], i a number; several values become an array
--     __setitem(self, i, value)  x[i] = value
--     __slice(self, text)        x["1:3"]
--     __call(self, ...)          x(...)
--     __repr(self)               tostring(x)
--
-- A field that is absent from an instance is looked up in its class and then in the classes above; one that nobody has is nil. What all instances of a
-- class share is made for the first of them. Each has a metatable of its own, its internals: `__index` the fields, `class`, and for modules what
-- nn/internals.lua adds.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local catalog = require("lunette.catalog")

local getmetatable, setmetatable, rawget, rawset, select, type, newproxy = getmetatable, setmetatable, rawget, rawset, select, type, newproxy
local fail, describe = arguments.fail, arguments.describe

local class = {}
local SELF = {} -- the key under which the fields of an instance lead back to it

-- Instances ------------------------------------------------------------------------------------------------------------------------------

local function length(self)
  local owner = self.class
  if not owner.__len then fail(owner.__name .. " has no length") end
  return owner.__len(self)
end

local function call(self, ...)
  local owner = self.class
  if not owner.__call then fail(owner.__name .. " cannot be called") end
  return owner.__call(self, ...)
end

local function text(self) return self:__repr() end

-- Several values of an item become an array, since an index gives one value.
local function one(...)
  if select("#", ...) <= 1 then return (...) end
  return {n = select("#", ...), ...}
end

local function item(owner, fields, key)
  if not owner.__getitem then fail(("%s cannot be indexed by number: [%s]"):format(owner.__name, tostring(key))) end
  return one(owner.__getitem(fields[SELF], key))
end

-- How the fields of a class's instances fall back.
local function fallback(owner)
  return {
    __index = function(fields, key)
      if type(key) == "number" then return item(owner, fields, key) end
      local value = owner[key]
      if value == nil and type(key) == "string" and owner.__slice and key:find(":", 1, true) then return owner.__slice(fields[SELF], key) end
      return value
    end,
  }
end

local function assign_object(self, key, value)
  local owner = self.class
  if type(key) ~= "number" then
    rawset(getmetatable(self).__index, key, value)
  elseif owner.__setitem then
    owner.__setitem(self, key, value)
  else
    fail(("%s cannot be assigned to by number: [%s]"):format(owner.__name, tostring(key)))
  end
end

-- What the instances of a class share; a class may have `__shared(owner)`, which changes it (nn/internals.lua).
local function shared_of(owner)
  local shared = rawget(owner, "__common")
  if not shared then
    shared = {fields = fallback(owner), internals = {__index = {class = owner, is_lunette_instance = true}}, newindex = assign_object, call = call}
    if owner.__shared then owner.__shared(owner, shared) end
    rawset(owner, "__common", shared)
  end
  return shared
end
class.shared_of = shared_of

--- Makes an instance one of another class; its fields stay.
function class.change(self, owner)
  local internals, shared = getmetatable(self), shared_of(owner)
  setmetatable(internals.__index, shared.fields)
  internals.__newindex, internals.__call, internals.__tostring, internals.__len = shared.newindex, shared.call, text, length
  setmetatable(internals, shared.internals)
end

--- A bare instance of a class, its constructor not run.
function class.allocate(owner)
  local self = newproxy(true)
  getmetatable(self).__index = {[SELF] = self}
  class.change(self, owner)
  return self
end

--- Makes an instance one of another class; it keeps its fields.
function class.become(self, owner)
  local internals, shared = getmetatable(self), shared_of(owner)
  internals.__newindex, internals.__call = shared.newindex, shared.call
  setmetatable(internals.__index, shared.fields)
  setmetatable(internals, shared.internals)
end

--- The fields of an instance as a new table.
function class.fields_of(self)
  local out = {}
  for key, value in each(getmetatable(self).__index) do
    if key ~= SELF then out[key] = value end
  end
  return out
end

--- Is `x` an instance of any class?
function class.is_instance(x)
  local internals = type(x) == "userdata" and getmetatable(x)
  return (internals and internals.is_lunette_instance) == true
end

-- Classes --------------------------------------------------------------------------------------------------------------------------------

local function construct(owner, ...)
  if owner.__new then return owner.__new(owner, ...) end
  local self = class.allocate(owner)
  owner.__init(self, ...)
  return self
end

local function class_text(owner) return "class " .. owner.__name end

--- Is `x` a class?
function class.is_class(x)
  local meta = type(x) == "table" and getmetatable(x)
  return (meta and meta.is_lunette_class) == true
end

--- The class above, nil at the top.
local function parent_of(owner) return getmetatable(owner).__index end
class.parent_of = parent_of

local function make(name, parent)
  local owner = setmetatable({__name = name}, {__index = parent, __call = construct, __tostring = class_text, is_lunette_class = true})
  owner.class = owner
  return owner
end

-- The class above all others.
local Root = make("Object")
function Root.__init() end
function Root:__repr() return self.class.__name end

--- A subclass, and its parent: `local Net, parent = nn.Module:subclass("Net")`.
function Root.subclass(parent, name)
  if not class.is_class(parent) then
    fail(("subclass is a method of a class, called with a colon: Class:subclass(\"Name\"); its first value is %s"):format(describe(parent)))
  end
  if type(name) ~= "string" or name == "" then fail(("subclass: the name must be a string, not %s"):format(describe(name))) end
  local owner = make(name, parent)
  if parent.__subclassed then parent.__subclassed(owner) end
  return owner, parent
end

--- A class of ours: `title` as scripts call it, "optim.SGD"; parent, nil for none; doc, a sentence; takes, the signature of the constructor, whose parser
--- becomes `owner.__parse`; example.
function class.define(title, given)
  local name = title:match("[%w_]+$")
  local owner = make(name, given.parent or Root)
  if given.takes then owner.__parse = arguments.signature(name, given.takes) end
  return catalog.add(owner, {name = title, doc = given.doc, signature = given.takes or "...", example = given.example})
end

--- Is a class `owner` itself or below it?
local function descends(own, owner)
  while own do
    if own == owner then return true end
    own = parent_of(own)
  end
  return false
end
class.descends = descends

--- Is `x` an instance of `owner` or of a class below it? A class may say so itself by `__is(x)`: nn.Parameter, whose instances are tensors.
function class.isinstance(x, owner)
  if owner.__is then return owner.__is(x) end
  return class.is_instance(x) and descends(x.class, owner)
end

--- Refuses a call of a method without its object: `optimizer.step()`.
function class.check_self(self, owner, method)
  if class.isinstance(self, owner) then return end
  local name = owner.__name
  fail(("%s is a method of %s, called with a colon: %s:%s(...)"):format(method, name, (name:match("%u%l+$") or name):lower(), method))
end

-- Copies ---------------------------------------------------------------------------------------------------------------------------------

--- A copy of an instance for lt.deepcopy: each field through `copy_any`, but those that `__uncopied(original, key)` of its class leaves out. A class that
--- keeps more than fields can tell completes the copy in `__copied(self, original, copy_any, memo)`.
function class.copy(original, copy_any, memo)
  local owner = original.class
  local new = class.allocate(owner)
  memo[original] = new
  local fields = getmetatable(new).__index
  for key, value in each(class.fields_of(original)) do
    if not (owner.__uncopied and owner.__uncopied(original, key)) then rawset(fields, key, copy_any(value, memo)) end
  end
  if owner.__copied then owner.__copied(new, original, copy_any, memo) end
  return new
end

return class
