--- PyTorch's files: archives since 1.6, which are written too, and of TorchScript; the sequence of pickles from before.

local each = require("lunette.each")
local base = require("lunette.ffi")
local file = require("lunette.io.file")
local globals = require("lunette.io.globals")
local ordered = require("lunette.nn.ordered")
local pickle = require("lunette.io.pickle")
local pickler = require("lunette.io.pickler")
local promise = require("lunette.io.promise")
local zip = require("lunette.io.zip")

local pointer, C = base.pointer, base.C
local ipairs, type = ipairs, type

local torch = {}

local function item_size(dtype) return C.ln_dtype_size(base.dtype_id[dtype]) end

-- Storages -------------------------------------------------------------------------------------------------------------------------------

-- What a persistent id says: ("storage", class, key, location, count, ...).
local function read_id(id, m)
  m:expect(id, "tuple")
  local dtype, key, location, count = globals.storage_dtype(id[2]), id[3], id[4], id[5]
  if id[1] ~= "storage" or not dtype or type(location) ~= "string" or type(count) ~= "number" or count < 0 or count % 1 ~= 0 then
    m:refuse("a value outside of the pickle that is no storage")
  end
  if type(key) == "number" then key = ("%d"):format(key) end
  if type(key) ~= "string" then m:refuse("a storage without a name") end
  return key, dtype, location, count
end

-- All elements of a storage as a tensor: what a storage that was saved itself becomes, and what tensors are made over.
local function typed(storage, dtype, count)
  return promise.tensor{storage = storage, dtype = dtype, shape = {count}, stride = {1}, offset = 0}
end

-- Pickles of a file ------------------------------------------------------------------------------------------------------------------------

local function read_pickle(f, name, bytes, from, size, persistent, global)
  return pickle.read{
    bytes = bytes, from = from, size = size, persistent = persistent, global = global or globals.find,
    fail = function(at, what) f:fail("%s, byte %d: %s", name, at, what) end,
  }
end

-- Archives -------------------------------------------------------------------------------------------------------------------------------

-- The folder in the archive that everything lies in, with its slash; nil when this is no archive of PyTorch's.
local function root_of(entries)
  for _, e in ipairs(entries) do
    local root = e.name:match("^(.*)data%.pkl$")
    if root == "" or root and root:sub(-1) == "/" then return root end
  end
end

--- Are these entries of a PyTorch archive?
function torch.is_archive(entries) return root_of(entries) ~= nil end

local function check_order(f, by_name, root)
  local e = by_name[root .. "byteorder"]
  if not e or e.size > 16 then return end
  local order = base.ffi.string(pointer(zip.vector(f, e)).data, e.size)
  if order ~= "little" then f:fail("its byte order is %q; only little-endian files are read", order) end
end

-- A function for persistent ids: storages are the entries of a folder.
local function storages_in(f, by_name, folder)
  local known = {}
  return function(id, m)
    local key, dtype, location, count = read_id(id, m)
    local e = by_name[folder .. key]
    if not e then m:refuse("there is no entry %q for a storage", folder .. key) end
    if e.size < count * item_size(dtype) then m:refuse("the entry %q has %.0f bytes, its storage %.0f", e.name, e.size, count * item_size(dtype)) end
    known[key] = known[key] or zip.storage(f, e, location)
    return typed(known[key], dtype, count)
  end
end

local function read_entry(f, by_name, root, name, folder, global)
  local e = by_name[root .. name] or f:fail("there is no entry %q", root .. name)
  local text = zip.vector(f, e)
  return (read_pickle(f, e.name, pointer(text).data, 0, e.size, storages_in(f, by_name, root .. folder), global))
end

-- TorchScript ----------------------------------------------------------------------------------------------------------------------------

-- In an archive of TorchScript classes of its own are objects with a state, and lists of one type are made by functions.
local function script_global(module, name, m)
  if module:match("^__torch__") then
    return pickle.callable(module .. "." .. name, function(_, _, machine) return machine:new("object", {}) end)
  end
  if module == "torch.jit._pickle" then
    return pickle.callable(module .. "." .. name, function(args) return args[1] end)
  end
  return globals.find(module, name, m)
end

local function by_key(a, b) return tostring(a) < tostring(b) end

