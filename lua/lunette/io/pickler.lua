--- Writing pickles of protocol 2, of what PyTorch's `weights_only` reads: plain values, tables as lists and dicts, ordered maps as OrderedDict, tensors over
-- storages that stand outside of the pickle. What occurs twice is written once, so that sharing and cycles come back.

local each = require("lunette.each")
local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local buffer = require("lunette.io.buffer")
local class = require("lunette.class")
local globals = require("lunette.io.globals")
local internals = require("lunette.nn.internals")
local ordered = require("lunette.nn.ordered")
local random = require("lunette.random")

local C, ffi, fail, check, wrap, pointer, is_tensor = base.C, base.ffi, base.fail, base.check, base.wrap, base.pointer, base.is_tensor
local describe, None = arguments.describe, arguments.None
local type, getmetatable, rawequal, ipairs, tonumber, floor, concat, sort = type, getmetatable, rawequal, ipairs, tonumber, math.floor, table.concat, table.sort
local put, put_little, put_double, put_long = buffer.put, buffer.little, buffer.double, buffer.long
local istype = ffi.istype

local pickler = {}

local MOST_LEVELS = 500 -- of tables within tables
local EXACT = 2 ^ 53
local int64_t, uint64_t = ffi.typeof("int64_t"), ffi.typeof("uint64_t")

-- Plain values ---------------------------------------------------------------------------------------------------------------------------

local function write_number(p, value)
  if value ~= floor(value) or value > EXACT or value < -EXACT or value == 0 and 1 / value < 0 then
    put_double(p, value)
  elseif value >= 0 and value < 256 then
    put_little(p, 75, value, 1) -- K
  elseif value >= 0 and value < 65536 then
    put_little(p, 77, value, 2) -- M
  elseif value >= -2 ^ 31 and value < 2 ^ 31 then
    put_little(p, 74, value, 4) -- J
  else
    put_long(p, value)
  end
end

-- The index in the memo of what was written before, now fetched; nil for what was not. There is one memo in the file, and here a table of it for each kind of
-- thing.
local function fetch(p, memo, key)
  local index = memo[key]
  if index then put_little(p, 106, index, 4) end -- j
  return index
end

local function remember(p, memo, key)
  memo[key] = p.memoized
  put_little(p, 114, p.memoized, 4) -- r
  p.memoized = p.memoized + 1
end

local function write_global(p, module, name)
  local key = "c" .. module .. "\n" .. name .. "\n"
  if fetch(p, p.names, key) then return end
  put(p, key)
  remember(p, p.names, key)
end

