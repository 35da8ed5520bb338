--- Members of lt.linalg that are made of operators: norms, products, least squares.

local base = require("lunette.ffi")
local define = require("lunette.define")
local ops = require("lunette.ops")
local Size = require("lunette.size")

local fail = base.fail
local ipairs, tostring, type, abs, huge = ipairs, tostring, type, math.abs, math.huge

local linalg = {}
local declare = define.into(linalg, "lt.linalg")

-- Norms ----------------------------------------------------------------------------------------------------------------------------------------

local function as_dtype(name, x, dtype)
  if dtype and not dtype:find("float") then fail(("%s: the dtype must be a floating one, got %s"):format(name, dtype)) end
  x = dtype and x:to(dtype) or x
  if not x:is_floating_point() then fail(("%s: a tensor of a floating dtype is expected, got %s (convert it with :float())"):format(name, x.dtype)) end
  return x
end

declare("vector_norm", {
  doc = "The norm of order ord of the elements along dims, of all by default: (sum |x|^ord)^(1 / ord), of order inf or -inf the largest or smallest "
    .. "magnitude, of order 0 how many are not 0.",
  takes = "x:tensor, ord:number=2, dim:ints?, keepdim:bool=false, *, dtype:dtype?",
  call = function(x, ord, dim, keepdim, dtype) return ops.norm(as_dtype("linalg.vector_norm", x, dtype), ord, dim, keepdim) end,
})

local function array_of(list) return type(list) == "number" and {list} or Size.is_size(list) and list:totable() or list end

-- Two dims from the front.
local function matrix_dims(name, x, dims)
  local n, out = x:dim(), {}
  dims = array_of(dims or {-2, -1})
  if n < 2 then fail(("%s: a tensor of at least 2 dimensions is expected, got shape %s"):format(name, tostring(x.shape))) end
  if #dims ~= 2 then fail(("%s: two dims are expected, got %d"):format(name, #dims)) end
  for i, dim in ipairs(dims) do
    if dim < -n or dim >= n then fail(("%s: dim %d is out of range for a tensor of %d dimensions (dims start at 0)"):format(name, dim, n)) end
    out[i] = dim < 0 and dim + n or dim
  end
  if out[1] == out[2] then fail(("%s: the two dims must differ, both are %d"):format(name, out[1])) end
  return out
end

-- The sums of magnitudes along one of two dims; the largest or smallest of them along the other.
local function sum_norm(x, along, across, ord, keepdim)
  local sums = ops.sum(ops.abs(x), {along}, true)
  local top = (ord > 0 and ops.amax or ops.amin)(sums, {across}, true)
  return keepdim and top or ops.squeeze(top, {along, across})
end

-- What `fold` makes of the singular values.
local function spectral_norm(x, dims, keepdim, fold)
  local matrices = ops.movedim(x, dims, {-2, -1})
  local norms = fold(ops["linalg.svdvals"](matrices))
  if keepdim then
    for _, dim in ipairs(dims[1] < dims[2] and dims or {dims[2], dims[1]}) do norms = ops.unsqueeze(norms, dim) end
  end
  return norms
end

local function matrix_norm(name, x, ord, dims, keepdim)
  dims = matrix_dims(name, x, dims)
  local size = abs(type(ord) == "number" and ord or 0)
  if ord == "fro" then return ops.norm(x, 2, dims, keepdim) end
  if ord == "nuc" then return spectral_norm(x, dims, keepdim, function(s) return ops.sum(s, -1) end) end
  if size == 2 then return spectral_norm(x, dims, keepdim, function(s) return (ord > 0 and ops.amax or ops.amin)(s, -1) end) end
  if size == 1 then return sum_norm(x, dims[1], dims[2], ord, keepdim) end
  if size == huge then return sum_norm(x, dims[2], dims[1], ord, keepdim) end
  return fail(("%s: the order of a matrix norm is \"fro\", \"nuc\", 1, -1, 2, -2, inf or -inf, got %s"):format(name, tostring(ord)))
end

declare("matrix_norm", {
  doc = "The norm of matrices in two dims: \"fro\", the root of the sum of squares; \"nuc\", the sum of the singular values; 2 or -2, the largest or smallest of "
    .. "these; 1 or -1, the largest or smallest sum of magnitudes of a column; inf or -inf, of a row.",
  takes = "A:tensor, ord:number|string=fro, dim:ints?, keepdim:bool=false, *, dtype:dtype?",
  call = function(x, ord, dim, keepdim, dtype) return matrix_norm("linalg.matrix_norm", as_dtype("linalg.matrix_norm", x, dtype), ord, dim, keepdim) end,
})

declare("norm", {
  doc = "A vector norm or a matrix norm: of two dims, or with an order of all of a matrix, the latter; without an order the root of the sum of squares.",
  takes = "A:tensor, ord:number|string?, dim:ints?, keepdim:bool=false, *, dtype:dtype?",
  call = function(x, ord, dim, keepdim, dtype)
    x = as_dtype("linalg.norm", x, dtype)
    if ord == nil then return ops.norm(x, 2, dim, keepdim) end
    local n = dim and #array_of(dim)
    if not dim and x:dim() > 2 then
      fail(("linalg.norm: with an order and without dims a vector or a matrix is expected, got shape %s"):format(tostring(x.shape)))
    end
    if n == 2 or not dim and x:dim() == 2 or type(ord) == "string" then return matrix_norm("linalg.norm", x, ord, dim, keepdim) end
    return ops.norm(x, ord, dim, keepdim)
  end,
})

-- Solutions --------------------------------------------------------------------------------------------------------------------------------------

declare("multi_dot", {
  doc = "The product of matrices in the order that needs the fewest multiplications; the first and the last may be vectors.", takes = "tensors:tensors",
  call = function(tensors) return require("lunette.contraction").multi_dot("linalg.multi_dot", tensors) end,
})

-- The sums of squares that are left, of systems with more equations than unknowns that determine these; else nothing.
local function residuals(a, b, x, ranks)
  local m, n = a:size(-2), a:size(-1)
  if m <= n or ranks:numel() > 0 and ranks:lt(n):any():item() then return ops.full({0}, 0, a.dtype, a.device) end
  return ops.sum(ops.square(ops.sub(ops.matmul(a, x), b)), -2)
end

declare("lstsq", {
  several = true,
  doc = "Least squares: the X for which A X - B is smallest, by a pivoted QR decomposition in which what is below rcond times the largest counts as 0; the "
    .. "sums of squares that are left, where there are more equations than unknowns and all ranks are full, else an empty tensor; the ranks of A. B is a "
    .. "matrix, or a vector for each matrix of A.",
  takes = "A:tensor, B:tensor, rcond:number?",
  call = function(a, b, rcond)
    local shape = a.shape:totable()
    shape[#shape] = nil
    local vector = b:dim() >= 1 and b:dim() == #shape and Size.Size(shape) == b.shape
    if vector then b = b:unsqueeze(-1) end
    local x, ranks = ops.lstsq_matrices(a, b, rcond)
    local left = residuals(a:detach(), b:detach(), x:detach(), ranks)
    return vector and x:squeeze(-1) or x, vector and left:dim() > 1 and left:squeeze(-1) or left, ranks
  end,
})

return linalg
