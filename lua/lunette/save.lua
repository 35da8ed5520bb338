--- lt.save and lt.load: tensors and nested tables of tensors as .safetensors, single tensors as .npy; lt.read_file for whole (gzipped) files.
--
-- Names of nested tables are joined with "/" ("model/0.weight"). What the names do not tell stands in the file's metadata: which keys are numbers,
-- as those of Lua arrays are, and whether the file is a single tensor. What could not be given back by lt.load is refused by lt.save. A file is
-- known by its name when it is saved and by its content when it is loaded.

local each = require("lunette.each")
local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local create = require("lunette.create")

local C, ffi, fail, check, wrap, is_tensor, pointer = base.C, base.ffi, base.fail, base.check, base.wrap, base.is_tensor, base.pointer
local type, tonumber, ipairs, concat, sort = type, tonumber, ipairs, table.concat, table.sort
local describe = arguments.describe

local save = {}
local SINGLE = "tensor" -- the name of a tensor that is saved alone
local MARK = "lunette.single" -- the metadata entry that tells such a file from a table of one tensor
local NUMBERED = "lunette.numbered" -- the metadata entry with the names whose last part is a number, a line each
local MOST_LEVELS = 100 -- of tables within tables
local MOST_STRING = 0x7fff0000 -- bytes; a Lua string has fewer than 2 GiB

local function check_path(name, path)
  if type(path) ~= "string" then fail(("%s: the path must be a string, not %s"):format(name, describe(path))) end
  if path:find("\0", 1, true) then fail(("%s: the path %q holds a NUL character"):format(name, path)) end
end

--- The text of a whole file, unpacked when it is gzip.
function save.read_file(path)
  check_path("read_file", path)
  local data, size = ffi.new("char *[1]"), ffi.new("size_t[1]")
  check(C.ln_file_read(path, MOST_STRING, data, size))
  local buffer = ffi.gc(data[0], C.ln_buffer_free) -- also when there is no memory for the string
  local text = ffi.string(buffer, size[0])
  C.ln_buffer_free(ffi.gc(buffer, nil))
  return text
end

-- Names of safetensors -------------------------------------------------------------------------------------------------------------------

--- The shortest text that reads back as the number; nil when none does (nan cannot be a key, the infinities can).
local function number_text(number)
  for _, format in ipairs({"%.14g", "%.17g"}) do
    local text = format:format(number)
    if tonumber(text) == number then return text end
  end
end

--- The part of a name that stands for a key. `where` is what the name begins with.
local function key_text(key, where)
  local kind = type(key)
  local text = kind == "string" and key or kind == "number" and number_text(key)
  if not text then fail(("save: the key %s%s is neither a name nor a number"):format(where, describe(key))) end
  if text:find("/", 1, true) then fail(("save: the key %q holds a slash, by which names of nested tables are joined"):format(where .. text)) end
  if text:find("\0", 1, true) then fail(("save: the key %q holds a NUL character"):format(where .. text)) end
  return text
end

