--- Tensors made from nothing and from Lua values: lt.tensor, zeros, ones, full, arange, rand and their siblings.

local each = require("lunette.each")
local base = require("lunette.ffi")
local ops = require("lunette.ops")
local arguments = require("lunette.arguments")
local Size = require("lunette.size")
local random = require("lunette.random")

local C, ffi, fail, check, wrap, is_tensor = base.C, base.ffi, base.fail, base.check, base.wrap, base.is_tensor
local dtype_id, device_id = base.dtype_id, base.device_id
local type, tonumber, select, ipairs = type, tonumber, select, ipairs
local istype = ffi.istype
local int64_t = ffi.typeof("int64_t")

local create = {}

local function empty(shape, dtype, device)
  local n = #shape
  if n > 16 then fail("a tensor has at most 16 dimensions, " .. n .. " were asked for") end
  local d, v = dtype_id[dtype or "float32"], device_id(device)
  local block = base.take()
  for i = 1, n do block.shape[i - 1] = shape[i] end
  base.retry(C.ln_tensor_empty, block.shape, n, d, v, block.outputs)
  local p = block.outputs[0]
  base.give(block)
  return wrap(p)
end

local function finish(t, requires_grad)
  if requires_grad then check(C.ln_tensor_set_requires_grad(t._p, true)) end
  return t
end

-- Shapes: plain numbers, an array or a Size, then a table of options -----------------------------------------------------------------------

local OPTIONS = {dtype = "dtype", device = "device", requires_grad = "boolean", generator = "generator"}

local function check_options(name, options)
  if type(options) ~= "table" or getmetatable(options) then
    fail(("%s: options are given as a table of names such as {dtype = \"float64\"}, got %s"):format(name, arguments.describe(options)))
  end
  for key, value in each(options) do
    if not OPTIONS[key] then fail(("%s has no option '%s'%s"):format(name, tostring(key), arguments.hint(key, {"dtype", "device", "requires_grad", "generator"}))) end
    if key == "dtype" and not dtype_id[value] then fail(("%s: there is no dtype %s"):format(name, arguments.describe(value))) end
    if key == "generator" and not random.is_generator(value) then fail(("%s: generator must be a generator (lt.Generator()), got %s"):format(name, arguments.describe(value))) end
    if key == "requires_grad" and type(value) ~= "boolean" then fail(name .. ": requires_grad must be true or false") end
  end
  return options
end

local function is_options(x)
  if type(x) ~= "table" or getmetatable(x) then return false end
  return #x == 0 and next(x) ~= nil
end

local function sizes(name, values)
  if values.n == 1 and Size.is_size(values[1]) then return values[1]:totable() end
  local list = values.n == 1 and type(values[1]) == "table" and values[1] or values
  local shape = {}
  for i = 1, list.n or #list do
    local v = list[i]
    if type(v) ~= "number" or v % 1 ~= 0 then fail(("%s: size %d must be a whole number, not %s"):format(name, i - 1, arguments.describe(v))) end
    if v < 0 then fail(("%s: a size cannot be negative, got %d"):format(name, v)) end
    shape[i] = v
  end
  return shape
end

--- shape, options from `...`, of which the first `fixed` values are something else and come first.
local function split(name, fixed, ...)
  local values = {n = select("#", ...), ...}
  local options = {}
  if values.n > fixed and is_options(values[values.n]) then
    options = check_options(name, values[values.n])
    values.n = values.n - 1
  end
  local rest = {n = values.n - fixed}
  for i = 1, rest.n do rest[i] = values[fixed + i] end
  return sizes(name, rest), options, values
end

--- name(sizes..., {dtype =, device =, requires_grad =}): `fill(t)` gives the values.
local function maker(name, fill, default_dtype)
  create[name] = function(...)
    local shape, options = split(name, 0, ...)
    local t = empty(shape, options.dtype or default_dtype, options.device)
    return finish(random.with(options.generator, fill, t), options.requires_grad)
  end
  create[name .. "_like"] = function(x, options)
    if not is_tensor(x) then fail(name .. "_like: a tensor is expected, not " .. arguments.describe(x)) end
    options = check_options(name .. "_like", options or {})
    local t = empty(x.shape:totable(), options.dtype or x.dtype, options.device or x.device)
    return finish(random.with(options.generator, fill, t), options.requires_grad)
  end
