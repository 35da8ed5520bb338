--- lt.save and lt.load: tensors and nested tables of tensors as .safetensors, single tensors as .npy; lt.read_file for whole (gzipped) files.
--
-- Names of nested tables are joined with "/" ("model/0.weight"). Keys that are numbers, those of Lua arrays, come back as numbers: the file's
-- metadata list them. A file is known by its name when it is saved and by its content when it is loaded.

local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local create = require("lunette.create")

local C, ffi, fail, check, wrap, is_tensor, pointer = base.C, base.ffi, base.fail, base.check, base.wrap, base.is_tensor, base.pointer
local type, tonumber, ipairs, pairs, concat, sort = type, tonumber, ipairs, pairs, table.concat, table.sort

local save = {}
local SINGLE = "tensor" -- the name of a tensor that is saved alone
local NUMBERED = "lunette.numbered" -- the metadata entry with the names whose last part is a number, a line each

--- The text of a whole file, unpacked when it is gzip.
function save.read_file(path)
  if type(path) ~= "string" then fail("read_file: a path is expected, not " .. arguments.describe(path)) end
  local data, size = ffi.new("char *[1]"), ffi.new("size_t[1]")
  check(C.ln_file_read(path, data, size))
  local text = ffi.string(data[0], size[0])
  C.ln_buffer_free(data[0])
  return text
end

-- safetensors ----------------------------------------------------------------------------------------------------------------------------

