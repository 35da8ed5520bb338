--- .npz, NumPy's archives of arrays by name.

local each = require("lunette.each")
local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local file = require("lunette.io.file")
local npy = require("lunette.io.npy")
local promise = require("lunette.io.promise")
local zip = require("lunette.io.zip")

local ffi, fail, pointer = base.ffi, base.fail, base.pointer
local ipairs, type = ipairs, type

local npz = {}

--- Are these entries of an archive of arrays?
function npz.is_archive(entries)
  for _, e in ipairs(entries) do
    if e.name:sub(-4) ~= ".npy" then return false end
  end
  return #entries > 0
end

-- The promise of an array that is stored as it is.
local function stored(f, e, title)
  local at = zip.data_offset(f, e)
  return npy.read(title, function(offset, n) return f:bytes(at + offset, n) end, e.size, function(offset, n)
    return promise.storage{offset = at + offset, bytes = n}
  end)
end

-- That of one that has to be unpacked, as is done here.
local function packed(f, e, title)
  local vector = zip.vector(f, e)
  local bytes = ffi.cast("const char *", pointer(vector).data)
  return npy.read(title, function(offset, n) return ffi.string(bytes + offset, n) end, e.size, function(offset, n)
    return promise.storage{bytes = n, read = function() return vector:narrow(0, offset, n):clone() end}
  end)
end

--- The table of promises in an archive.
function npz.read(f, entries)
  local out = {}
  for _, e in ipairs(entries) do
    local title = f.path .. ", " .. e.name
    out[e.name:sub(1, -5)] = (e.packed == e.size and e.method == 0 and stored or packed)(f, e, title)
  end
  return out
end

local function names_of(object)
  if base.is_tensor(object) or type(object) ~= "table" then fail("save: an .npz file holds a table of tensors by name, not " .. arguments.describe(object)) end
  local names = {}
  for name, t in each(object) do
    if type(name) ~= "string" then fail(("save: an .npz file holds tensors by name, %s is none"):format(arguments.describe(name))) end
    if not base.is_tensor(t) then fail(("save: %s is no tensor but %s; .npz holds tensors only"):format(name, arguments.describe(t))) end
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- Writes a table of tensors by name.
function npz.write(object, path)
  local names, heads = names_of(object), {}
  for i, name in ipairs(names) do heads[i] = npy.header(object[name]) end
  file.writing(path, function(w)
    local archive = zip.writer(w)
    for i, name in ipairs(names) do
      local t = object[name]:detach():cpu():contiguous()
      local n = t:numel() * t:element_size()
      local bytes = ffi.new("uint8_t[?]", #heads[i] + n)
      ffi.copy(bytes, heads[i], #heads[i])
      ffi.copy(bytes + #heads[i], pointer(t).data, n)
      zip.add(archive, name .. ".npy", bytes, #heads[i] + n)
    end
    zip.finish(archive)
  end)
end

return npz
