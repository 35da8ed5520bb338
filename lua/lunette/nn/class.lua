--- What a module is made of: a userdata with its fields behind it, classes, and the registration of parameters, buffers and children.
--
-- A module is a userdata, so that `#m`, `m[0]`, `m["1:3"]` and every assignment pass through here. Each has a metatable of its own, its record:
--   __index   the fields; what is absent there is looked up in the class
--   __call    runs forward; another function where hooks have to run
--   class     its class
--   kind      name -> "parameter", "buffer" or "module"; the value lies in the fields
--   parameter, buffer, module   arrays of the names of that kind, in order of registration
-- What all modules of a class have in common, and empty tables for what a module lacks, stand in the metatable of the record.
-- A class may define `__get(record, key)`, `__set(self, key, value)` and `__len(self)`: containers do. What modules can do stands in module.lua.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local owned = require("lunette.nn.owned")
local bit = require("bit")

local band = bit.band
local getmetatable, setmetatable, rawget, rawset, type, newproxy = getmetatable, setmetatable, rawget, rawset, type, newproxy
local is_module, fail, describe = arguments.is_module, arguments.fail, arguments.describe

local LN_PARAMETER = 4
local RECORD = {} -- the key under which the fields of a module lead back to its record

local class = {changes = 0}
local Module = {__name = "Module"}
Module.class = Module
class.Module = Module

local function is_parameter(x) return base.is_tensor(x) and band(x._p.flags, LN_PARAMETER) ~= 0 end
class.is_parameter = is_parameter

--- The record of a module; `method` is named when `self` is none.
local function record_of(self, method)
  if not is_module(self) then
    fail(("%s is a method, called with a colon: m:%s(...); its first value is %s"):format(method, method, describe(self)))
  end
  return getmetatable(self)
end
class.record_of = record_of

-- The table of a record that is about to be written to.
local function own(record, key)
  local t = rawget(record, key)
  if not t then
    t = {}
    rawset(record, key, t)
  end
  return t
end
class.own = own

-- Registration ---------------------------------------------------------------------------------------------------------------------------

local function check_name(record, kind, name)
  local owner = record.class.__name
  if type(name) ~= "string" then fail(("%s: the name of a %s must be a string, not %s"):format(owner, kind, describe(name))) end
  if name == "" then fail(("%s: the name of a %s must not be empty"):format(owner, kind)) end
  if name:find(".", 1, true) then fail(("%s: the name of a %s must not contain a dot: '%s'"):format(owner, kind, name)) end
  if record.class[name] ~= nil or name == "training" then
    fail(("%s: '%s' cannot name a %s: it is a method or field of the class"):format(owner, name, kind))
  end
end

local function forget(record, name)
  local names = record[record.kind[name]]
  for i = 1, #names do
    if names[i] == name then
      table.remove(names, i)
      break
    end
  end
  record.kind[name] = nil
  rawset(record.__index, name, nil)
  class.changes = class.changes + 1
end
class.forget = forget

