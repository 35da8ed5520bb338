--- Kinds of arguments: for each the words of its errors and one text that tests a value.
--
-- A test is the text of a Lua expression in which VAR stands for the value. The generated fast path holds this text, the slow path compiles the same
-- text to a function, so that the two cannot disagree. A kind may have a range, which is part of its text:
--
--     int>0  int>=1  int<8  number>0  number[0,1]  number(0,1)  ints>=0  sizes2>=1
--
-- `tools` holds what the texts refer to. Nothing here knows signatures, operators or modules.

local each = require("lunette.each")
local errors = require("lunette.errors")
local ffi = require("ffi")

local getmetatable, setmetatable, istype, floor, min = getmetatable, setmetatable, ffi.istype, math.floor, math.min
local type, next, rawequal, tonumber, tostring, concat = type, next, rawequal, tonumber, tostring, table.concat

local kinds = {}

local None = newproxy(true)
getmetatable(None).__tostring = function() return "lt.None" end
kinds.None = None

local EXACT = 2 ^ 53 -- beyond it not every whole number is a Lua number
local MOST = 32      -- entries of an array of numbers: pairs for 16 dimensions
kinds.MOST, kinds.EXACT = MOST, EXACT

-- Tests ----------------------------------------------------------------------------------------------------------------------------------

-- The modules that know tensors, sizes and generators stand above this one, so they are asked for when the first value has to be told.
local tensor_test, size_test, generator_test

local function is_tensor(x)
  if type(x) ~= "cdata" then return false end
  if not tensor_test then tensor_test = require("lunette.ffi").is_tensor end
  return tensor_test(x)
end

local function is_size(x)
  if type(x) ~= "cdata" then return false end
  if not size_test then size_test = require("lunette.size").is_size end
  return size_test(x)
end

local function is_module(x)
  if type(x) ~= "userdata" then return false end
  local meta = getmetatable(x)
  return meta ~= nil and meta.is_lunette_module == true
end

local function is_instance(x)
  local meta = type(x) == "userdata" and getmetatable(x)
  return meta and meta.is_lunette_instance == true
end

local function is_packed(x)
  local meta = type(x) == "userdata" and getmetatable(x)
  return meta and meta.is_lunette_instance and meta.class.is_packed == true
end

local function is_generator(x)
  if type(x) ~= "cdata" then return false end
  if not generator_test then generator_test = require("lunette.random").is_generator end
  return generator_test(x)
end

local int64_t = ffi.typeof("int64_t")
local function is_int64(x) return (istype(int64_t, x)) end

local function whole(x, low, high) return type(x) == "number" and x == floor(x) and x >= low and x <= high end

local function is_int(x) return whole(x, -EXACT, EXACT) end

--- Does a plain table hold exactly the keys 1 ... n? Straight code up to three, which is what traces meet.
local function is_array(v, n)
  if n > 3 then
    local count = 0
    for _ in each(v) do count = count + 1 end
    return count == n
  end
  local key = next(v)
  if n == 0 then return key == nil end
  if key ~= 1 then return false end
  key = next(v, 1)
  if n == 1 then return key == nil end
  if key ~= 2 then return false end
  key = next(v, 2)
  if n == 2 then return key == nil end
  return key == 3 and next(v, 3) == nil
end

local function all_whole(v, first, last, low, high)
  for i = first, last do
    if not whole(v[i], low, high) then return false end
  end
  return true
end

local function inside(v, i, low, high)
  local x = tonumber(v._v[i])
  return x >= low and x <= high
end

local function size_fits(v, low, high, count)
  local n = v._n
  if count and n ~= count then return false end
  if low == -EXACT and high == EXACT then return true end
  for i = 3, n - 1 do
    if not inside(v, i, low, high) then return false end
  end
  return (n < 1 or inside(v, 0, low, high)) and (n < 2 or inside(v, 1, low, high)) and (n < 3 or inside(v, 2, low, high))
end

-- An array or Size of whole numbers in a range: `count` of them when that is given.
local function is_ints(v, low, high, count)
  if is_size(v) then return size_fits(v, low, high, count) end
  if type(v) ~= "table" then return false end
  local n = #v
  if n > MOST or count and n ~= count then return false end
  local meta = getmetatable(v)
  if meta == nil and not is_array(v, n) or meta ~= nil and n == 0 then return false end -- lt:zeros() hands over lt
  if n > 3 then return all_whole(v, 1, n, low, high) end
  return (n < 1 or whole(v[1], low, high)) and (n < 2 or whole(v[2], low, high)) and (n < 3 or whole(v[3], low, high))
end

