--- Tensors and dtypes that follow from a few numbers or from others: indices of triangles, powers, what arithmetic gives.

local base = require("lunette.ffi")
local define = require("lunette.define")
local ops = require("lunette.ops")

local fail, is_tensor = base.fail, base.is_tensor
local tostring, type = tostring, type

local derived = {}
local declare = define.into(derived, "lt")

-- Indices and powers -------------------------------------------------------------------------------------------------------------------------------

local function triangle_indices(name, words, triangle)
  declare(name, {
    doc = ("The indices [2, N] of the %s triangle of a row by col matrix, row by row; offset moves its diagonal."):format(words),
    takes = "row:int>=0, col:int>=0, offset:int=0, *, dtype:dtype=int64, device:device?",
    call = function(row, col, offset, dtype, device)
      local ones = ops.full({row, col}, true, "bool", base.device_name(base.device_id(device)))
      return triangle(ones, offset):nonzero():t():contiguous():to(dtype)
    end,
  })
end

triangle_indices("tril_indices", "lower", ops.tril)
triangle_indices("triu_indices", "upper", ops.triu)

declare("vander", {
  doc = "Powers of a vector's elements as the columns of a matrix, the highest first, or the lowest with increasing; N columns, as many as rows unless given.",
  takes = "x:tensor, N:int>=0?, increasing:bool=false",
  call = function(x, n, increasing)
    if x:dim() ~= 1 then fail(("vander: a vector is expected, got shape %s"):format(tostring(x.shape))) end
    if not x:is_floating_point() then x = x:long() end
    local powers = ops.arange(0, n or x:size(0), 1, x.dtype, x.device)
    return ops.pow(x:unsqueeze(-1), increasing and powers or powers:flip(0))
  end,
})

-- Dtypes -------------------------------------------------------------------------------------------------------------------------------------------

-- A tensor that says what dtype and whether it has dimensions, without elements where it may.
local function token(t) return is_tensor(t) and t:dim() > 0 and ops.full({0}, 0, t.dtype) or is_tensor(t) and ops.full({}, 0, t.dtype) or t end

declare("result_type", {
  doc = "The dtype that arithmetic gives for two operands, tensors or numbers.", takes = "tensor1:tensor|scalar, tensor2:tensor|scalar",
  call = function(a, b)
    if not is_tensor(a) and not is_tensor(b) then return type(a) == "boolean" and type(b) == "boolean" and "bool" or "float32" end
    return ops.maximum(token(a), token(b)).dtype
  end,
})

local function rank(dtype) return dtype == "bool" and 0 or dtype:find("int") and 1 or 2 end

declare("can_cast", {
  doc = "May a result of one dtype be written into another? Not floating numbers into whole ones, nor numbers into bool.", takes = "from_:dtype, to:dtype",
  call = function(from, to) return rank(from) <= rank(to) end,
})

return derived
