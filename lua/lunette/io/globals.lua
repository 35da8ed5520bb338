--- The names of Python's that may stand in a file, and what each becomes. Any other name is an error that says it: nothing else is looked up, loaded or run.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local ordered = require("lunette.nn.ordered")
local pickle = require("lunette.io.pickle")
local promise = require("lunette.io.promise")
local Size = require("lunette.size")

local ipairs, setmetatable, getmetatable, type = ipairs, setmetatable, getmetatable, type

local globals = {}
local names, refused = {}, {} -- "module name" -> what stands for it; why it is refused

local function define(title, call) names[title] = pickle.callable(title:gsub(" ", "."), call) end

-- Storages and dtypes --------------------------------------------------------------------------------------------------------------------

local StorageType = {}

--- The dtype that a class of storages holds; nil for what is no such class.
function globals.storage_dtype(x) return getmetatable(x) == StorageType and x.dtype or nil end

local STORAGES = {Float = "float32", Double = "float64", Half = "float16", BFloat16 = "bfloat16", Char = "int8", Short = "int16", Int = "int32", Long = "int64",
                  Byte = "uint8", Bool = "bool"}
--- dtype -> the name of its class of storages.
globals.storage_names = {}
for title, dtype in each(STORAGES) do
  for _, module in ipairs{"torch", "torch.cuda"} do names[module .. " " .. title .. "Storage"] = setmetatable({dtype = dtype}, StorageType) end
  names["torch " .. dtype] = dtype
  globals.storage_names[dtype] = title .. "Storage"
end
names["torch.storage UntypedStorage"] = setmetatable({dtype = "uint8"}, StorageType)
names["torch UntypedStorage"] = names["torch.storage UntypedStorage"]

for _, title in ipairs{"complex32", "complex64", "complex128", "ComplexFloatStorage", "ComplexDoubleStorage"} do
  refused["torch " .. title] = "complex numbers, which Lunette does not have"
end
refused["builtins complex"] = "complex numbers, which Lunette does not have"
for _, title in ipairs{"uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"} do
  refused["torch " .. title] = "the dtype " .. title .. ", which Lunette does not have"
end
for _, title in ipairs{"QUInt8Storage", "QInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage"} do
  refused["torch " .. title] = "quantized tensors, which Lunette does not have; save them dequantized"
end
refused["torch._utils _rebuild_qtensor"] = refused["torch QInt8Storage"]
refused["torch._utils _rebuild_sparse_tensor"] = "sparse tensors, which Lunette does not have; save them as dense ones"
refused["torch._utils _rebuild_sparse_csr_tensor"] = refused["torch._utils _rebuild_sparse_tensor"]
refused["torch._utils _rebuild_nested_tensor"] = "nested tensors, which Lunette does not have"
refused["torch._utils _rebuild_meta_tensor_no_storage"] = "tensors without elements of their own (device meta)"

-- Tensors --------------------------------------------------------------------------------------------------------------------------------

local function sizes(m, list, what)
  m:expect(list, "tuple", "list")
  local out = {}
  for i = 1, m:length(list) do
    local n = list[i]
    if not arguments.is_int(n) or n < 0 then m:refuse("a %s of a tensor that is no list of whole numbers from 0", what) end
    out[i] = n
  end
  return out
end

local function rebuild(args, m, dtype, requires_grad)
  local storage, offset = args[1], args[2]
  if not promise.is_tensor(storage) then m:refuse("a tensor without a storage") end
  if not arguments.is_int(offset) or offset < 0 then m:refuse("an offset of a tensor that is no whole number from 0") end
  local shape, stride = sizes(m, args[3], "shape"), sizes(m, args[4], "stride")
  if #shape ~= #stride then m:refuse("a tensor of %d sizes and %d strides", #shape, #stride) end
  return promise.tensor{
    storage = storage.storage, dtype = dtype or storage.dtype, shape = shape, stride = stride, offset = offset, requires_grad = requires_grad == true,
  }
end

define("torch._utils _rebuild_tensor", function(args, _, m) return rebuild(args, m) end)
define("torch._utils _rebuild_tensor_v2", function(args, _, m) return rebuild(args, m, nil, args[5]) end)
define("torch._utils _rebuild_tensor_v3", function(args, _, m)
  if type(args[7]) ~= "string" then m:refuse("a tensor without a dtype") end
  return rebuild(args, m, args[7], args[5])
end)

local function parameter(args, _, m)
  if not promise.is_tensor(args[1]) then m:refuse("a parameter that is no tensor") end
  return promise.changed(args[1], {parameter = true, requires_grad = args[2] ~= false})