local function keys_of(object)
  local ordered = require("lunette.nn.ordered")
  if ordered.is_map(object) then return ordered.keys(object) end
  local keys = {}
  for key in pairs(object) do keys[#keys + 1] = key end
  sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

local function flatten(object, prefix, names, tensors, numbered)
  for _, key in ipairs(keys_of(object)) do
    if type(key) ~= "string" and type(key) ~= "number" then fail("save: the key " .. arguments.describe(key) .. " is neither a name nor a number") end
    local name, value = prefix .. tostring(key), object[key]
    if type(key) == "number" then numbered[#numbered + 1] = name end
    if is_tensor(value) then
      names[#names + 1], tensors[#tensors + 1] = name, value
    elseif type(value) == "table" then
      flatten(value, name .. "/", names, tensors, numbered)
    else
      fail(("save: %s is no tensor but %s; safetensors holds tensors only"):format(name, arguments.describe(value)))
    end
  end
end

local function save_safetensors(object, path)
  local names, tensors, numbered = {}, {}, {}
  if is_tensor(object) then
    names, tensors = {SINGLE}, {object}
  else
    flatten(object, "", names, tensors, numbered)
  end
  local n = #names
  local name_array, tensor_array = ffi.new("const char *[?]", n + 1), ffi.new("ln_tensor *[?]", n + 1)
  for i = 1, n do
    name_array[i - 1] = names[i]
    tensor_array[i - 1] = pointer(tensors[i])
  end
  local numbers = concat(numbered, "\n")
  local metadata = ffi.new("const char *[4]", "format", "pt", NUMBERED, numbers)
  check(C.ln_safetensors_save(path, name_array, tensor_array, n, metadata, #numbered > 0 and 2 or 1))
end

--- The names whose last part is a number, as a set.
local function numbered_of(file)
  local set = {}
  for i = 0, C.ln_safetensors_metadata_count(file) - 1 do
    if ffi.string(C.ln_safetensors_metadata(file, i, false)) == NUMBERED then
      for name in ffi.string(C.ln_safetensors_metadata(file, i, true)):gmatch("[^\n]+") do set[name] = true end
    end
  end
  return set
end

local function place(path, result, name, t, numbered)
  local at, prefix = result, ""
  local function key_of(part) return numbered[prefix .. part] and tonumber(part) or part end
  for part in name:gmatch("([^/]*)/") do
    local key = key_of(part)
    if at[key] == nil then at[key] = {} end
    at = at[key]
    if is_tensor(at) then fail(("%s: the name '%s' lies within that of another tensor"):format(path, name)) end
    prefix = prefix .. part .. "/"
  end
  local key = key_of(name:match("[^/]*$"))
  if at[key] ~= nil then fail(("%s: other names lie within '%s'"):format(path, name)) end
  at[key] = t
end

local function load_safetensors(path)
  local slot, out = ffi.new("ln_safetensors *[1]"), ffi.new("ln_tensor *[1]")
  check(C.ln_safetensors_open(path, slot))
  local file, result = slot[0], {}
  local ok, message = pcall(function()
    local numbered = numbered_of(file)
    for i = 0, C.ln_safetensors_count(file) - 1 do
      check(C.ln_safetensors_tensor(file, i, out))
      place(path, result, ffi.string(C.ln_safetensors_name(file, i)), wrap(out[0]), numbered)
    end
  end)
  C.ln_safetensors_close(file)
  if not ok then error(message, 0) end
  local first = next(result)
  if first == SINGLE and next(result, first) == nil then return result[SINGLE] end
  return result
end

-- npy ------------------------------------------------------------------------------------------------------------------------------------

local NPY = {float32 = "<f4", float64 = "<f8", float16 = "<f2", int8 = "|i1", int16 = "<i2", int32 = "<i4", int64 = "<i8", uint8 = "|u1", bool = "|b1"}
local FROM_NPY = {}
for dtype, descr in pairs(NPY) do FROM_NPY[descr] = dtype end

local function save_npy(t, path)
  if not is_tensor(t) then fail("save: an .npy file holds one tensor, not " .. arguments.describe(t)) end
  local descr = NPY[t.dtype] or fail("save: .npy has no dtype " .. t.dtype)
  local shape = {}
  for i, n in ipairs(t.shape:totable()) do shape[i] = ("%d,"):format(n) end
  local header = ("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }"):format(descr, concat(shape, " "))
  header = header .. (" "):rep(63 - (10 + #header) % 64) .. "\n"
  local dense = t:detach():cpu():contiguous()
  local file, message = io.open(path, "wb")
  if not file then fail("save: " .. message) end
  local data = ffi.string(pointer(dense).data, dense:numel() * dense:element_size())
  local written, why = file:write("\147NUMPY\1\0", string.char(#header % 256, math.floor(#header / 256)), header, data)
  local closed, why_not = file:close()
  if not written or not closed then fail(("save: %s: writing failed: %s"):format(path, why or why_not)) end
end

--- dtype, shape, whether the last dimension is the outer one, and the place of the data; an error unless all of it is as NumPy writes it.
local function npy_header(path, text)
  local major = text:byte(7)
  if #text < 12 or major < 1 or major > 3 then fail(path .. ": this .npy file is cut off or of an unknown version") end
  local length, start = text:byte(9) + 256 * text:byte(10), 11
  if major > 1 then length, start = length + 65536 * text:byte(11) + 16777216 * text:byte(12), 13 end
  if length > #text - start + 1 then fail(("%s: the .npy header claims %d bytes, the file has %d"):format(path, length, #text - start + 1)) end
  local header = text:sub(start, start + length - 1)
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
  return dtype, shape, order == "True", start + length
end

local function load_npy(path, text)
  local dtype, shape, turned, start = npy_header(path, text)
  local expected = C.ln_dtype_size(base.dtype_id[dtype])
  for _, n in ipairs(shape) do expected = expected * n end
  local bytes = #text - start + 1
  if expected ~= bytes then fail(("%s: %.0f bytes of data are expected, the file has %d"):format(path, expected, bytes)) end
  if turned then
    local reversed = {}
    for i = 1, #shape do reversed[i] = shape[#shape + 1 - i] end
    shape = reversed
  end
  local t = create.empty(shape, {dtype = dtype, device = "cpu"})
  ffi.copy(pointer(t).data, ffi.cast("const char *", text) + start - 1, bytes)
  if turned and #shape > 0 then
    local axes = {}
    for i = 1, #shape do axes[i] = #shape - i end
    t = t:permute(axes)
  end
  return t
end

-- By name and content --------------------------------------------------------------------------------------------------------------------

--- Saves a tensor or (nested) table of tensors. The name's end says the format: .safetensors or .npy. A module is refused: save its state_dict().
function save.save(object, path)
  if type(path) ~= "string" then fail("save(object, path): the path must be a string, not " .. arguments.describe(path)) end
  if arguments.is_module(object) then fail("save: a module cannot be saved; save its state_dict(): lt.save(net:state_dict(), path)") end
  if not is_tensor(object) and type(object) ~= "table" then fail("save: a tensor or a table of tensors is expected, not " .. arguments.describe(object)) end
  if path:match("%.npy$") then return save_npy(object, path) end
  if path:match("%.safetensors$") then return save_safetensors(object, path) end
  fail(("save: the name %q says no known format; .safetensors and .npy are"):format(path))
end

--- What a file holds: a tensor, or a table of names.
function save.load(path)
  if type(path) ~= "string" then fail("load(path): the path must be a string, not " .. arguments.describe(path)) end
  local file, message = io.open(path, "rb")
  if not file then fail("load: " .. message) end
  local head = file:read(6) or ""
  file:close()
  if head == "\147NUMPY" then return load_npy(path, save.read_file(path)) end
  return load_safetensors(path)
end

return save
