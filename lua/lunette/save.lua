--- .safetensors: names of nested tables are joined with "/" ("model/0.weight"). What the names do not tell stands in the file's metadata: which keys are
-- numbers, as those of Lua arrays are, and whether the file is a single tensor. What could not be given back is refused when it is saved.

local each = require("lunette.each")
local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local ordered = require("lunette.nn.ordered")
local promise = require("lunette.io.promise")

local C, ffi, fail, check, is_tensor, pointer = base.C, base.ffi, base.fail, base.check, base.is_tensor, base.pointer
local type, tonumber, ipairs, concat, sort = type, tonumber, ipairs, table.concat, table.sort
local describe = arguments.describe

local safetensors = {}
local SINGLE = "tensor" -- the name of a tensor that is saved alone
local MARK = "lunette.single" -- the metadata entry that tells such a file from a table of one tensor
local NUMBERED = "lunette.numbered" -- the metadata entry with the names whose last part is a number, a line each
local MOST_LEVELS = 100 -- of tables within tables

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

local UNINITIALIZED = tonumber(C.LN_UNINITIALIZED) -- the highest flag of a tensor
local flatten

local function flatten_value(value, name, found, above)
  if is_tensor(value) then
    if value._p.flags >= UNINITIALIZED then fail(("save: %s is uninitialised; call the lazy module once first"):format(name)) end
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

--- Writes a tensor or nested tables of tensors.
function safetensors.write(object, path)
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
    if promise.is_tensor(at) then fail(("%s: the name '%s' lies within that of another tensor"):format(path, name)) end
  end
  if at[keys[#keys]] ~= nil then fail(("%s: other names lie within '%s'"):format(path, name)) end
  at[keys[#keys]] = t
end

--- The tree of promises in a file.
function safetensors.read(f)
  local slot = ffi.new("ln_safetensors *[1]")
  check(C.ln_safetensors_open(f.handle, slot))
  local header, result = ffi.gc(slot[0], C.ln_safetensors_close), {}
  local metadata, data = metadata_of(header), tonumber(C.ln_safetensors_data(header))
  local numbered = numbered_of(metadata)
  for i = 0, C.ln_safetensors_count(header) - 1 do
    local e = C.ln_safetensors_entry(header, i)
    local shape = {}
    for d = 0, e.ndim - 1 do shape[d + 1] = tonumber(e.shape[d]) end
    insert(f.path, result, ffi.string(e.name), promise.tensor{
      storage = promise.storage{offset = data + tonumber(e.begin), bytes = tonumber(e["end"] - e.begin)},
      dtype = base.dtype_name[e.dtype], shape = shape,
    }, numbered)
  end
  C.ln_safetensors_close(ffi.gc(header, nil))
  if metadata[MARK] and promise.is_tensor(result[SINGLE]) then return result[SINGLE] end
  return result
end

return safetensors
