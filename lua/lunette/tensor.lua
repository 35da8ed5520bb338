--- Tensors as Lua sees them: fields, conversions to Lua values, overloads, casts. Operators proper come from the table (ops.lua), printing and
-- indexing have files of their own.

local each = require("lunette.each")
local base = require("lunette.ffi")
local ops = require("lunette.ops")
local arguments = require("lunette.arguments")
local catalog = require("lunette.catalog")
local Size = require("lunette.size")
require("lunette.create")

local C, ffi, T, fields, fail, check, pointer, is_tensor = base.C, base.ffi, base.T, base.fields, base.fail, base.check, base.pointer, base.is_tensor
local tonumber, type, unpack, select = tonumber, type, unpack, select
local method = arguments.method
local take, give = base.take, base.give
local FLOATS, BOOL = 3, tonumber(C.LN_BOOL) -- dtypes up to bfloat16 are floating

-- Fields ---------------------------------------------------------------------------------------------------------------------------------

-- The highest of the flags.
local UNINITIALIZED = tonumber(C.LN_UNINITIALIZED)

local function no_shape()
  fail("shape: an uninitialised parameter or buffer has no shape; call the lazy module once, which gives it one")
end

function fields.shape(t)
  local p = pointer(t)
  if p.flags >= UNINITIALIZED then no_shape() end
  return Size.of(p.ndim, p.shape)
end

function fields.dtype(t) return base.dtype_name[pointer(t).dtype] end
function fields.device(t) return base.device_name(pointer(t).device) end
function fields.is_cuda(t) return pointer(t).device >= 0 end
function fields.id(t) return tonumber(pointer(t).id) end
function fields.ndim(t) return pointer(t).ndim end
function fields.is_parameter(t) return ffi.cast("int", pointer(t).flags) % 8 >= 4 end
fields["T"] = function(t) return T.t(t) end

base.hooks.length = function(t)
  local p = pointer(t)
  if p.ndim == 0 then fail("a 0-dim tensor has no length") end
  return tonumber(p.shape[0])
end

-- Geometry -------------------------------------------------------------------------------------------------------------------------------

local function wrap_dim(name, dim, n)
  if type(dim) ~= "number" or dim % 1 ~= 0 then fail(("%s: a dim must be a whole number, not %s"):format(name, arguments.describe(dim))) end
  if dim < -n or dim >= n then fail(("%s: dim %d is out of range for a tensor of %d dimensions (dims start at 0)"):format(name, dim, n)) end
  return dim < 0 and dim + n or dim
end

--- The shape, or the size of one dimension.
function T.size(t, dim)
  local p = pointer(t)
  if p.flags >= UNINITIALIZED then no_shape() end
  if dim == nil then return Size.of(p.ndim, p.shape) end
  return tonumber(p.shape[wrap_dim("size", dim, p.ndim)])
end

--- How many elements apart the neighbours of each dimension, or of one, lie in memory.
function T.stride(t, dim)
  local p = pointer(t)
  if dim == nil then return Size.of(p.ndim, p.stride) end
  return tonumber(p.stride[wrap_dim("stride", dim, p.ndim)])
end

--- How many dimensions the tensor has.
function T.dim(t) return pointer(t).ndim end
--- How many elements the tensor has.
function T.numel(t) return tonumber(pointer(t).numel) end
T.nelement = T.numel
--- How many bytes an element takes.
function T.element_size(t) return C.ln_dtype_size(pointer(t).dtype) end
--- Do the elements lie in memory one after the other, the last dimension fastest?
function T.is_contiguous(t) return C.ln_tensor_is_contiguous(pointer(t)) end
--- Is the dtype a floating one?
function T.is_floating_point(t) return pointer(t).dtype <= FLOATS end
--- Always true.
function T.is_tensor() return true end
--- The address of the first element.
function T.data_ptr(t) return ffi.cast("void *", pointer(t).data) end
--- How many elements lie before the first one in the memory that the tensor looks into.
function T.storage_offset(t) return tonumber(C.ln_tensor_storage_offset(pointer(t))) end

--- The same elements in the shape of another tensor; the memory must allow it without a copy.
T.view_as = method("view_as", "self:tensor, other:tensor", function(t, other) return ops.view(t, other.shape) end)
--- The same elements in the shape of another tensor, copied if need be.
T.reshape_as = method("reshape_as", "self:tensor, other:tensor", function(t, other) return ops.reshape(t, other.shape) end)
--- Expanded to the shape of another tensor.
T.expand_as = method("expand_as", "self:tensor, other:tensor", function(t, other) return ops.expand(t, other.shape) end)