--- Registers `value` (nil: only the name) as "parameter", "buffer" or "module"; a name of that kind keeps its place, another one loses it.
local function register(record, kind, name, value)
  check_name(record, kind, name)
  if record.kind[name] ~= kind then
    if record.kind[name] then forget(record, name) end
    own(record, "kind")[name] = kind
    local names = own(record, kind)
    names[#names + 1] = name
  end
  rawset(record.__index, name, owned(value))
  class.changes = class.changes + 1
end
class.register = register

--- As `register`, but a name in use is an error: what register_parameter, register_buffer and add_module promise.
function class.register_new(record, kind, name, value)
  check_name(record, kind, name)
  if record.kind[name] ~= kind and rawget(record.__index, name) ~= nil then
    fail(("%s: attribute '%s' already exists"):format(record.class.__name, name))
  end
  register(record, kind, name, value)
end

local function assign_plain(record, key, value)
  local kind = record.kind[key]
  if kind == nil then
    rawset(record.__index, key, value)
  elseif kind == "buffer" and (value == nil or base.is_tensor(value)) then
    rawset(record.__index, key, owned(value))
  elseif value == nil then
    forget(record, key)
  else
    local wanted = kind == "module" and "a module" or kind == "parameter" and "an nn.Parameter" or "a tensor"
    fail(("%s: '%s' is a %s and takes %s or nil, not %s"):format(record.class.__name, key, kind, wanted, describe(value)))
  end
end

local function assign(self, key, value)
  local record = getmetatable(self)
  local set = record.class.__set
  if set and set(self, key, value) then return end
  if type(key) == "number" then fail(("%s cannot be assigned to by number: [%s]"):format(record.class.__name, tostring(key))) end
  if is_parameter(value) then
    register(record, "parameter", key, value)
  elseif is_module(value) then
    register(record, "module", key, value)
  elseif key == "class" then
    fail(record.class.__name .. ": the class of a module cannot be changed")
  else
    assign_plain(record, key, value)
  end
end

-- Calls and other operators --------------------------------------------------------------------------------------------------------------

-- A call of a module keeps its frame while forward runs, also where forward ends in a tail call: errors find the running modules by it.
local function pass(...) return ... end

local function call(self, ...)
  local record = getmetatable(self)
  local forward = rawget(record.__index, "forward") or record.class.forward
  return pass(forward(self, ...))
end

-- The same where forward returns one value: LuaJIT gives up a trace after 15 tail calls.
local function call_for_one(self, ...)
  local record = getmetatable(self)
  local forward = rawget(record.__index, "forward") or record.class.forward
  return (forward(self, ...))
end

local function length(self)
  local count = self.class.__len
  if not count then fail(("%s has no length: it is no container"):format(self.class.__name)) end
  return count(self)
end

local function text(self) return self:__repr() end

-- How the fields of a class's modules fall back: to the class, then to its __get.
local function fallback(owner)
  local get = owner.__get
  if not get then return {__index = owner} end
  return {
    __index = function(fields, key)
      local value = owner[key]
      if value ~= nil then return value end
      return get(fields[RECORD], key)
    end,
  }
end

local EMPTY = {}

-- How the fields and the records of a class's modules fall back; made for the first module of the class.
local function shared_of(owner)
  local shared = rawget(owner, "__shared")
  if not shared then
    local common = {class = owner, is_lunette_module = true, kind = EMPTY, parameter = EMPTY, buffer = EMPTY, module = EMPTY}
    shared = {fields = fallback(owner), record = {__index = common}, call = rawget(owner, "__returns_one") and call_for_one or call}
    rawset(owner, "__shared", shared)
  end
  return shared
end

--- Sets what runs when the module is called: `hooked(self, ...)`, or nil for forward alone.
function class.set_call(record, hooked)
  record.__call = hooked and function(self, ...) return pass(hooked(self, ...)) end or shared_of(record.class).call
end

--- A bare module of a class, its constructor not run.
function class.allocate(owner)
  local self = newproxy(true)
  local record, shared = getmetatable(self), shared_of(owner)
  record.__index = setmetatable({training = true, [RECORD] = record}, shared.fields)
  record.__newindex, record.__call, record.__tostring, record.__len = assign, shared.call, text, length
  setmetatable(record, shared.record)
  return self
end

--- The plain fields of a module: name, value, ... without what is registered.
function class.plain_fields(record)
  local out = {}
  for key, value in each(record.__index) do
    if key ~= RECORD and not record.kind[key] then out[key] = value end
  end
  return out
end

-- Classes --------------------------------------------------------------------------------------------------------------------------------

local function construct(owner, ...)
  local self = class.allocate(owner)
  owner.__init(self, ...)
  return self
end

local function class_text(owner) return "class " .. owner.__name end

local function make(parent)
  return {__index = parent, __call = construct, __tostring = class_text, is_lunette_class = true}
end

setmetatable(Module, make(nil))

local function is_class(x)
  local meta = type(x) == "table" and getmetatable(x)
  return meta and meta.is_lunette_class == true
end
class.is_class = is_class

--- A subclass, and its parent: `local Net, parent = nn.Module:subclass("Net")`.
function Module.subclass(parent, name)
  if not is_class(parent) then fail("subclass is a method of a class, called with a colon: nn.Module:subclass(\"Net\")") end
  if type(name) ~= "string" or name == "" then fail(("subclass: the name must be a string, not %s"):format(describe(name))) end
  local owner = setmetatable({__name = name}, make(parent))
  owner.class = owner
  return owner, parent
end

--- Puts `check(forward)` in the place of every forward that is written into the class; `returns_one`: these return one value.
function class.check_forward(owner, check, returns_one)
  owner.__returns_one = returns_one
  getmetatable(owner).__newindex = function(_, key, value) rawset(owner, key, key == "forward" and check(value) or value) end
end

--- Is `x` a module of one of the classes, or of a class below them?
function class.isinstance(x, ...)
  if not is_module(x) then return false end
  local owner = x.class
  while owner do
    for i = 1, select("#", ...) do
      if owner == select(i, ...) then return true end
    end
    owner = getmetatable(owner).__index
  end
  return false
end

return class