end

maker("empty", function(t) return t end)
maker("zeros", function(t) return t:fill_(0) end)
maker("ones", function(t) return t:fill_(1) end)
maker("rand", function(t) return t:uniform_(0, 1) end)
maker("randn", function(t) return t:normal_(0, 1) end)

local NAMED = ", *, dtype:dtype?, device:device?, requires_grad:bool=false"

local parse_full = arguments.signature("full", "size:ints>=0, fill_value:scalar" .. NAMED)

--- lt.full({2, 3}, fill_value, {dtype =, device =}): float32 unless a dtype is named.
function create.full(...)
  local size, value, dtype, device, requires_grad = parse_full(...)
  return finish(ops.full(size, value, dtype, base.device_name(device_id(device))), requires_grad)
end

local parse_full_like = arguments.signature("full_like", "input:tensor, fill_value:scalar" .. NAMED)

function create.full_like(...)
  local x, value, dtype, device, requires_grad = parse_full_like(...)
  return finish(empty(x.shape:totable(), dtype or x.dtype, device or x.device):fill_(value), requires_grad)
end

local parse_randint = arguments.signature("randint", "low:int=0, high:int, size:ints>=0" .. NAMED .. ", generator:generator?")

-- With two values in front it is the lower bound that was left out.
local function randint_arguments(first, second, ...)
  if type(first) == "number" and type(second) ~= "number" then return parse_randint(0, first, second, ...) end
  return parse_randint(first, second, ...)
end

--- randint([low = 0,] high, size): whole numbers from [low, high), int64.
function create.randint(...)
  local low, high, size, dtype, device, requires_grad, generator = randint_arguments(...)
  local t = empty(sizes("randint", {n = 1, size}), dtype or "int64", device)
  return finish(random.with(generator, t.random_, t, low, high), requires_grad)
end

local parse_randperm = arguments.signature("randperm", "n:int>=0" .. NAMED .. ", generator:generator?")

--- A random order of 0 ... n - 1, int64.
function create.randperm(...)
  local n, dtype, device, requires_grad, generator = parse_randperm(...)
  local t = random.with(generator, ops.randperm, n, base.device_name(device_id(device)))
  return finish(dtype and t:to(dtype) or t, requires_grad)
end

--- arange([start = 0,] end [, step = 1]): start, start + step, ... below end; float32 unless a dtype is named.
function create.arange(...)
  local values = {n = select("#", ...), ...}
  local options = {}
  if is_options(values[values.n]) then
    options = check_options("arange", values[values.n])
    values.n = values.n - 1
  end
  local start, stop, step = values[1], values[2], values.n > 2 and values[3] or nil
  if values.n == 1 then start, stop = 0, values[1] end
  for i = 1, values.n do
    if type(values[i]) ~= "number" then fail(("arange: argument %d must be a number, not %s"):format(i, arguments.describe(values[i]))) end
  end
  if values.n < 1 or values.n > 3 then fail("arange takes start, end and step, got " .. values.n .. " arguments") end
  return finish(ops.arange(start, stop, step or 1, options.dtype, base.device_name(device_id(options.device))), options.requires_grad)
end

local parse_linspace = arguments.signature("linspace", "start:number, end:number, steps:int>=0" .. NAMED)

--- steps numbers from start to end, both included.
function create.linspace(...)
  local start, stop, steps, dtype, device, requires_grad = parse_linspace(...)
  local t = empty({steps}, "float64", "cpu")
  local values, last = ffi.new("double[?]", steps + 1), math.max(1, steps - 1)
  for i = 0, steps - 1 do
    values[i] = i < steps / 2 and start + (stop - start) * i / last or stop - (stop - start) * (steps - 1 - i) / last
  end
  if steps == 1 then values[0] = start end
  check(C.ln_tensor_write(t._p, values, nil))
  return finish(ops.to(t, dtype or "float32", base.device_name(device_id(device))), requires_grad)
end

local parse_eye = arguments.signature("eye", "n:int>=0, m:int>=0?" .. NAMED)