end
define("torch._utils _rebuild_parameter", parameter)
define("torch._utils _rebuild_parameter_with_state", parameter)
define("torch.nn.parameter Parameter", parameter)

define("torch Tensor", function(_, _, m) m:refuse("a tensor that is made by its class") end)
names["torch.nn.parameter Buffer"] = names["torch Tensor"]
-- (function, class, arguments, state): the class tells parameters; what Python hung onto the tensor has no place here
define("torch._tensor _rebuild_from_type_v2", function(args, n, m)
  if n < 3 or not pickle.is_callable(args[1]) then m:refuse("a tensor whose class cannot be told") end
  m:expect(args[3], "tuple")
  local t = args[1].call(args[3], m:length(args[3]), m)
  if args[2] == names["torch.nn.parameter Parameter"] and promise.is_tensor(t) and not t.parameter then
    return promise.changed(t, {parameter = true})
  end
  return t
end)

-- Plain things ---------------------------------------------------------------------------------------------------------------------------

define("torch Size", function(args, n, m)
  local list = n > 0 and sizes(m, args[1], "shape") or {}
  if #list > 16 then m:refuse("a size of %d dimensions", #list) end
  return Size.Size(list)
end)

define("torch device", function(args, n, m)
  if type(args[1]) ~= "string" then m:refuse("a device without a name") end
  return n > 1 and ("%s:%s"):format(args[1], tostring(args[2])) or args[1]
end)

define("torch.serialization _get_layout", function(args) return args[1] end)

-- Pairs of keys and values become the entries of a table.
local function fill(m, out, source)
  if source == nil then return out end
  local kind = m:expect(source, "list", "tuple", "dict", "map")
  if kind == "dict" or kind == "map" then
    for _, pair in ipairs(ordered.items(source)) do out[pair[1]] = pair[2] end
    return out
  end
  for i = 1, m:length(source) do
    m:expect(source[i], "tuple", "list")
    if source[i][1] == nil then m:refuse("None cannot be the key of a table") end
    m:check_key(source[i][1])
    out[source[i][1]] = source[i][2]
  end
  return out
end

define("collections OrderedDict", function(args, _, m) return fill(m, m:new("map", ordered.map()), args[1]) end)
define("collections Counter", function(args, _, m) return fill(m, m:new("dict", {}), args[1]) end)
define("collections defaultdict", function(args, _, m) return fill(m, m:new("dict", {}), args[2]) end)

define("builtins set", function(args, n, m)
  local set = m:new("set", {})
  if n == 0 then return set end
  m:expect(args[1], "list", "tuple")
  for i = 1, m:length(args[1]) do
    local key = args[1][i]
    if key == nil then m:refuse("None cannot be the key of a table") end
    m:check_key(key)
    set[key] = true
  end
  return set
end)
names["builtins frozenset"] = names["builtins set"]

-- Text of characters below 256 as that many bytes.
local function latin1(m, text)
  return (text:gsub("[\194-\244][\128-\191]+", function(character)
    local first, second = character:byte(1, 2)
    if #character ~= 2 or first > 195 then m:refuse("a byte string of characters beyond 255") end
    return string.char((first - 192) * 64 + second - 128)
  end))
end

define("_codecs encode", function(args, _, m)
  if type(args[1]) ~= "string" or args[2] ~= "latin1" then m:refuse("a byte string that cannot be read") end
  return latin1(m, args[1])
end)
for _, title in ipairs{"bytearray", "bytes"} do
  define("builtins " .. title, function(args, _, m)
    if args[1] == nil then return "" end
    if type(args[1]) ~= "string" then m:refuse("a byte string that cannot be read") end
    return args[2] == "latin-1" and latin1(m, args[1]) or args[1]
  end)
end

-- What a defaultdict makes missing entries with; it is never called.
for _, title in ipairs{"list", "dict", "int", "float", "str", "tuple", "bool"} do
  define("builtins " .. title, function(_, _, m) m:refuse("builtins.%s is called", title) end)
end

--- What stands for `module.name`; raises through m when nothing does.
function globals.find(module, name, m)
  if module == "__builtin__" then module = "builtins" end
  local key = module .. " " .. name
  local value = names[key]
  if value ~= nil then return value end
  if refused[key] then m:refuse("it holds %s", refused[key]) end
  m:refuse("the name %s.%s is not one of a file of tensors; only those are read, nothing is run", module:sub(1, 100), name:sub(1, 100))
end

return globals
