--- What a reader of a format returns: a tree of plain values in which tensors are promised, by the place of their bytes in the file. `keep` takes what
-- was asked for, `fill` puts tensors in the places of promises.
--
-- So a reader allocates nothing by what a file claims, and entries that nobody asked for are never read.

local each = require("lunette.each")
local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local kinds = require("lunette.kinds")
local ordered = require("lunette.nn.ordered")

local C, ffi, fail, check, wrap, pointer, is_tensor = base.C, base.ffi, base.fail, base.check, base.wrap, base.pointer, base.is_tensor
local bor = require("bit").bor
local getmetatable, setmetatable, rawset, type, tonumber, tostring, ipairs, concat = getmetatable, setmetatable, rawset, type, tonumber, tostring, ipairs, table.concat

local OK, PARAMETER = tonumber(C.LN_OK), tonumber(C.LN_PARAMETER)
local MOST_DIMS = tonumber(C.LN_MAX_DIMS)

local promise = {}

-- Promises -------------------------------------------------------------------------------------------------------------------------------

local Storage, Tensor = {}, {}

--- Bytes of a file: {offset =, bytes =}; location: the device that the file names; packed and crc: of deflate data; read: a function that gives the
-- bytes as a vector of uint8 in another way.
function promise.storage(fields) return setmetatable(fields, Storage) end

--- A tensor over a storage: {storage =, dtype =, shape =, stride =, offset =}, offset in elements, stride nil for row-major; requires_grad, parameter.
function promise.tensor(fields) return setmetatable(fields, Tensor) end

--- Is x a promised tensor?
function promise.is_tensor(x) return getmetatable(x) == Tensor end

--- Is x any promise?
function promise.is(x)
  local meta = getmetatable(x)
  return meta == Tensor or meta == Storage
end

--- A promised tensor with fields of its own in the place of those of another.
function promise.changed(t, fields)
  local new = {}
  for key, value in each(t) do new[key] = value end
  for key, value in each(fields) do new[key] = value end
  return promise.tensor(new)
end

-- Where storages go ----------------------------------------------------------------------------------------------------------------------

-- The device that a file names where it is there, else the cpu.
local function present(location)
  local id = kinds.devices[location]
  if not id or id < 0 or C.ln_device_check(id) ~= OK then return "cpu" end
  return base.device_name(id)
end

local function named(device)
  local id = kinds.devices[device]
  if not id then fail(("load: map_location must name devices such as \"cpu\" or \"cuda:0\", not %s"):format(arguments.describe(device))) end
  check(C.ln_device_check(id))
  return base.device_name(id)
end

local function placed_by_function(fn, bytes, location)
  local answer = fn(bytes, location)
  if answer == nil then return bytes:to(present(location)) end
  if type(answer) == "string" then return bytes:to(named(answer)) end
  if not is_tensor(answer) or answer.dtype ~= "uint8" or answer:numel() ~= bytes:numel() then
    fail("load: map_location must return the storage, moved or not, a device or nil, not " .. arguments.describe(answer))
  end
  return answer
end

--- The bytes of a storage on the device where they belong. map_location: nil, a device, a table location -> device, or a function (bytes, location).
local function place(bytes, location, map_location)
  location = location or "cpu"
  if type(map_location) == "function" then return placed_by_function(map_location, bytes, location) end
  local device
  if type(map_location) == "table" then
    device = map_location[location] ~= nil and named(map_location[location]) or present(location)
  else
    device = map_location ~= nil and named(map_location) or present(location)
  end
  return bytes:to(device)
end

-- Filling --------------------------------------------------------------------------------------------------------------------------------

local function read(storage, f, map)
  if storage.read then return storage.read(f) end
  if storage.packed then return f:unpacked(storage.offset, storage.packed, storage.bytes, storage.crc) end
  return f:vector(storage.offset, storage.bytes, map)
end

local Filler = {}
Filler.__index = Filler

-- Raises an error about a promise that stands under `key` of the table `at`.
local function refuse(self, at, key, what)
  local keys = {}
  while at and key ~= nil do
    table.insert(keys, 1, tostring(key))
    key, at = self.key[at], self.above[at]
  end
  self.file:fail("tensor '%s': %s", concat(keys, "/"), what)
end

local function row_major(shape)
  local stride, n = {}, 1
  for i = #shape, 1, -1 do
    stride[i] = n
    n = n * math.max(1, shape[i])
  end
  return stride, n
end