-- Collects the tensors below an object under the names that a state dict has for them.
local function collect(out, object, prefix, above)
  local state = type(object) == "table" and object.state
  if type(state) ~= "table" or above[object] then return out end
  above[object] = true
  local keys = {}
  for key in each(state) do keys[#keys + 1] = key end
  table.sort(keys, by_key)
  for _, key in ipairs(keys) do
    local value = state[key]
    if promise.is_tensor(value) then out[prefix .. tostring(key)] = promise.changed(value, {requires_grad = false}) else collect(out, value, prefix .. tostring(key) .. ".", above) end
  end
  above[object] = nil
  return out
end

--- The tree of promises in a PyTorch archive; of TorchScript a map of parameters and buffers by name.
function torch.read_archive(f, entries, by_name)
  local root = root_of(entries)
  check_order(f, by_name, root)
  if by_name[root .. "constants.pkl"] then return collect(ordered.map(), read_entry(f, by_name, root, "data.pkl", "data/", script_global), "", {}) end
  return read_entry(f, by_name, root, "data.pkl", "data/")
end

-- The sequence of pickles ------------------------------------------------------------------------------------------------------------------

local MAGIC = "\128\2\138\10\108\252\156\70\249\32\106\168\80\25\46" -- 0x1950a86a20f9469cfc6c as a pickle

local function no_storage(_, m) m:refuse("a storage where none can be") end

-- A function for persistent ids: storages whose places are told only behind the pickle.
local function storages_behind(known)
  return function(id, m)
    local key, dtype, location, count = read_id(id, m)
    local s = known[key]
    if not s then
      s = {storage = promise.storage{bytes = 0, location = location}, item = item_size(dtype)}
      known[key] = s
    end
    local view = id[6]
    if view == nil then return typed(s.storage, dtype, count) end
    m:expect(view, "tuple")
    local offset, size = view[2], view[3]
    if type(offset) ~= "number" or type(size) ~= "number" or offset ~= 0 then m:refuse("a storage that is a part of another one, as none is since 2017") end
    return typed(s.storage, dtype, size)
  end
end

-- Gives each storage its place: a count of 8 bytes and the elements, in the order of the keys.
local function place_storages(f, known, keys, at)
  for i, key in ipairs(type(keys) == "table" and keys or {}) do
    local s = known[key]
    if not s then f:fail("storage %d has no tensor: its name is %s", i - 1, tostring(key)) end
    if at + 8 > f.size then f:fail("the file ends before storage %d", i - 1) end
    local count = file.unsigned(f:bytes(at, 8), 1, 8)
    if count * s.item > f.size - at - 8 then f:fail("storage %d claims %.0f elements, the file has %.0f bytes left", i - 1, count, f.size - at - 8) end
    s.storage.offset, s.storage.bytes = at + 8, count * s.item
    at = at + 8 + count * s.item
  end
  for key, s in each(known) do
    if not s.storage.offset then f:fail("the storage %q is missing", key) end
  end
end

--- The tree of promises in a file of PyTorch before 1.6.
function torch.read_sequence(f, map)
  if f.size < #MAGIC or f:bytes(0, #MAGIC) ~= MAGIC then f:fail("unknown format: a pickle that torch.save did not write") end
  local text = f:vector(0, f.size, map)
  local bytes, known = pointer(text).data, {}
  local function next_pickle(name, from, persistent) return read_pickle(f, name, bytes, from, f.size, persistent) end
  local version, after_version = next_pickle("the version", #MAGIC, no_storage)
  if version ~= 1001 then f:fail("a file of the unknown version %s", tostring(version)) end
  local system, after_system = next_pickle("the system's description", after_version, no_storage)
  if type(system) == "table" and system.little_endian == false then f:fail("only little-endian files are read") end
  local tree, after_tree = next_pickle("the pickle", after_system, storages_behind(known))
  local keys, after_keys = next_pickle("the list of storages", after_tree, no_storage)
  place_storages(f, known, keys, after_keys)
  return tree
end

-- Writing --------------------------------------------------------------------------------------------------------------------------------

--- Writes an archive that torch.load(path, weights_only=True) reads.
function torch.write(object, path)
  local bytes, n, storages = pickler.pickle(object)
  file.writing(path, function(w)
    local archive = zip.writer(w)
    zip.add(archive, "archive/data.pkl", bytes, n)
    zip.add(archive, "archive/byteorder", "little", 6)
    for _, s in ipairs(storages) do
      local here = s.bytes:cpu()
      zip.add(archive, "archive/data/" .. s.key, pointer(here).data, here:numel())
    end
    zip.add(archive, "archive/version", "3\n", 2)
    zip.finish(archive)
  end)
end

return torch