--- The keys of a table with their texts, as pairs {text, key}: in order for an ordered map, sorted otherwise.
local function keys_of(object, where)
  local ordered = require("lunette.nn.ordered")
  local list, seen = {}, {}
  local function add(key)
    local text = key_text(key, where)
    if seen[text] then fail(("save: the number and the string %q are both keys of one table, and would have one name"):format(where .. text)) end
    seen[text] = true
    list[#list + 1] = {text, key}
  end
  if ordered.is_map(object) then
    for _, key in ipairs(ordered.keys(object)) do add(key) end
  else
    for key in each(object) do add(key) end
    sort(list, function(a, b) return a[1] < b[1] end)
  end
  return list
end

local flatten

local function flatten_value(value, name, found, above)
  if is_tensor(value) then
    found.names[#found.names + 1], found.tensors[#found.tensors + 1] = name, value
  elseif type(value) ~= "table" then
    fail(("save: %s is no tensor but %s; safetensors holds tensors only"):format(name, describe(value)))
  elseif above[value] then
    fail(("save: the table %s contains itself"):format(name))
  else
    local before = #found.names
    flatten(value, name .. "/", found, above)
    if #found.names == before then fail(("save: the table %s is empty; safetensors holds tensors only"):format(name)) end
  end
end

--- Collects names, tensors and the names that end in a number. `above`: the tables that this one lies in, and in n how many.
function flatten(object, prefix, found, above)
  if above.n == MOST_LEVELS then fail(("save: tables are nested more than %d deep"):format(MOST_LEVELS)) end
  above[object], above.n = true, above.n + 1
  for _, pair in ipairs(keys_of(object, prefix)) do
    local name = prefix .. pair[1]
    if type(pair[2]) == "number" then found.numbered[#found.numbered + 1] = name end
    flatten_value(object[pair[2]], name, found, above)
  end
  above[object], above.n = nil, above.n - 1
end

-- A line each: line ends, and what they are written with, are escaped.
local function escape(name) return (name:gsub("[%%\n]", {["%"] = "%25", ["\n"] = "%0A"})) end
local function unescape(line) return (line:gsub("%%0A", "\n"):gsub("%%25", "%%")) end

-- Safetensors ----------------------------------------------------------------------------------------------------------------------------

local function save_safetensors(object, path)
  local found = {names = {}, tensors = {}, numbered = {}}
  local metadata = {"format", "pt"}
  if is_tensor(object) then
    found.names, found.tensors = {SINGLE}, {object}
    metadata[3], metadata[4] = MARK, "true"
  else
    flatten(object, "", found, {n = 0})
  end
  if found.numbered[1] then
    for i, name in ipairs(found.numbered) do found.numbered[i] = escape(name) end
    metadata[3], metadata[4] = NUMBERED, concat(found.numbered, "\n")
  end
  local n = #found.names
  local names, tensors = ffi.new("const char *[?]", n + 1), ffi.new("ln_tensor *[?]", n + 1)
  for i = 1, n do
    names[i - 1] = found.names[i]
    tensors[i - 1] = pointer(found.tensors[i])
  end
  check(C.ln_safetensors_save(path, names, tensors, n, ffi.new("const char *[4]", metadata), #metadata / 2))
end

local function metadata_of(file)
  local map = {}
  for i = 0, C.ln_safetensors_metadata_count(file) - 1 do
    map[ffi.string(C.ln_safetensors_metadata(file, i, false))] = ffi.string(C.ln_safetensors_metadata(file, i, true))
  end
  return map
end

--- The names whose last part is a number, as a set.
local function numbered_of(metadata)
  local set = {}
  for line in (metadata[NUMBERED] or ""):gmatch("[^\n]+") do set[unescape(line)] = true end
  return set
end

--- The parts of a name between slashes as keys. A pattern would look for a slash from each character on.
local function keys_in(path, name, numbered)
  local keys, from = {}, 1
  repeat
    local slash = name:find("/", from, true)
    local part = name:sub(from, (slash or 0) - 1)
    local number = #part < 32 and tonumber(part)
    keys[#keys + 1] = number and numbered[name:sub(1, (slash or 0) - 1)] and number or part
    if #keys > MOST_LEVELS then fail(("%s: a name nests tables more than %d deep"):format(path, MOST_LEVELS)) end
    from = slash and slash + 1
  until not slash
  return keys
end

local function insert(path, result, name, t, numbered)
  local at, keys = result, keys_in(path, name, numbered)
  for i = 1, #keys - 1 do
    local key = keys[i]
    if at[key] == nil then at[key] = {} end
    at = at[key]
    if is_tensor(at) then fail(("%s: the name '%s' lies within that of another tensor"):format(path, name)) end
  end
  if at[keys[#keys]] ~= nil then fail(("%s: other names lie within '%s'"):format(path, name)) end
  at[keys[#keys]] = t
end

local function load_safetensors(path)
  local slot, out = ffi.new("ln_safetensors *[1]"), ffi.new("ln_tensor *[1]")
  check(C.ln_safetensors_open(path, slot))
  local file, result = ffi.gc(slot[0], C.ln_safetensors_close), {} -- the finalizer closes it after an error
  local metadata = metadata_of(file)
  local numbered = numbered_of(metadata)
  for i = 0, C.ln_safetensors_count(file) - 1 do
    check(C.ln_safetensors_tensor(file, i, out))
    insert(path, result, ffi.string(C.ln_safetensors_name(file, i)), wrap(out[0]), numbered)
  end
  C.ln_safetensors_close(ffi.gc(file, nil))
  if metadata[MARK] and is_tensor(result[SINGLE]) then return result[SINGLE] end
  return result
end

-- npy ------------------------------------------------------------------------------------------------------------------------------------

local NPY = {float32 = "<f4", float64 = "<f8", float16 = "<f2", int8 = "|i1", int16 = "<i2", int32 = "<i4", int64 = "<i8", uint8 = "|u1", bool = "|b1"}
local FROM_NPY = {}
for dtype, descr in each(NPY) do FROM_NPY[descr] = dtype end

local MOST_HEADER = 10000 -- bytes, as NumPy limits it; those of plain arrays have about 100

local function save_npy(t, path)
  if not is_tensor(t) then fail("save: an .npy file holds one tensor, not " .. describe(t)) end
  local descr = NPY[t.dtype] or fail("save: .npy has no dtype " .. t.dtype)
  local shape = {}
  for i, n in ipairs(t.shape:totable()) do shape[i] = ("%d,"):format(n) end
  local header = ("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }"):format(descr, concat(shape, " "))
  header = header .. (" "):rep(63 - (10 + #header) % 64) .. "\n"
  local head = "\147NUMPY\1\0" .. string.char(#header % 256, math.floor(#header / 256)) .. header
  check(C.ln_file_save(path, head, #head, pointer(t)))
end

local function bytes_of(file, offset, n)
  local buffer = ffi.new("char[?]", n)
  check(C.ln_file_bytes(file, offset, n, buffer))
  return ffi.string(buffer, n)
end

--- The text of the header and the position of the data.
local function npy_text(path, file, size)
  if size < 12 then fail(path .. ": this .npy file is cut off") end
  local start = bytes_of(file, 0, 12)
  local major = start:byte(7)
  if major < 1 or major > 3 then fail(path .. ": this .npy file is of an unknown version") end
  local length, from = start:byte(9) + 256 * start:byte(10), 10
  if major > 1 then length, from = length + 65536 * start:byte(11) + 16777216 * start:byte(12), 12 end
  if length > size - from then fail(("%s: the .npy header claims %d bytes, the file has %d"):format(path, length, size - from)) end
  if length > MOST_HEADER then fail(("%s: the .npy header has %d bytes, more than the %d of any array"):format(path, length, MOST_HEADER)) end
  return bytes_of(file, from, length), from + length
end

--- dtype, shape, and whether the last dimension is the outer one; an error unless all of it is as NumPy writes it.
local function npy_header(path, header)
  local descr, order, dims = header:match("'descr':%s*'([^']*)'"), header:match("'fortran_order':%s*(%a+)"), header:match("'shape':%s*%(([^)]*)%)")
  if not descr or (order ~= "True" and order ~= "False") or not dims then fail(path .. ": this .npy header cannot be read") end
  local dtype = FROM_NPY[descr] or FROM_NPY[(descr:gsub("^=", "<"))]
  if not dtype then fail(("%s: the dtype %s is not supported"):format(path, descr)) end
  local shape = {}
  for part in dims:gmatch("[^,]+") do
    local n = tonumber(part:match("^%s*(%d+)%s*$"))
    if not n and part:find("%S") or n and n >= 2 ^ 53 then fail(("%s: the .npy shape (%s) is no list of sizes"):format(path, dims)) end
    shape[#shape + 1] = n
  end
  return dtype, shape, order == "True"
end

local function reversed(list)
  local out = {}
  for i = 1, #list do out[i] = list[#list + 1 - i] end
  return out
end

local function read_npy(path, file)
  local size = tonumber(C.ln_file_size(file))
  local text, start = npy_text(path, file, size)
  local dtype, shape, turned = npy_header(path, text)
  local expected = C.ln_dtype_size(base.dtype_id[dtype])
  for _, n in ipairs(shape) do expected = expected * n end
  if expected ~= size - start then fail(("%s: %.0f bytes of data are expected, the file has %d"):format(path, expected, size - start)) end
  local t = create.empty(turned and reversed(shape) or shape, {dtype = dtype, device = "cpu"})
  check(C.ln_file_bytes(file, start, size - start, pointer(t).data))
  if not turned or #shape == 0 then return t end
  local dims = {}
  for i = 1, #shape do dims[i] = #shape - i end
  return t:permute(dims)
end

-- By name and content --------------------------------------------------------------------------------------------------------------------

--- Saves a tensor or (nested) table of tensors. The name's end says the format: .safetensors or .npy. A module is refused: save its state_dict().
-- The file is the old one or the new one, whole, at any moment.
function save.save(object, path)
  check_path("save", path)
  if arguments.is_module(object) then fail("save: a module cannot be saved; save its state_dict(): lt.save(net:state_dict(), path)") end
  if not is_tensor(object) and type(object) ~= "table" then fail("save: a tensor or a table of tensors is expected, not " .. describe(object)) end
  if path:match("%.npy$") then return save_npy(object, path) end
  if path:match("%.safetensors$") then return save_safetensors(object, path) end
  fail(("save: the name %q says no known format; .safetensors and .npy are"):format(path))
end

-- How files begin that are neither, and what they are.
local OTHERS = {{"PK\3\4", "a zip archive, as .npz and .pt files are"}, {"\31\139", "a gzip file; unpack it first"}, {"\128", "a pickle"}}

--- What a file holds: a tensor, or a table of names.
function save.load(path)
  check_path("load", path)
  local slot = ffi.new("ln_file *[1]")
  check(C.ln_file_open(path, slot))
  local file = ffi.gc(slot[0], C.ln_file_close)
  local head = bytes_of(file, 0, math.min(6, tonumber(C.ln_file_size(file))))
  local t = head == "\147NUMPY" and read_npy(path, file)
  C.ln_file_close(ffi.gc(file, nil))
  if t then return t end
  for _, other in ipairs(OTHERS) do
    if head:sub(1, #other[1]) == other[1] and not path:match("%.safetensors$") then
      fail(("%s: unknown format: %s; lt.load reads .safetensors and .npy"):format(path, other[2]))
    end
  end
  return load_safetensors(path)
end

return save