local function is_utf8(text)
  if not text:find("[\128-\255]") then return true end
  return C.ln_is_utf8(text, #text)
end

-- Characters below 256 in UTF-8.
local function as_text(bytes)
  return (bytes:gsub("[\128-\255]", function(byte)
    local code = byte:byte()
    return string.char(192 + floor(code / 64), 128 + code % 64)
  end))
end

local function put_text(p, text)
  put_little(p, 88, #text, 4) -- X
  put(p, text)
end

local function write_string(p, text)
  if #text >= 2 ^ 31 then fail("save: a string of 2 GiB cannot be saved") end
  if fetch(p, p.strings, text) then return end
  if is_utf8(text) then
    put_text(p, text)
  else -- a byte string, as Python writes one in this protocol
    write_global(p, "_codecs", "encode")
    put_text(p, as_text(text))
    put_text(p, "latin1")
    put(p, "\134R")
  end
  remember(p, p.strings, text)
end

-- Tensors --------------------------------------------------------------------------------------------------------------------------------

-- The storage of a tensor as ("storage", class, key, location, count), which stands outside of the pickle.
local function write_storage(p, t)
  local id = tonumber(C.ln_tensor_storage_id(pointer(t)))
  local s = p.by_id[id]
  if not s then
    local out = ffi.new("ln_tensor *[1]")
    check(C.ln_tensor_storage(pointer(t), out))
    s = {bytes = wrap(out[0]), dtype = t.dtype, key = ("%d"):format(#p.storages)}
    p.by_id[id], p.storages[#p.storages + 1] = s, s
  end
  if s.dtype ~= t.dtype then
    p:refuse("tensors of dtype %s and %s over the same bytes cannot both be saved; save a clone of one", s.dtype, t.dtype)
  end
  put(p, "(")
  write_string(p, "storage")
  write_global(p, "torch", globals.storage_names[t.dtype])
  write_string(p, s.key)
  write_string(p, t.device)
  write_number(p, s.bytes:numel() / t:element_size())
  put(p, "tQ")
end

local function write_sizes(p, size)
  put(p, "(")
  for _, n in ipairs(size:totable()) do write_number(p, n) end
  put(p, "t")
end

local function write_data(p, t, requires_grad)
  write_global(p, "torch._utils", "_rebuild_tensor_v2")
  put(p, "(")
  write_storage(p, t)
  write_number(p, tonumber(C.ln_tensor_storage_offset(pointer(t))))
  write_sizes(p, t.shape)
  write_sizes(p, t:stride())
  put(p, requires_grad and "\136" or "\137")
  write_global(p, "collections", "OrderedDict")
  put(p, ")RtR")
end

local function write_tensor(p, t)
  local id = t.id
  if fetch(p, p.tensors, id) then return end
  if internals.is_parameter(t) then
    write_global(p, "torch._utils", "_rebuild_parameter")
    put(p, "(")
    write_data(p, t, false)
    put(p, t.requires_grad and "\136" or "\137")
    write_global(p, "collections", "OrderedDict")
    put(p, ")RtR")
  else
    write_data(p, t, t.requires_grad)
  end
  remember(p, p.tensors, id)
end

-- Tables ---------------------------------------------------------------------------------------------------------------------------------

local write

local function write_at(p, key, value)
  p.path[#p.path + 1] = key
  write(p, value)
  p.path[#p.path] = nil
end

-- How many entries a table has as an array, nil when it is none: keys 1 ... n, or fewer when a field n says how many there are.
local function array_length(t)
  local count, most = 0, 0
  for key in each(t) do
    if type(key) == "number" then
      if key < 1 or key ~= floor(key) then return nil end
      count = count + 1
      if key > most then most = key end
    elseif key ~= "n" then
      return nil
    end
  end
  if count == 0 then return nil end
  local n = t.n
  if n == nil then return most == count and count or nil end
  local fits = type(n) == "number" and n == floor(n) and n >= most and n <= 2 * count + 1000
  return fits and n or nil
end

-- LuaJIT (2.1 as distributed up to 2022) compiles a loop over `next` that keeps a key for later to one that may lose it.
pcall(jit.off, array_length)

local function write_list(p, t, n)
  put(p, "]")
  remember(p, p.tables, t)
  put(p, "(")
  for i = 1, n do
    if t[i] == nil then put(p, "N") else write_at(p, i, t[i]) end
  end
  put(p, "e")
end

local function by_kind(a, b)
  if type(a) ~= type(b) then return type(a) == "number" end
  return a < b
end

local function sorted_keys(p, t)
  local keys = {}
  for key in each(t) do
    if type(key) ~= "string" and type(key) ~= "number" then p:refuse("the key %s is neither a name nor a number", describe(key)) end
    keys[#keys + 1] = key
  end
  sort(keys, by_kind)
  return keys
end

local function write_items(p, t, keys)
  put(p, "(")
  for _, key in ipairs(keys) do
    if type(key) == "number" then write_number(p, key) else write_string(p, key) end
    write_at(p, key, t[key])
  end
  put(p, "u")
end

local function write_map(p, map)
  write_global(p, "collections", "OrderedDict")
  put(p, ")R")
  remember(p, p.tables, map)
  local keys = {}
  for i, pair in ipairs(ordered.items(map)) do keys[i] = pair[1] end
  write_items(p, map, keys)
  local metadata = ordered.metadata(map)
  if next(metadata) == nil then return end
  put(p, "}(")
  write_string(p, "_metadata")
  write(p, ordered.map(metadata))
  put(p, "ub")
end

-- Tables whose metatable says no more than how loops go over them.
local function is_plain(t)
  local meta = getmetatable(t)
  return meta == nil or meta.__index == nil and meta.__call ~= nil and meta.__name == nil
end

local function write_table(p, t)
  if fetch(p, p.tables, t) then return end
  if #p.path > MOST_LEVELS then p:refuse("tables are nested more than %d deep", MOST_LEVELS) end
  if ordered.is_map(t) then return write_map(p, t) end
  if class.is_class(t) then p:refuse("a class cannot be saved") end
  if not is_plain(t) then p:refuse("a table with a metatable cannot be saved; save a plain one") end
  local n = array_length(t)
  if n then return write_list(p, t, n) end
  put(p, "}")
  remember(p, p.tables, t)
  write_items(p, t, sorted_keys(p, t))
end

-- Anything -------------------------------------------------------------------------------------------------------------------------------

-- What cannot be saved, and what can in its place.
local function refuse_object(p, value)
  if arguments.is_module(value) then p:refuse("a module cannot be saved; save its state_dict(): lt.save(net:state_dict(), path)") end
  if random.is_generator(value) then p:refuse("a generator cannot be saved; save its get_state()") end
  if class.is_instance(value) then
    local hint = value.state_dict and "; save its state_dict()" or ""
    p:refuse("an object of the class %s cannot be saved%s", value.class.__name, hint)
  end
  p:refuse("%s cannot be saved", describe(value))
end

local function write_cdata(p, value)
  if is_tensor(value) then return write_tensor(p, value) end
  if arguments.is_size(value) then
    write_global(p, "torch", "Size")
    write_sizes(p, value)
    return put(p, "\133R")
  end
  if not (istype(int64_t, value) or istype(uint64_t, value)) then refuse_object(p, value) end
  put_long(p, value)
end

function write(p, value)
  local kind = type(value)
  if kind == "table" then
    write_table(p, value)
  elseif kind == "number" then
    write_number(p, value)
  elseif kind == "string" then
    write_string(p, value)
  elseif kind == "boolean" then
    put(p, value and "\136" or "\137")
  elseif kind == "cdata" then
    write_cdata(p, value)
  elseif rawequal(value, None) then
    put(p, "N")
  else
    refuse_object(p, value)
  end
end

local Pickler = {}
Pickler.__index = Pickler

--- Raises an error that says where in what is saved.
function Pickler:refuse(format, ...)
  local keys = {}
  for i, key in ipairs(self.path) do keys[i] = tostring(key) end
  fail(("save: %s%s"):format(#keys > 0 and concat(keys, "/") .. ": " or "", format:format(...)))
end

--- The pickle of a value: its bytes, their number, and the storages that stand outside of it, {bytes =, a vector of uint8; key =} in order.
function pickler.pickle(value)
  local p = setmetatable(buffer.new(), Pickler)
  p.memoized, p.names, p.strings, p.tensors, p.tables, p.storages, p.by_id, p.path = 0, {}, {}, {}, {}, {}, {}, {}
  put(p, "\128\2")
  write(p, value)
  put(p, ".")
  return p.bytes, p.n, p.storages
end

return pickler