local function is_ints_or_none(v, low, high, count)
  if type(v) ~= "table" or getmetatable(v) ~= nil or #v > MOST or not is_array(v, #v) or count and #v ~= count then return false end
  for i = 1, #v do
    if not (rawequal(v[i], None) or whole(v[i], low, high)) then return false end
  end
  return true
end

local function is_tensors(v)
  if type(v) ~= "table" then return false end
  local n = #v
  if getmetatable(v) == nil and not is_array(v, n) then return false end
  for i = 1, n do
    if not is_tensor(v[i]) then return false end
  end
  return true
end

-- Are there `count` names in the table, which holds at least these?
local function holds(o, count)
  local key
  for _ = 1, count do key = next(o, key) end
  return next(o, key) == nil
end

-- An array of numbers in a range: `count` of them, unless that is nil.
local function is_numbers(v, count, low, high, low_open, high_open)
  if type(v) ~= "table" or #v > MOST or count and #v ~= count or not is_array(v, #v) then return false end
  for i = 1, #v do
    local x = v[i]
    if type(x) ~= "number" or not (x >= low and x <= high) or low_open and x == low or high_open and x == high then return false end
  end
  return true
end

local dtypes = {}
for name in ("float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 bool"):gmatch("%S+") do dtypes[name] = true end

--- Other names of dtypes: fields of lt, whose values are the dtypes.
kinds.dtype_aliases = {float = "float32", double = "float64", half = "float16", short = "int16", int = "int32", long = "int64"}