--- The identity matrix of n rows and m columns (default n).
function create.eye(...)
  local n, m, dtype, device, requires_grad = parse_eye(...)
  local t = empty({n, m or n}, dtype, device):fill_(0)
  ops.fill_(ops.diagonal(t), 1)
  return finish(t, requires_grad)
end

-- lt.tensor ------------------------------------------------------------------------------------------------------------------------------

local function parse_integer(text)
  local sign, digits = text:match("^%s*([+-]?)(%d+)%s*$")
  if not digits or #digits > 19 then return nil end
  local n = ffi.cast("int64_t", 0)
  for d in digits:gmatch("%d") do n = n * 10 + tonumber(d) end
  return sign == "-" and -n or n
end

local function measure(data)
  local shape, level = {}, data
  while type(level) == "table" or Size.is_size(level) do
    if is_options(level) then fail("tensor: the data must be numbers in arrays, not a table of names") end
    shape[#shape + 1] = #level
    if #shape > 16 then fail("tensor: the data are nested more than 16 deep") end
    if Size.is_size(level) then break end
    level = level[1]
  end
  return shape
end

local function place(path) return "[" .. table.concat(path, "][") .. "]" end

local function leaf(value, path, values, i)
  local kind = type(value)
  if kind == "number" then
    values.number[i] = value
    if values.exact then values.integer[i] = (value == value and math.abs(value) < 2 ^ 63) and value or 0 end
  elseif kind == "boolean" then
    values.number[i] = value and 1 or 0
    values.integer[i] = value and 1 or 0
  else
    local n = istype(int64_t, value) and value or kind == "string" and parse_integer(value)
    if not n then fail(("tensor: element %s is no number but %s"):format(place(path), arguments.describe(value))) end
    values.number[i] = tonumber(n)
    values.integer[i] = n
    values.used_exact = true
  end
end

local function flatten(data, shape, depth, path, values, at)
  if depth > #shape then
    if type(data) == "table" then fail(("tensor: element %s is an array where a number is expected"):format(place(path))) end
    leaf(data, path, values, at)
    return at + 1
  end
  local from = Size.is_size(data) and 0 or 1
  if type(data) ~= "table" and from == 1 then fail(("tensor: element %s is %s where an array of %d is expected"):format(place(path), arguments.describe(data), shape[depth])) end
  if #data ~= shape[depth] then fail(("tensor: row %s has %d elements, the first one %d"):format(place(path), #data, shape[depth])) end
  for i = 1, shape[depth] do
    path[depth] = i
    at = flatten(data[i - 1 + from], shape, depth + 1, path, values, at)
  end
  path[depth] = nil
  return at
end

--- lt.tensor(data [, {dtype =, device =, requires_grad =}]): from a number, a boolean, or (nested) arrays. float32 unless a dtype is named, bool
-- from booleans, int64 from int64 cdata (1LL) and decimal strings, which are exact.
function create.tensor(data, options)
  options = check_options("tensor", options or {})
  if is_tensor(data) then return finish(data:detach():clone():to(options.dtype or data.dtype, options.device), options.requires_grad) end
  if data == nil then fail("tensor: data are expected: a number, a boolean or an array") end
  local shape = measure(data)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  local exact = options.dtype ~= nil and options.dtype:match("int") ~= nil
  local values = {number = ffi.new("double[?]", n + 1), integer = ffi.new("int64_t[?]", n + 1), exact = exact}
  flatten(data, shape, 1, {}, values, 0)
  local first = data
  while type(first) == "table" do first = first[1] end
  local dtype = options.dtype or (values.used_exact and "int64") or (type(first) == "boolean" and "bool") or "float32"
  local t = empty(shape, dtype, options.device)
  local whole = values.used_exact or (exact and true)
  check(C.ln_tensor_write(t._p, values.number, whole and values.integer or nil))
  return finish(t, options.requires_grad)
end

for name, dtype in each {Float = "float32", Double = "float64", Half = "float16", BFloat16 = "bfloat16", Char = "int8", Short = "int16", Int = "int32",
                           Long = "int64", Byte = "uint8", Bool = "bool"} do
  create[name .. "Tensor"] = function(data) return create.tensor(data == nil and {} or data, {dtype = dtype}) end
end

return create
