--- Tensors made from nothing and from Lua values: lt.tensor, zeros, ones, full, arange, rand and their siblings. Each is declared: by position, with a
-- table of options, or all by name, as PyTorch calls them.

local each = require("lunette.each")
local base = require("lunette.ffi")
local ops = require("lunette.ops")
local arguments = require("lunette.arguments")
local define = require("lunette.define")
local lazily = require("lunette.lazily")
local Size = require("lunette.size")
local wrapper = require("lunette.wrapper")

local C, ffi, T, fail, check, wrap, is_tensor = base.C, base.ffi, base.T, base.fail, base.check, base.wrap, base.is_tensor
local dtype_id, device_id = base.dtype_id, base.device_id
local type, tonumber, tostring, ipairs, next, getmetatable = type, tonumber, tostring, ipairs, next, getmetatable
local istype = ffi.istype
local int64_t = ffi.typeof("int64_t")

local create = {}
local declare = define.into(create, "lt")

-- What the functions have in common ---------------------------------------------------------------------------------------------------------

local OPTIONS = "dtype:dtype?, device:device?, requires_grad:bool=false"
local NAMED = ", *, " .. OPTIONS
local DRAWN = NAMED .. ", generator:generator?"

-- Writes a size, a number, an array or a Size (nil: no dimensions), to `out`; returns how many dimensions it has.
local function put_size(out, size)
  if size == nil then return 0 end
  if type(size) == "number" then
    out[0] = size
    return 1
  end
  local is_size = Size.is_size(size)
  local n = is_size and size._n or #size
  if n > 16 then fail("a tensor has at most 16 dimensions, " .. n .. " were asked for") end
  if is_size then
    ffi.copy(out, size._v, 8 * n)
  else
    for i = 1, n do out[i - 1] = size[i] end
  end
  return n
end

local function empty(size, dtype, device)
  local d, v = dtype_id[dtype or "float32"], device_id(device)
  local block = base.take()
  local n = put_size(block.shape, size)
  base.retry(C.ln_tensor_empty, block.shape, n, d, v, block.outputs)
  local p = block.outputs[0]
  base.give(block)
  return wrap(p)
end

local function finish(t, requires_grad)
  if requires_grad then check(C.ln_tensor_set_requires_grad(t._p, true)) end
  return t
end

local function name_of(device) return base.device_name(device_id(device)) end

-- name(size, ...), name_like(input, ...) and x:new_name(size, ...): `fill(t, generator)` gives the values.
local function shaped(name, words, fill, drawn)
  local options = drawn and DRAWN or NAMED
  declare(name, {
    doc = ("A tensor of %s; float32 unless a dtype is named."):format(words), takes = "size:ints>=0...?" .. options,
    call = function(size, dtype, device, requires_grad, generator) return finish(fill(empty(size, dtype, device), generator), requires_grad) end,
  })
  declare(name .. "_like", {
    doc = ("A tensor of %s, in shape, dtype and device that of input unless they are named."):format(words), takes = "input:tensor" .. options,
    call = function(input, dtype, device, requires_grad, generator)
      return finish(fill(empty(input.shape, dtype or input.dtype, device or input.device), generator), requires_grad)
    end,
  })
  if drawn then return end
  --- As the function of lt of this name, of the dtype and on the device of the tensor where no others are named.
  T["new_" .. name] = arguments.method("new_" .. name, "self:tensor, size:ints>=0...?" .. NAMED, function(t, size, dtype, device, requires_grad)
    return finish(fill(empty(size, dtype or t.dtype, device or t.device)), requires_grad)
  end)
end

shaped("empty", "undefined values", function(t) return t end)
shaped("zeros", "zeros", function(t) return ops.fill_(t, 0) end)
shaped("ones", "ones", function(t) return ops.fill_(t, 1) end)
shaped("rand", "uniform numbers from [0, 1)", function(t, generator) return ops.uniform_(t, 0, 1, generator) end, true)
shaped("randn", "numbers from the normal distribution", function(t, generator) return ops.normal_(t, 0, 1, generator) end, true)

-- Values of one's own ---------------------------------------------------------------------------------------------------------------------

