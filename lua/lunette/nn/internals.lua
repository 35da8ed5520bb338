--- What a module is made of beyond an instance of a class (class.lua): the registration of parameters, buffers and children, and the call.
--
-- The internals of a module, the metatable that only it has, hold
--   __index   the fields; what is absent there is looked up in the class
--   __call    runs forward; another function where hooks have to run
--   kind      name -> "parameter", "buffer" or "module"; the value lies in the fields
--   parameter, buffer, module   arrays of the names of that kind, in order of registration
--   transient   the names of buffers that state dicts leave out
--   hooks       kind of hook -> array of {function, options}
--   derived     name -> what computes the tensor in this field from others before every call (derived.lua)
-- Empty tables for what a module lacks are shared by all. A class may define `__setfield(self, name, value)`, which returns whether it took the value.
-- What modules can do stands in module.lua.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local class = require("lunette.class")
local owned = require("lunette.nn.owned")
local bit = require("bit")

local band, C = bit.band, base.C
local getmetatable, ipairs, rawget, rawset, tonumber, type = getmetatable, ipairs, rawget, rawset, tonumber, type
local is_module, fail, describe = arguments.is_module, arguments.fail, arguments.describe

local LN_PARAMETER, LN_BUFFER, LN_TRANSIENT = tonumber(C.LN_PARAMETER), tonumber(C.LN_BUFFER), tonumber(C.LN_TRANSIENT)
local LN_UNINITIALIZED = tonumber(C.LN_UNINITIALIZED)

local EMPTY = {}

-- changes counts what was registered or removed anywhere; on_register: hooks of all modules, by kind.
local internals = {changes = 0, on_register = {parameter = EMPTY, buffer = EMPTY, module = EMPTY}}

local Module = class.define("nn.Module", {
  doc = "The class above all modules: `local Net, parent = nn.Module:subclass(\"Net\")`, then Net:__init(...) and Net:forward(...). Assigning a Parameter or a "
    .. "module to a field registers it; calling the module runs its hooks and forward.",
  takes = "",
  example = "> Net = nn.Module:subclass(\"Net\")\n> function Net:__init(n) self.fc = nn.Linear(n, 2) end\n> function Net:forward(x) return self.fc(x) end\n"
    .. "> Net(3)(lt.ones(4, 3)).shape\n{4, 2}",
})
internals.Module = Module

local function is_parameter(x) return base.is_tensor(x) and band(x._p.flags, LN_PARAMETER) ~= 0 end
internals.is_parameter = is_parameter

local function is_buffer(x) return base.is_tensor(x) and band(x._p.flags, LN_BUFFER) ~= 0 end
internals.is_buffer = is_buffer

--- Has a tensor no shape yet (lazy.lua)?
function internals.is_uninitialized(x) return base.is_tensor(x) and band(x._p.flags, LN_UNINITIALIZED) ~= 0 end

--- A tensor without elements becomes one without a shape.
function internals.set_uninitialized(t)
  t._p.flags = bit.bor(t._p.flags, LN_UNINITIALIZED)
  return t
end

--- Gives an uninitialised tensor its shape; where and as what it says itself unless device or dtype do. The elements are not set.
function internals.materialize(t, shape, device, dtype)
  t.data = require("lunette.create").empty(shape, {device = device or t.device, dtype = dtype or t.dtype})
  t._p.flags = band(t._p.flags, bit.bnot(LN_UNINITIALIZED))
end

--- The internals of a module; `method` is named when `self` is none.
local function of(self, method)
  if not is_module(self) then
    fail(("%s is a method, called with a colon: m:%s(...); its first value is %s"):format(method, method, describe(self)))
  end
  return getmetatable(self)
end
internals.of = of

-- The table among the internals that is about to be written to.
local function own(inner, key)
  local t = rawget(inner, key)
  if not t then
    t = {}
    rawset(inner, key, t)
  end
  return t
end
internals.own = own

-- Registration ---------------------------------------------------------------------------------------------------------------------------

local function check_name(inner, kind, name)
  local owner = inner.class.__name
  if type(name) ~= "string" then fail(("%s: the name of a %s must be a string, not %s"):format(owner, kind, describe(name))) end
  if name == "" then fail(("%s: the name of a %s must not be empty"):format(owner, kind)) end
  if name:find(".", 1, true) then fail(("%s: the name of a %s must not contain a dot: '%s'"):format(owner, kind, name)) end
  if inner.class[name] ~= nil or name == "training" then
    fail(("%s: '%s' cannot name a %s: it is a method or field of the class"):format(owner, name, kind))
  end
end