--- A matrix with rows and columns exchanged; vectors and numbers stay.
function T.t(t)
  local n = pointer(t).ndim
  if n > 2 then fail("t: a tensor of at most 2 dimensions is expected, got " .. n) end
  return n == 2 and ops.transpose(t, 0, 1) or t
end

--- The tensor itself if its elements lie one after the other, else a copy whose do.
function T.contiguous(t)
  if C.ln_tensor_is_contiguous(pointer(t)) then return t end
  return ops.contiguous(t)
end

local LARGEST = 2 ^ 27 -- entries of a Lua array

local function check_pieces(name, t, n)
  if n > LARGEST then fail(("%s: %.0f pieces of a tensor of shape %s are more than an array holds"):format(name, n, tostring(t.shape))) end
end

local function split_evenly(t, size, dim)
  local total, pieces, at = T.size(t, dim), {}, 0
  if size < 1 and total > 0 then fail(("split: the size must be at least 1, got %d"):format(size)) end
  check_pieces("split", t, total / math.max(size, 1))
  repeat
    pieces[#pieces + 1] = ops.narrow(t, dim, at, math.min(size, total - at))
    at = at + size
  until at >= total
  return pieces
end

local function split_by_sizes(t, list, dim)
  local total, pieces, at = T.size(t, dim), {}, 0
  local from = Size.is_size(list) and 0 or 1
  for i = 1, #list do
    local n = list[i - 1 + from]
    if at + n > total then fail(("split: the sizes exceed dimension %d with size %d at size number %d"):format(dim, total, i - 1)) end
    pieces[i] = ops.narrow(t, dim, at, n)
    at = at + n
  end
  if at ~= total then fail(("split: the sizes add up to %d, dimension %d has %d"):format(at, dim, total)) end
  return pieces
end

--- Pieces of split_size along dim, the last may be smaller; or pieces of the sizes in an array.
T.split = method("split", "input:tensor, split_size:ints>=0, dim:int=0", function(t, size, dim)
  dim = wrap_dim("split", dim, pointer(t).ndim)
  return (type(size) == "number" and split_evenly or split_by_sizes)(t, size, dim)
end)

--- At most `chunks` pieces of equal size along dim, the last may be smaller.
T.chunk = method("chunk", "input:tensor, chunks:int>=1, dim:int=0", function(t, n, dim)
  dim = wrap_dim("chunk", dim, pointer(t).ndim)
  return split_evenly(t, math.max(1, math.ceil(T.size(t, dim) / n)), dim)
end)

--- An array of the slices along dim.
T.unbind = method("unbind", "input:tensor, dim:int=0", function(t, dim)
  dim = wrap_dim("unbind", dim, pointer(t).ndim)
  local slices, n = {}, T.size(t, dim)
  check_pieces("unbind", t, n)
  for i = 0, n - 1 do slices[i + 1] = ops.select(t, dim, i) end
  return slices
end)

-- Repetitions as an array of as many as the result has dimensions.
local function repetitions(name, t, given)
  local list = type(given) == "number" and {given} or Size.is_size(given) and given:totable() or {unpack(given)}
  if #list > 16 then fail(("%s: a tensor has at most 16 dimensions, %d repetitions were given"):format(name, #list)) end
  for _ = #list + 1, pointer(t).ndim do table.insert(list, 1, 1) end
  return list
end

-- `t` laid side by side `rep` times along one dimension.
local function repeat_along(t, dim, rep)
  local shape, inner, outer = t.shape:totable(), 1, 1
  for d = 1, #shape do
    if d <= dim then outer = outer * shape[d] else inner = inner * shape[d] end
  end
  shape[dim + 1] = shape[dim + 1] * rep
  return ops.reshape(ops.expand(ops.reshape(t, {outer, 1, inner}), {outer, rep, inner}), shape)
end

-- From the last dimension to the first, so that each copy but the last is small.
local function repeated(t, reps)
  local n, shape = #reps, t.shape:totable()
  for _ = #shape + 1, n do table.insert(shape, 1, 1) end
  local out = ops.reshape(t, shape)
  for dim = n - 1, 0, -1 do
    if reps[dim + 1] ~= 1 then out = repeat_along(out, dim, reps[dim + 1]) end
  end
  return out
end

--- The tensor laid side by side, repeats[d] times along dimension d; there may be more repeats than dimensions.
T["repeat"] = method("repeat", "self:tensor, repeats:ints>=0...", function(t, repeats)
  local n, have = type(repeats) == "number" and 1 or #repeats, pointer(t).ndim
  if n < have then fail(("repeat: %d repetitions for %d dimensions"):format(n, have)) end
  return repeated(t, repetitions("repeat", t, repeats))
end)

--- As repeat; fewer dims than dimensions count for the last ones.
T.tile = method("tile", "input:tensor, dims:ints>=0...", function(t, dims) return repeated(t, repetitions("tile", t, dims)) end)

--- A view of other sizes and strides from an offset into the memory of the tensor.
T.as_strided = method("as_strided", "input:tensor, size:ints, stride:ints, storage_offset:int?", function(t, size, stride, storage_offset)
  return ops.as_strided(t, size, stride, storage_offset and storage_offset - T.storage_offset(t))
end)

-- To Lua ---------------------------------------------------------------------------------------------------------------------------------

local EXACT = 9007199254740992

local function whole(v)
  local n = tonumber(v)
  if n < EXACT and n > -EXACT then return n end
  return ffi.cast("int64_t", v) + 0LL
end

--- The one element: a number, a boolean for bool, an int64_t where a Lua number would not be exact.
function T.item(t)
  local p, block = pointer(t), take()
  local status = C.ln_tensor_item(p, block.number, block.integer)
  local number, integer = block.number[0], block.integer[0]
  give(block)
  check(status)
  if p.dtype <= FLOATS then return number end
  if p.dtype == BOOL then return integer ~= 0 end
  return whole(integer)
end

-- How many arrays and elements tolist makes of a shape.
local function entries_of(p)
  local all, rows = 0, 1
  for d = 0, p.ndim - 1 do
    rows = rows * tonumber(p.shape[d])
    all = all + rows
  end
  return all
end

--- All elements as (nested) Lua arrays; of a 0-dim tensor the element.
function T.tolist(t)
  local p = pointer(t)
  if p.ndim == 0 then return T.item(t) end
  local n = tonumber(p.numel)
  if entries_of(p) > LARGEST then fail(("tolist: a tensor of shape %s is more than Lua arrays hold"):format(tostring(t.shape))) end
  local floating = p.dtype <= FLOATS
  local values = floating and ffi.new("double[?]", n + 1) or ffi.new("int64_t[?]", n + 1)
  check(C.ln_tensor_read(p, floating and values or nil, not floating and values or nil))
  local at, is_bool = 0, p.dtype == BOOL
  local function build(dim)
    local list = {}
    for i = 1, tonumber(p.shape[dim]) do
      if dim + 1 < p.ndim then
        list[i] = build(dim + 1)
      else
        local v = values[at]
        if floating then list[i] = v elseif is_bool then list[i] = v ~= 0 else list[i] = whole(v) end
        at = at + 1
      end
    end
    return list
  end
  return build(0)
end

-- Dtypes and devices -----------------------------------------------------------------------------------------------------------------------

local parse_to = arguments.signature("to", "device:device?, dtype:dtype?, non_blocking:bool=false, copy:bool=false")

local function to(t, device, dtype, copy)
  local p = pointer(t)
  local d = device and base.device_id(device) or p.device
  local id = dtype and base.dtype_id[dtype] or p.dtype
  if d == p.device and id == p.dtype and not copy then return t end
  return ops.to(t, dtype, base.device_name(d), copy)
end

--- to(dtype), to(device[, dtype]), to(other), to{dtype =, device =, copy =}: itself when nothing changes.
function T.to(t, first, second, ...)
  if is_tensor(first) then return to(t, first.device, first.dtype, false) end
  if base.dtype_id[first] then
    if type(second) == "table" then return to(t, nil, first, second.copy) end
    if second ~= nil and type(second) ~= "boolean" then return to(t, second, first, false) end
    return to(t, nil, first, false)
  end
  if first == nil and type(second) == "string" and not base.dtype_id[second] then return to(t, second, nil, false) end
  local device, dtype, _, copy = parse_to(first, second, ...)
  return to(t, device, dtype, copy)
end

for name, dtype in each {float = "float32", double = "float64", half = "float16", bfloat16 = "bfloat16", char = "int8", short = "int16", int = "int32",
                             long = "int64", byte = "uint8", bool = "bool"} do
  --- The tensor in the dtype that the method names: itself if it has it.
  T[name] = function(t) return to(t, nil, dtype, false) end
end

--- The dtype's name; or the tensor in another dtype.
function T.type(t, dtype)
  if dtype == nil then return base.dtype_name[pointer(t).dtype] end
  if not base.dtype_id[dtype] then fail("type: there is no dtype " .. arguments.describe(dtype)) end
  return to(t, nil, dtype, false)
end

--- The tensor in the dtype and on the device of another one.
T.type_as = method("type_as", "self:tensor, other:tensor", function(t, other) return to(t, other.device, other.dtype, false) end)
--- The tensor on the CPU.
function T.cpu(t) return to(t, "cpu", nil, false) end
--- The tensor on a GPU, the first one by default.
T.cuda = method("cuda", "self:tensor, device:device=cuda", function(t, device)
  if device == "cpu" then fail("cuda: the cpu is no CUDA device; write :cpu()") end
  return to(t, device, nil, false)
end)

-- Overloads ------------------------------------------------------------------------------------------------------------------------------

--- Fills with zeros.
function T.zero_(t) return ops.fill_(t, 0) end

--- random_(), random_(to), random_(from, to): whole numbers; `to` is not among them.
T.random_ = method("random_", "self:tensor, from:int?, to:int?, *, generator:generator?", function(t, from, to_, generator)
  if to_ == nil and from ~= nil then from, to_ = 0, from end
  return ops.random_(t, from, to_, generator)
end)

--- where(condition, other): this tensor where condition is true.
function T.where(t, condition, other) return ops.where(condition, t, other) end

--- Copies the elements of src, which is broadcast to the shape of the tensor.
function T.copy_(t, src, non_blocking)
  if not is_tensor(src) then fail("copy_: a tensor is expected, not " .. arguments.describe(src)) end
  if non_blocking ~= nil and type(non_blocking) ~= "boolean" and type(non_blocking) ~= "table" then fail("copy_: non_blocking must be a boolean") end
  return ops.copy_(t, src)
end

--- other - tensor.
function T.rsub(t, other) return ops.sub(other, t) end

--- The product of two vectors, a number.
T.dot = method("dot", "input:tensor, tensor:tensor", function(a, b)
  if a:dim() ~= 1 or b:dim() ~= 1 then fail(("dot: two vectors are expected, got shapes %s and %s"):format(tostring(a.shape), tostring(b.shape))) end
  return ops.matmul(a, b)
end)

--- Are shape, dtype and all elements the same?
function T.equal(a, b)
  if not is_tensor(b) then fail("equal: a tensor is expected, not " .. arguments.describe(b)) end
  local x, y = a:cpu(), b:cpu() -- named, so that a collection while the second copy is made does not free the first
  return C.ln_tensor_equal(pointer(x), pointer(y))
end

local CLOSE = "input:tensor, other:tensor, rtol:number=1e-5, atol:number=1e-8, equal_nan:bool=false"

--- Is |a - b| <= atol + rtol |b| everywhere? Infinities must be equal.
T.allclose = method("allclose", CLOSE, function(a, b, rtol, atol, equal_nan)
  local x, y = a:detach():to("float64"), b:detach():to("float64")
  local close = ops.logical_or(ops.eq(x, y), ops.logical_and(ops.isfinite(y), ops.le(ops.abs(x - y), ops.abs(y) * rtol + atol)))
  if equal_nan then close = ops.logical_or(close, ops.logical_and(ops.isnan(x), ops.isnan(y))) end
  return ops.all(close):item()
end)

-- Methods that are called with a dot, and the other way round, find something that is no tensor in their first place; what no method takes is refused.
for name, fn in each(T) do
  if type(fn) == "function" and not arguments.methods[fn] then
    local shape = debug.getinfo(fn, "u")
    local most = shape.isvararg and math.huge or shape.nparams - 1
    T[name] = catalog.wraps(function(t, ...)
      if not is_tensor(t) then fail(("%s is a method of tensors: x:%s(...)"):format(name, name)) end
      if select("#", ...) > most then
        fail(("%s takes %s argument%s, %d given"):format(name, most == 0 and "no" or "at most " .. most, most == 1 and "" or "s", select("#", ...)))
      end
      return fn(t, ...)
    end, fn)
  end
end

return T