-- Sizes and strides as numbers of C; what is wrong with them, if anything.
local function put(self, p)
  local stride, n = p.stride, 0
  if #p.shape > MOST_DIMS then return ("a tensor has at most %d dimensions, this one %d"):format(MOST_DIMS, #p.shape) end
  if not stride then stride, n = row_major(p.shape) end
  if n >= 2 ^ 53 then return ("the shape {%s} is too large"):format(concat(p.shape, ", ")) end
  for i = 1, #p.shape do self.shape[i - 1], self.stride[i - 1] = p.shape[i], stride[i] end
end

local function bytes_of(self, storage)
  local bytes = self.storages[storage]
  if not bytes then
    bytes = place(read(storage, self.file, self.map), storage.location, self.map_location)
    self.storages[storage] = bytes
  end
  return bytes
end

local function make(self, p, at, key)
  local bytes, wrong = bytes_of(self, p.storage), put(self, p)
  if wrong then refuse(self, at, key, wrong) end
  local status = C.ln_tensor_over(pointer(bytes), base.dtype_id[p.dtype], self.shape, self.stride, #p.shape, p.offset or 0, self.out)
  if status ~= OK then refuse(self, at, key, ffi.string(C.ln_error())) end
  local t = wrap(self.out[0])
  if p.parameter then t._p.flags = bor(t._p.flags, PARAMETER) end
  if p.requires_grad and C.ln_tensor_set_requires_grad(t._p, true) ~= OK then refuse(self, at, key, ffi.string(C.ln_error())) end
  return t
end

-- The tensor of a promise, the same one each time; nil for what is none. It stands under `key` of the table `at`.
local function kept(self, value, at, key)
  local meta = getmetatable(value)
  if meta ~= Tensor and meta ~= Storage then return nil end
  local t = self.tensors[value]
  if not t then
    t = meta == Tensor and make(self, value, at, key) or bytes_of(self, value)
    self.tensors[value] = t
  end
  return t
end

--- The tree with tensors in the places of promises. options: mmap, map_location.
function promise.fill(f, tree, options)
  local self = setmetatable({
    file = f, map = options.mmap, map_location = options.map_location, storages = {}, tensors = {},
    above = {}, key = {}, shape = ffi.new("int64_t[16]"), stride = ffi.new("int64_t[16]"), out = ffi.new("ln_tensor *[1]"),
  }, Filler)
  if type(tree) ~= "table" then return tree end
  local whole = kept(self, tree, {}, nil)
  if whole then return whole end
  local seen, work, n = {[tree] = true}, {tree}, 1
  while n > 0 do
    local t = work[n]
    work[n], n = nil, n - 1
    for key, value in each(t) do
      if type(value) == "table" then
        local tensor = kept(self, value, t, key)
        if tensor then
          rawset(t, key, tensor)
        elseif not seen[value] then
          seen[value] = true
          self.above[value], self.key[value] = t, key
          n = n + 1
          work[n] = value
        end
      end
    end
  end
  return tree
end

-- Choosing -------------------------------------------------------------------------------------------------------------------------------

local function entry(t, part)
  local value = t[part]
  if value == nil and tonumber(part) then return t[tonumber(part)], tonumber(part) end
  return value, part
end

-- The keys on the way to `name`, an array, and what stands there; a key may hold slashes itself. nil when there is no such way.
local function way(t, name, from)
  if type(t) ~= "table" or promise.is(t) then return nil end
  local value, key = entry(t, name:sub(from))
  if value ~= nil then return {key}, value end
  local slash = name:find("/", from, true)
  while slash do
    value, key = entry(t, name:sub(from, slash - 1))
    if value ~= nil then
      local keys, found = way(value, name, slash + 1)
      if keys then
        table.insert(keys, 1, key)
        return keys, found
      end
    end
    slash = name:find("/", slash + 1, true)
  end
end

local function like(t)
  if not ordered.is_map(t) then return {} end
  local map = ordered.map()
  for key, value in each(ordered.metadata(t)) do ordered.metadata(map)[key] = value end
  return map
end

--- The tree with the entries of these names alone, an array; keys of nested tables are joined with "/".
function promise.keep(f, tree, names)
  local out
  for _, name in ipairs(names) do
    local keys, value = way(tree, name, 1)
    if not keys then f:fail("there is no entry '%s'", tostring(name)) end
    out = out or like(tree)
    local at, source = out, tree
    for i = 1, #keys - 1 do
      source = source[keys[i]]
      if at[keys[i]] == nil then at[keys[i]] = like(source) end
      at = at[keys[i]]
    end
    at[keys[#keys]] = value
  end
  return out or {}
end

return promise