declare("full", {
  doc = "A tensor of fill_value; float32 unless a dtype is named.", takes = "size:ints>=0, fill_value:scalar" .. NAMED,
  call = function(size, value, dtype, device, requires_grad) return finish(ops.full(size, value, dtype, name_of(device)), requires_grad) end,
})

declare("full_like", {
  doc = "A tensor of fill_value, in shape, dtype and device that of input unless they are named.", takes = "input:tensor, fill_value:scalar" .. NAMED,
  call = function(input, value, dtype, device, requires_grad)
    return finish(ops.fill_(empty(input.shape, dtype or input.dtype, device or input.device), value), requires_grad)
  end,
})

--- A tensor filled with a value, of the dtype and on the device of the tensor where no others are named.
T.new_full = arguments.method("new_full", "self:tensor, size:ints>=0, fill_value:scalar" .. NAMED, function(t, size, value, dtype, device, requires_grad)
  return finish(ops.full(size, value, dtype or t.dtype, device or t.device), requires_grad)
end)

-- Whole numbers ---------------------------------------------------------------------------------------------------------------------------

local draw = lazily.made(function() return wrapper.compile(ops.info.random, "randint", true) end) -- random_, which errors call randint

local function randint(low, high, size, dtype, device, requires_grad, generator)
  return finish(draw(empty(size, dtype or "int64", device), low, high, generator), requires_grad)
end

declare("randint", {
  doc = "Whole numbers from [low, high), low being 0 where it is left out; int64 unless a dtype is named.",
  forms = {
    {takes = "high:int, size:ints>=0" .. DRAWN, call = function(high, ...) return randint(0, high, ...) end},
    {takes = "low:int, high:int, size:ints>=0" .. DRAWN, call = randint},
  },
})

declare("randint_like", {
  doc = "As randint, in shape, dtype and device that of input unless they are named.",
  forms = {
    {takes = "input:tensor, high:int" .. DRAWN, call = function(input, high, dtype, device, requires_grad, generator)
      return randint(0, high, input.shape, dtype or input.dtype, device or input.device, requires_grad, generator)
    end},
    {takes = "input:tensor, low:int, high:int" .. DRAWN, call = function(input, low, high, dtype, device, requires_grad, generator)
      return randint(low, high, input.shape, dtype or input.dtype, device or input.device, requires_grad, generator)
    end},
  },
})

declare("randperm", {
  doc = "A random order of 0 ... n - 1; int64 unless a dtype is named.", takes = "n:int>=0" .. DRAWN,
  call = function(n, dtype, device, requires_grad, generator)
    local t = ops.randperm(n, name_of(device), generator)
    return finish(dtype and ops.to(t, dtype) or t, requires_grad)
  end,
})

-- Ranges ------------------------------------------------------------------------------------------------------------------------------------

local function arange(start, stop, step, dtype, device, requires_grad)
  return finish(ops.arange(start, stop, step, dtype, name_of(device)), requires_grad)
end

declare("arange", {
  doc = "start, start + step, ... below end, from 0 by 1 where these are left out; float32 unless a dtype is named.",
  forms = {
    {takes = "end:number" .. NAMED, call = function(stop, ...) return arange(0, stop, 1, ...) end},
    {takes = "start:number=0, end:number, step:number=1" .. NAMED, call = arange},
  },
})

-- `steps` numbers from start to stop, of each of which `value` makes an element.
local function spaced(start, stop, steps, value, dtype, device, requires_grad)
  local t = empty(steps, "float64", "cpu")
  local values, last = ffi.new("double[?]", steps + 1), math.max(1, steps - 1)
  for i = 0, steps - 1 do
    values[i] = value(i < steps / 2 and start + (stop - start) * i / last or stop - (stop - start) * (steps - 1 - i) / last)
  end
  if steps == 1 then values[0] = value(start) end
  check(C.ln_tensor_write(t._p, values, nil))
  return finish(ops.to(t, dtype or "float32", name_of(device)), requires_grad)
end

local function itself(x) return x end

declare("linspace", {
  doc = "steps numbers from start to end, both included; float32 unless a dtype is named.", takes = "start:number, end:number, steps:int>=0" .. NAMED,
  call = function(start, stop, steps, ...) return spaced(start, stop, steps, itself, ...) end,
})

