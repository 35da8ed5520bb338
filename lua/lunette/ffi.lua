--- The binding: finds liblunette, gives it to LuaJIT's FFI, and holds what every other file needs to touch a tensor.
--
-- A tensor in Lua is a handle by value, `{pointer, generation}`; C counts the handle as one reference and its finalizer is the C function
-- itself. The metatable of handles is set once in a process and delegates to tables that each load refills, because some programs (busted
-- among them) load Lunette several times into one Lua state.
--
-- Nothing here knows an operator.

local each = require("lunette.each")
local ffi = require("ffi")
local bit = require("bit")
local arguments = require("lunette.arguments")
local kinds = require("lunette.kinds")

local getinfo, getregistry = debug.getinfo, debug.getregistry
local collectgarbage, tonumber, type, error, rawget = collectgarbage, tonumber, type, error, rawget
local istype, fficast, ffistring, ffigc = ffi.istype, ffi.cast, ffi.string, ffi.gc
local max = math.max

local here = getinfo(1, "S").source:match("^@?(.*)ffi%.lua$")
local KEY = "lunette.binding"

-- Loading --------------------------------------------------------------------------------------------------------------------------------

local function readable(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file and path
end

--- An installed tree keeps library and header beside this file, a checkout keeps them in build/ and lib/.
local function locate(name, checkout)
  return readable(here .. name) or readable(here .. "../../" .. checkout .. name)
end

local function declarations(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return assert(text:match("/%* cdef begin %*/(.-)/%* cdef end %*/"), path .. " has no cdef region")
end

local function load_library()
  local library = os.getenv("LUNETTE_LIBRARY") or locate("liblunette.so", "build/")
  local header = locate("lunette.h", "lib/")
  if not library or not header then
    error("Lunette's " .. (library and "lunette.h" or "liblunette.so") .. " was not found beside " .. here .. " nor in ../../build: build it with make", 0)
  end
  local text = declarations(header)
  ffi.cdef(text)
  -- Threads that spin long at the end of a region stall each other when the machine is busy with something else; OpenMP reads this as it is loaded.
  ffi.cdef("int setenv(const char *name, const char *value, int overwrite);")
  if not os.getenv("OMP_WAIT_POLICY") then ffi.C.setenv("GOMP_SPINCOUNT", "2000", 0) end
  return {path = library, text = text, C = ffi.load(library)}
end

local registry = getregistry()[KEY]
if not registry then
  registry = load_library()
  getregistry()[KEY] = registry
elseif readable(here .. "lunette.h") and declarations(here .. "lunette.h") ~= registry.text then
  error("another version of Lunette is loaded in this process, from " .. registry.path, 0)
end

local C = registry.C
local base = {root = getinfo(1, "S").source:match("^(.*)ffi%.lua$"), C = C, ffi = ffi, registry = registry, T = {}, index_texts = {}, fields = {}, setters = {}, hooks = {}}

-- Errors ---------------------------------------------------------------------------------------------------------------------------------

local OK, NOMEM = tonumber(C.LN_OK), tonumber(C.LN_NOMEM)

--- Raises `message` at the innermost line outside Lunette's own files.
base.fail = arguments.fail

--- Raises what C said when `status` is not LN_OK. C calls an operator `inner`; where scripts called it `name`, that takes its place.
function base.check(status, name, inner)
  if status == OK then return end
  local message = ffistring(C.ln_error())
  if base.hooks.interrupted and C.ln_interrupted() then base.hooks.interrupted() end
  if name and message:sub(1, #inner + 1) == inner .. ":" then message = name .. message:sub(#inner + 1) end
  arguments.fail(message)
end

-- Memory ---------------------------------------------------------------------------------------------------------------------------------

local memory = C.ln_memory_counters()
local MEGABYTE = 1048576
-- A cycle of Lua's collector is due when tensors hold more than `limit` bytes, or when `most` handles were made since the last one. A cycle costs
-- as much as the Lua heap is large; few handles between cycles keep what they stand for in the caches of the processor.
local pace = registry.pace or {floor = 64 * MEGABYTE, limit = 64 * MEGABYTE, handles = 0, most = 3000}
registry.pace = pace
base.memory, base.pace = memory, pace

--- A full cycle of Lua's collector, which cannot see the memory behind handles.
function base.collect()
  pace.handles, pace.limit = 0, tonumber(memory.live) + pace.floor -- first: finalizers that make tensors must not start cycle upon cycle
  collectgarbage()
  local live, heap = tonumber(memory.live), 1024 * collectgarbage("count")
  pace.limit = live + max(pace.floor, live, 8 * heap)
  pace.handles, pace.most = 0, max(3000, heap / 200)
end

--- Runs `fn(...)`, a C call; when memory runs out, once more after a collection.
function base.retry(fn, ...)
  local status = fn(...)
  if status == NOMEM then
    base.collect()
    status = fn(...)
  end
  base.check(status)
end

-- Handles --------------------------------------------------------------------------------------------------------------------------------

local handle
local scope = registry.scope or {depth = 0}
registry.scope = scope
base.scope = scope

--- A handle for a tensor that C hands over with one reference; nil for NULL. Inside lt.scope the scope owns the reference.
function base.wrap(p)
  if p == nil then return nil end
  local h = handle(p, p.generation)
  if scope.depth == 0 then
    ffigc(h, C.ln_handle_release)
    pace.handles = pace.handles + 1
    if memory.live > pace.limit or pace.handles > pace.most then base.collect() end
  end
  return h
end

local function released(h)
  if h._gen == 0 then base.fail("the tensor was collected before this finalizer ran") end
  base.fail("the tensor was released at the end of its lt.scope; return it from the scope to keep it")
end

--- The tensor behind a handle, or an error when it was released with its scope.
local function pointer(h)
  local p = h._p
  if p.generation ~= h._gen then released(h) end
  return p
end
base.pointer = pointer

--- Is `x` a tensor? (LuaJIT gives up a trace after 15 tail calls, so what every trace passes through returns in parentheses.)
local function is_tensor(x) return (istype(handle, x)) end
base.is_tensor = is_tensor

-- Dtypes and devices ---------------------------------------------------------------------------------------------------------------------

base.dtype_name = {[0] = "float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"}
base.dtype_id = {}
for id = 0, #base.dtype_name do base.dtype_id[base.dtype_name[id]] = id end

--- -1 for "cpu", n for "cuda:n", "cuda" or n; nil is the default device.
function base.device_id(device)
  if device == nil then return registry.default_device or -1 end
  local id = kinds.devices[device]
  if not id then base.fail(("there is no device %q: it is \"cpu\" or \"cuda:0\", \"cuda:1\" ..."):format(tostring(device))) end
  return id
end

function base.device_name(id) return id < 0 and "cpu" or "cuda:" .. id end

--- Where tensors are made when no device is named: "cpu" until this says otherwise.
function base.set_default_device(device)
  local id = base.device_id(device or "cpu")
  base.check(C.ln_device_check(id))
  registry.default_device = id
end

-- The metatable of handles ---------------------------------------------------------------------------------------------------------------

local T, fields, setters, hooks = base.T, base.fields, base.setters, base.hooks

local live = registry.live or {}
registry.live = live
live.base = base

local function field_error(key)
  local names = hooks.names and hooks.names() or {}
  for name in each(fields) do names[#names + 1] = name end
  for name in each(T) do names[#names + 1] = name end
  base.fail(("a tensor has no field or method '%s'%s"):format(tostring(key), arguments.hint(key, names)))
end

-- What traces pass through stands first: T[key] of a name that is not there yet looks among the operators, which the JIT cannot follow.
local function index(h, key)
  local method = rawget(T, key)
  if method ~= nil then return method end
  local field = fields[key]
  if field then return field(h) end
  if type(key) == "number" or base.index_texts[key] then return hooks.get(h, key) end
  method = T[key]
  if method ~= nil then return method end
  if hooks.get and (type(key) ~= "string" or not key:match("^[%a_][%w_]*$")) then return hooks.get(h, key) end
  field_error(key)
end
live.index = index

function live.newindex(h, key, value)
  local set = setters[key]
  if set then return set(h, value) end
  if type(key) == "string" and key:match("^[%a_][%w_]*$") then base.fail(("a tensor has no field '%s' that can be set"):format(key)) end
  return hooks.set(h, key, value)
end

function live.equal(a, b)
  if type(a) == "nil" or type(b) == "nil" then return false end
  if is_tensor(a) and is_tensor(b) then return a._p == b._p and a._gen == b._gen end
  base.fail("== compares whether two tensors are the same object; use t:eq(x) for the elements")
end

-- A comparison. Lua turns a > b into b < a, so a number in front may have stood behind.
local function refuse(operator, turned, method, turned_method)
  return function(a, b)
    if is_tensor(a) and is_tensor(b) then
      base.fail(("tensors cannot be compared with %s or %s in Lua: use a:%s(b) or a:%s(b)"):format(operator, turned, method, turned_method))
    end
    local name, number = is_tensor(a) and method or turned_method, is_tensor(a) and b or a
    base.fail(("a tensor cannot be compared with %s or %s in Lua: use t:%s(%s)"):format(operator, turned, name, tostring(number)))
  end
end

function live.ipairs() base.fail("ipairs and pairs do not go over tensors: use `for i, row in lt.enumerate(t) do`, i from 0") end

live.less, live.less_equal = refuse("<", ">", "lt", "gt"), refuse("<=", ">=", "le", "ge")

function live.call() base.fail("a tensor cannot be called; its rows are gone over with `for i, row in lt.enumerate(t) do`, i from 0") end

function live.concat() base.fail("a tensor is no text: use tostring(t), or t:item() for the number in a tensor of one element") end

if not registry.handle then
  registry.handle = ffi.metatype("ln_handle", {
    __index = function(h, key) return (live.index(h, key)) end,
    __newindex = function(h, key, value) live.newindex(h, key, value) end,
    __tostring = function(h) return live.base.hooks.tostring(h) end,
    __len = function(h) return live.base.hooks.length(h) end,
    __eq = function(a, b) return (live.equal(a, b)) end,
    __lt = function(a, b) return (live.less(a, b)) end,
    __le = function(a, b) return (live.less_equal(a, b)) end,
    __add = function(a, b) return (live.add(a, b)) end,
    __sub = function(a, b) return (live.sub(a, b)) end,
    __mul = function(a, b) return (live.mul(a, b)) end,
    __div = function(a, b) return (live.div(a, b)) end,
    __pow = function(a, b) return (live.pow(a, b)) end,
    __mod = function(a, b) return (live.remainder(a, b)) end,
    __unm = function(a) return (live.neg(a)) end,
    __call = function() return live.call() end,
    __concat = function() return live.concat() end,
    __ipairs = function(h) return live.ipairs(h) end,
    __pairs = function(h) return live.ipairs(h) end,
  })
end
handle = registry.handle
base.handle = handle

-- Blocks of a call -----------------------------------------------------------------------------------------------------------------------

local MAX_INPUTS, MAX_OUTPUTS = tonumber(C.LN_MAX_INPUTS), tonumber(C.LN_MAX_OUTPUTS)

-- What a call of C reads its arguments from and leaves its results in. Whoever needs one takes it out of `spare` and puts it back when its results
-- stand in locals; a call made meanwhile, by a debug hook, a finalizer or a metamethod, finds none and makes its own. So no block has two users, and one
-- that an error leaves behind is garbage. (A coroutine cannot yield between the two lines that take a block: no code of the user runs there.)
local spare = {block = false}
base.spare = spare

function base.new_block()
  local attrs = ffi.new("ln_attrs")
  return {
    attrs = attrs, int = fficast("int64_t *", attrs.slot), double = fficast("double *", attrs.slot), pool = fficast("int64_t *", attrs.pool),
    inputs = ffi.new("ln_tensor *[?]", MAX_INPUTS), outputs = ffi.new("ln_tensor *[?]", MAX_OUTPUTS), many = false, capacity = 0,
    number = ffi.new("double[1]"), integer = ffi.new("int64_t[1]"), shape = ffi.new("int64_t[16]"), engine = ffi.new("ln_engine *[1]"),
    numbers = ffi.new("int64_t[256]"),
  }
end

--- Takes a block; `give` takes it back.
function base.take()
  local block = spare.block or base.new_block()
  spare.block = false
  return block
end

function base.give(block) spare.block = block end

base.band, base.cast = bit.band, fficast

return base