-- The list of names is made anew, so that a loop over the old one is not disturbed.
local function forget(inner, name)
  local kind, kept = inner.kind[name], {}
  for _, other in ipairs(inner[kind]) do
    if other ~= name then kept[#kept + 1] = other end
  end
  rawset(inner, kind, kept)
  inner.kind[name] = nil
  if inner.transient[name] then inner.transient[name] = nil end
  rawset(inner.__index, name, nil)
  internals.changes = internals.changes + 1
end
internals.forget = forget

-- What the hooks of registrations make of a value.
local function after_hooks(self, kind, name, value)
  for _, entry in ipairs(internals.on_register[kind]) do
    local answer = entry[1](self, name, value)
    if answer ~= nil then value = answer end
  end
  return value
end

--- Registers `value` (nil: only the name) as "parameter", "buffer" or "module"; a name of that kind keeps its position, another one loses it.
local function register(self, kind, name, value)
  local inner = getmetatable(self)
  check_name(inner, kind, name)
  value = after_hooks(self, kind, name, value)
  if inner.kind[name] ~= kind then
    if inner.kind[name] then forget(inner, name) end
    own(inner, "kind")[name] = kind
    local names = own(inner, kind)
    names[#names + 1] = name
  end
  rawset(inner.__index, name, owned(value))
  internals.changes = internals.changes + 1
end
internals.register = register

-- Whether state dicts leave a buffer out.
local function set_transient(inner, name, transient)
  if transient or inner.transient[name] then own(inner, "transient")[name] = transient or nil end
end

--- As `register`, but a name in use is an error: what register_parameter, register_buffer and add_module promise.
function internals.register_new(self, kind, name, value, transient)
  local inner = getmetatable(self)
  check_name(inner, kind, name)
  if inner.kind[name] ~= kind and rawget(inner.__index, name) ~= nil then
    fail(("%s: attribute '%s' already exists"):format(inner.class.__name, name))
  end
  register(self, kind, name, value)
  set_transient(inner, name, transient)
end

local function assign_plain(inner, key, value)
  local kind = inner.kind[key]
  if kind == nil then
    rawset(inner.__index, key, value)
  elseif kind == "buffer" and (value == nil or base.is_tensor(value)) then
    rawset(inner.__index, key, owned(value))
  elseif value == nil then
    forget(inner, key)
  else
    local wanted = kind == "module" and "a module" or kind == "parameter" and "an nn.Parameter" or "a tensor"
    fail(("%s: '%s' is a %s and takes %s or nil, not %s"):format(inner.class.__name, key, kind, wanted, describe(value)))
  end
end

local function assign(self, key, value)
  local inner = getmetatable(self)
  local owner = inner.class
  if type(key) == "number" then
    if not owner.__setitem then fail(("%s cannot be assigned to by number: [%s]"):format(owner.__name, tostring(key))) end
    return owner.__setitem(self, key, value)
  end
  if owner.__setfield and owner.__setfield(self, key, value) then return end
  if is_parameter(value) then
    register(self, "parameter", key, value)
  elseif is_module(value) then
    register(self, "module", key, value)
  elseif is_buffer(value) then
    register(self, "buffer", key, value)
    set_transient(inner, key, band(value._p.flags, LN_TRANSIENT) ~= 0)
  elseif key == "class" then
    fail(owner.__name .. ": the class of a module cannot be changed")
  else
    assign_plain(inner, key, value)
  end
end

-- Calls ----------------------------------------------------------------------------------------------------------------------------------

-- A call of a module keeps its frame while forward runs, also where forward ends in a tail call: errors find the running modules by it.
local function pass(...) return ... end

-- What runs instead of every module's forward while there are hooks of all modules.
local global_call

local function call(self, ...)
  if global_call then return pass(global_call(self, ...)) end
  local inner = getmetatable(self)
  local forward = rawget(inner.__index, "forward") or inner.class.forward
  return pass(forward(self, ...))
end

-- The same where forward returns one value: LuaJIT gives up a trace after 15 tail calls.
local function call_for_one(self, ...)
  if global_call then return (global_call(self, ...)) end
  local inner = getmetatable(self)
  local forward = rawget(inner.__index, "forward") or inner.class.forward
  return (forward(self, ...))
end

--- Sets what runs when any module is called: `hooked(self, ...)`, or nil for what each has itself.
function internals.set_global_call(hooked) global_call = hooked end

--- Sets what runs when the module is called: `hooked(self, ...)`, or nil for forward alone.
function internals.set_call(inner, hooked)
  inner.__call = hooked and function(self, ...) return pass(hooked(self, ...)) end or class.shared_of(inner.class).call
end

--- Puts `check(forward)` in the place of every forward that is written into the class; `returns_one`: these return one value.
function internals.check_forward(owner, check, returns_one)
  owner.__returns_one = returns_one
  getmetatable(owner).__newindex = function(_, key, value) rawset(owner, key, key == "forward" and check(value) or value) end
end

-- Instances ------------------------------------------------------------------------------------------------------------------------------

-- Modules that are no containers find their methods without a function in between.
function Module.__shared(owner, shared)
  local common = shared.internals.__index
  common.is_lunette_module, common.kind, common.parameter, common.buffer, common.module = true, EMPTY, EMPTY, EMPTY, EMPTY
  common.hooks, common.transient, common.derived = EMPTY, EMPTY, EMPTY
  shared.newindex, shared.call = assign, rawget(owner, "__returns_one") and call_for_one or call
  if not owner.__getitem and not owner.__slice then shared.fields = {__index = owner} end
end

--- A bare module of a class, its constructor not run.
function internals.allocate(owner)
  local self = class.allocate(owner)
  rawset(getmetatable(self).__index, "training", true)
  return self
end

function Module.__new(owner, ...)
  local self = internals.allocate(owner)
  owner.__init(self, ...)
  return self
end

--- Computes the derived tensors of a module anew, after what they come from was exchanged.
function internals.renew_derived(self)
  for _, method in each(getmetatable(self).derived) do method:_renew(self) end
end

--- The plain fields of a module, by name: without what is registered.
function internals.plain_fields(self)
  local out, kind = class.fields_of(self), getmetatable(self).kind
  for name in each(kind) do out[name] = nil end
  return out
end

return internals