declare("logspace", {
  doc = "Powers of base, whose exponents are steps numbers from start to end, both included; float32 unless a dtype is named.",
  takes = "start:number, end:number, steps:int>=0, base:number=10" .. NAMED,
  call = function(start, stop, steps, power_of, ...) return spaced(start, stop, steps, function(x) return power_of ^ x end, ...) end,
})

declare("eye", {
  doc = "The identity matrix of n rows and m columns, n where m is left out.", takes = "n:int>=0, m:int>=0?" .. NAMED,
  call = function(n, m, dtype, device, requires_grad)
    local t = ops.fill_(empty({n, m or n}, dtype, device), 0)
    ops.fill_(ops.diagonal(t), 1)
    return finish(t, requires_grad)
  end,
})

-- lt.tensor ------------------------------------------------------------------------------------------------------------------------------

local function parse_integer(text)
  local sign, digits = text:match("^%s*([+-]?)(%d+)%s*$")
  if not digits or #digits > 19 then return nil end
  local n = ffi.cast("int64_t", 0)
  for d in digits:gmatch("%d") do n = n * 10 + tonumber(d) end
  return sign == "-" and -n or n
end

-- A plain table of names is no data.
local function is_options(x) return type(x) == "table" and not getmetatable(x) and #x == 0 and next(x) ~= nil end

-- An array with a gap ends there for Lua.
local function check_gaps(list)
  local n = #list
  local key = next(list, n > 0 and n or nil)
  if key == "n" then key = next(list, key) end
  if key ~= nil then fail(("tensor: the data have nil after %d elements, and then the entry [%s]"):format(n, tostring(key))) end
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
  if from == 1 then check_gaps(data) end
  if #data ~= shape[depth] then fail(("tensor: row %s has %d elements, the first one %d"):format(place(path), #data, shape[depth])) end
  for i = 1, shape[depth] do
    path[depth] = i
    at = flatten(data[i - 1 + from], shape, depth + 1, path, values, at)
  end
  path[depth] = nil
  return at
end

local function from_data(data, dtype, device)
  local shape, n = measure(data), 1
  for _, size in ipairs(shape) do n = n * size end
  local exact = dtype ~= nil and dtype:match("int") ~= nil
  local values = {number = ffi.new("double[?]", n + 1), integer = ffi.new("int64_t[?]", n + 1), exact = exact}
  flatten(data, shape, 1, {}, values, 0)
  local first = data
  while type(first) == "table" do first = first[1] end
  local t = empty(shape, dtype or (values.used_exact and "int64") or (type(first) == "boolean" and "bool") or "float32", device)
  check(C.ln_tensor_write(t._p, values.number, (values.used_exact or exact) and values.integer or nil))
  return t
end

local function tensor(data, dtype, device, requires_grad)
  local t = is_tensor(data) and data:detach():clone():to(device or data.device, dtype or data.dtype) or from_data(data, dtype, device)
  return finish(t, requires_grad)
end

declare("tensor", {
  doc = "A tensor from a number, a boolean or (nested) arrays, or a copy of a tensor: float32 unless a dtype is named, bool from booleans, int64 from "
    .. "int64 cdata (1LL) and decimal strings, which are exact.",
  takes = "data:any" .. NAMED, call = tensor,
})

declare("as_tensor", {
  doc = "A tensor as it is, in another dtype or on another device where these are named; of anything else what lt.tensor makes.",
  takes = "data:any, dtype:dtype?, device:device?",
  call = function(data, dtype, device)
    if not is_tensor(data) then return tensor(data, dtype, device) end
    return data:to(device or data.device, dtype or data.dtype)
  end,
})

--- lt.tensor of the dtype and on the device of the tensor where no others are named.
T.new_tensor = arguments.method("new_tensor", "self:tensor, data:any" .. NAMED, function(t, data, dtype, device, requires_grad)
  return tensor(data, dtype or t.dtype, device or t.device, requires_grad)
end)

for name, dtype in each {Float = "float32", Double = "float64", Half = "float16", BFloat16 = "bfloat16", Char = "int8", Short = "int16", Int = "int32",
                           Long = "int64", Byte = "uint8", Bool = "bool"} do
  declare(name .. "Tensor", {
    doc = ("A tensor of dtype %s from a number or (nested) arrays; without data an empty one."):format(dtype), takes = "data:any?",
    call = function(data) return tensor(data == nil and {} or data, dtype) end,
  })
end

return create