--- `; did you mean "float32"?` for what is nearly a dtype, else "".
function kinds.dtype_hint(value)
  if type(value) ~= "string" then return "" end
  local names = {}
  for name in each(dtypes) do names[#names + 1] = name end
  table.sort(names)
  local short = value:gsub("^torch%.", ""):gsub("^lt%.", "")
  local near = kinds.dtype_aliases[short] or errors.nearest(short, names)
  return near and ("; did you mean %q?"):format(near) or ""
end

-- The number of every device by its name or number; -1 is the cpu.
local DEVICES = 256
local devices = setmetatable({cpu = -1, cuda = 0}, {
  __index = function(known, name)
    local n = type(name) == "string" and name:match("^cuda:(%d+)$") or type(name) == "number" and name
    n = n and tonumber(n)
    if not n or not (n >= 0 and n < DEVICES and n == floor(n)) then return nil end
    known[name] = n
    return n
  end,
})
kinds.devices = devices

-- Values in their final form ------------------------------------------------------------------------------------------------------------

-- A Size of n entries (nil: as many as there are) from a number, an array or a Size; what is none of these stays.
local function to_size(v, n)
  if type(v) == "table" then return require("lunette.size").Size(v) end
  if type(v) ~= "number" then return v end
  local list = {}
  for i = 1, n or 1 do list[i] = v end
  return require("lunette.size").Size(list)
end

-- An array as a Size, anything else as it is.
local function array_to_size(v) return type(v) == "table" and to_size(v) or v end

--- What the texts of tests and conversions refer to.
kinds.tools = {
  floor = floor, type = type, getmetatable = getmetatable, rawequal = rawequal, next = next, None = None, is_tensor = is_tensor, is_size = is_size,
  is_module = is_module, is_generator = is_generator, is_packed = is_packed, is_int64 = is_int64, is_ints = is_ints,
  is_ints_or_none = is_ints_or_none, is_tensors = is_tensors, is_numbers = is_numbers, is_array = is_array, istype = istype, handle = false,
  holds = holds, dtypes = dtypes, devices = devices, to_size = to_size, array_to_size = array_to_size,
}
kinds.is_tensor, kinds.is_size, kinds.is_module, kinds.is_int, kinds.is_packed = is_tensor, is_size, is_module, is_int, is_packed

-- The table ------------------------------------------------------------------------------------------------------------------------------

local INT = "type(VAR) == 'number' and VAR >= LOW and VAR <= HIGH and VAR == floor(VAR)"
local INTS = "(" .. INT .. " or is_ints(VAR, LOW, HIGH, COUNT))"
local OBJECT_OR_ARRAY = "type(VAR) == 'table' and (getmetatable(VAR) ~= nil or is_array(VAR, #VAR))"

-- words: for errors, RANGE is the range in words. text: the test. fast: the test of the fast path where a table of options must not be taken for the
-- value. convert: gives the final form. range: the kind takes one. array: an array is a value of it. map: a table of names is never read as options.
local table_of_kinds = {
  int = {words = "a RANGE whole number", text = INT, range = true},
  number = {words = "a RANGE number", text = "type(VAR) == 'number'BOUNDS", range = true},
  bool = {words = "true or false", text = "type(VAR) == 'boolean'"},
  string = {words = "a string", text = "type(VAR) == 'string'"},
  ["function"] = {words = "a function", text = "type(VAR) == 'function'"},
  ints = {words = "a RANGE whole number or an array of them", text = INTS, range = true, array = true},
  sizes = {words = "a RANGE whole number or AMOUNT of them", text = INTS, range = true, array = true, convert = "array_to_size(VAR)"},
  size = {words = "an array of RANGE whole numbers", text = "is_ints(VAR, LOW, HIGH, COUNT)", range = true, array = true},
  shape = {words = "a RANGE whole number or AMOUNT of them", text = INTS, range = true, array = true, convert = "to_size(VAR, COUNT)"},
  ints_or_none = {words = "a RANGE whole number, lt.None or an array of them",
    text = "(" .. INTS .. " or is_ints_or_none(VAR, LOW, HIGH, COUNT))", range = true, array = true},
  numbers = {words = "an array of RANGE numbers", text = "is_numbers(VAR, COUNT, EDGES)", range = true, array = true},
  tensor = {words = "a tensor", text = "istype(handle, VAR)"},
  tensors = {words = "an array of tensors", text = "is_tensors(VAR)", array = true},
  module = {words = "a module", text = "is_module(VAR)"},
  packed = {words = "a PackedSequence", text = "is_packed(VAR)"},
  generator = {words = "a generator (lt.Generator())", text = "is_generator(VAR)"},
  table = {words = "a table", text = "type(VAR) == 'table'", fast = OBJECT_OR_ARRAY, array = true},
  map = {words = "a table of names", text = "type(VAR) == 'table'", array = true, map = true},
  dtype = {words = "a dtype such as \"float32\"", text = "dtypes[VAR] == true"},
  device = {words = "a device such as \"cpu\" or \"cuda:0\"", text = "devices[VAR] ~= nil"},
  scalar = {words = "a number", text = "(type(VAR) == 'number' or type(VAR) == 'boolean' or is_int64(VAR))"},
  none = {words = "lt.None", text = "rawequal(VAR, None)"},
  any = {words = "a value", text = "VAR ~= nil", fast = "(type(VAR) ~= 'table' and VAR ~= nil or " .. OBJECT_OR_ARRAY .. ")", array = true},
}
table_of_kinds.float = table_of_kinds.number
kinds.table = table_of_kinds

-- Values in words ------------------------------------------------------------------------------------------------------------------------

local SHOWN, DEEP, LONG = 8, 2, 60 -- entries of an array, levels of nesting and characters of a string that an error shows

--- A value as it is written in Lua, as far as that is short.
local function literal(value, level)
  local kind = type(value)
  if kind == "string" then return ("%q"):format(#value > LONG and value:sub(1, LONG) .. "..." or value) end
  if kind == "number" or kind == "boolean" or kind == "nil" or rawequal(value, None) then return tostring(value) end
  if kind ~= "table" or getmetatable(value) ~= nil then return "..." end
  if level > DEEP then return "{...}" end
  local out = {}
  for i = 1, min(#value, SHOWN) do out[i] = literal(value[i], level + 1) end
  if #value > SHOWN then out[SHOWN + 1] = "..." end
  return "{" .. concat(out, ", ") .. "}"
end
function kinds.literal(value) return literal(value, 0) end

--- What `value` is, for the text of an error: "2.5", "a tensor of shape {2, 3} and dtype float32", "the array {1, 2}".
function kinds.describe(value)
  local kind = type(value)
  if kind == "nil" or kind == "number" or kind == "boolean" then return tostring(value) end
  if kind == "string" then return "the string " .. literal(value, 0) end
  if rawequal(value, None) then return "lt.None" end
  if is_tensor(value) and value._p.flags >= require("lunette.ffi").C.LN_UNINITIALIZED then return "an uninitialised parameter or buffer" end
  if is_tensor(value) then return ("a tensor of shape %s and dtype %s"):format(tostring(value.shape), value.dtype) end
  if is_size(value) then return "the Size " .. tostring(value) end
  if is_module(value) then return "a module " .. value.class.__name end
  if is_instance(value) then return "a " .. value.class.__name end
  if kind == "cdata" then return tonumber(value) and tostring(value) or "a cdata" end
  if kind == "table" and getmetatable(value) == nil and #value > 0 then
    return ("the array %s%s"):format(literal(value, 0), #value > SHOWN and (" of %d entries"):format(#value) or "")
  end
  return "a " .. kind
end

return kinds
