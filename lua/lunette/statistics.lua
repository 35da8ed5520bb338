--- Sums and statistics that are made of operators: moments, covariances, differences, integrals; and one_hot.

local base = require("lunette.ffi")
local define = require("lunette.define")
local ops = require("lunette.ops")

local fail, is_tensor = base.fail, base.is_tensor
local ipairs, tostring, math = ipairs, tostring, math

local statistics = {}
local declare = define.into(statistics, "lt")

-- The dim, counted from the front, of a tensor.
local function wrap_dim(name, dim, t)
  local n = t:dim()
  if n == 0 then fail(("%s: a tensor of at least 1 dimension is expected"):format(name)) end
  if dim < -n or dim >= n then fail(("%s: dim %d is out of range for a tensor of %d dimensions (dims start at 0)"):format(name, dim, n)) end
  return dim < 0 and dim + n or dim
end

-- Moments ----------------------------------------------------------------------------------------------------------------------------------------

local MOMENTS = "input:tensor, dim:ints?, *, correction:int=1, keepdim:bool=false"

declare("var_mean", {
  several = true, doc = "The variance and the mean along dims, of all elements by default.", takes = MOMENTS,
  call = function(input, dim, correction, keepdim) return ops.var(input, dim, correction, keepdim), ops.mean(input, dim, keepdim) end,
})

declare("std_mean", {
  several = true, doc = "The standard deviation and the mean along dims, of all elements by default.", takes = MOMENTS,
  call = function(input, dim, correction, keepdim) return ops.std(input, dim, correction, keepdim), ops.mean(input, dim, keepdim) end,
})

local FOLDED = "input:tensor, dim:ints?, keepdim:bool=false, *, dtype:dtype?"

-- NaN as 0; whole numbers have none.
local function without_nan(input) return input:is_floating_point() and ops.masked_fill(input, ops.isnan(input), 0) or input end

declare("nansum", {
  doc = "The sum along dims, of all elements by default, in which NaN counts as 0.", takes = FOLDED,
  call = function(input, dim, keepdim, dtype) return ops.sum(without_nan(input), dim, keepdim, dtype) end,
})

declare("nanmean", {
  doc = "The mean along dims, of all elements by default, of what is not NaN.", takes = FOLDED,
  call = function(input, dim, keepdim, dtype)
    if not input:is_floating_point() then fail(("nanmean: a tensor of a floating dtype is expected, got %s"):format(input.dtype)) end
    local sum = ops.sum(without_nan(input), dim, keepdim, dtype)
    return ops.div(sum, ops.sum(ops.logical_not(ops.isnan(input)), dim, keepdim))
  end,
})

declare("dist", {
  doc = "The p-norm of the difference of two tensors, broadcast.", takes = "input:tensor, other:tensor, p:number=2",
  call = function(input, other, p) return ops.norm(ops.sub(input, other), p) end,
})

local function renorm(input, p, dim, maxnorm)
  dim = wrap_dim("renorm", dim, input)
  if input:dim() < 2 then fail(("renorm: a tensor of at least 2 dimensions is expected, got shape %s"):format(tostring(input.shape))) end
  if p <= 0 then fail(("renorm: the order of the norm must be above 0, got %g"):format(p)) end
  if maxnorm < 0 then fail(("renorm: maxnorm must not be negative, got %g"):format(maxnorm)) end
  local others = {}
  for d = 0, input:dim() - 1 do
    if d ~= dim then others[#others + 1] = d end
  end
  local norms = ops.norm(input, p, others, true)
  return ops.mul(input, ops.where(ops.gt(norms, maxnorm), ops.div(maxnorm, ops.add(norms, 1e-7)), 1))
end

local RENORM = "input:tensor, p:number, dim:int, maxnorm:number"
declare("renorm", {doc = "input with each slice along dim whose p-norm is above maxnorm scaled down to that.", takes = RENORM, call = renorm})
declare("renorm_", {
  doc = "renorm in place.", takes = RENORM, call = function(input, ...) return ops.copy_(input, renorm(input, ...)) end,
})

-- Covariances ------------------------------------------------------------------------------------------------------------------------------------

-- Weights of the observations, 1-dim and as many as there are; nil for none.
local function weights_of(name, w, count, whole)
  if not w then return nil end
  if w:dim() > 1 or w:numel() ~= count then
    fail(("cov: %s must be a vector of %d numbers, one for each observation, got shape %s"):format(name, count, tostring(w.shape)))
  end
  if w:is_floating_point() == whole then fail(("cov: %s must be of a %s dtype, got %s"):format(name, whole and "whole" or "floating", w.dtype)) end
  if w:lt(0):any():item() then fail(("cov: %s must not be negative"):format(name)) end
  return w:reshape(-1)
end

local function cov(input, correction, fweights, aweights)
  if input:dim() > 2 then fail(("cov: a tensor of at most 2 dimensions is expected, got shape %s"):format(tostring(input.shape))) end
  if input.dtype == "bool" then fail("cov: bool has no covariance") end
  local x = input:dim() < 2 and input:reshape(1, -1) or input
  x = x:is_floating_point() and x or x:float()
  local count = x:size(1)
  local f, a = weights_of("fweights", fweights, count, true), weights_of("aweights", aweights, count, false)
  local w = f and a and ops.mul(f, a) or f or a
  local total = w and ops.sum(w):to(x.dtype) or count
  local mean = w and ops.div(ops.sum(ops.mul(x, w), 1, true), total) or ops.mean(x, 1, true)
  local centred = ops.sub(x, mean)
  local freedom = total - correction
  if a and correction ~= 0 then freedom = total - ops.div(ops.sum(ops.mul(w, a)), total) * correction end
  local products = ops.matmul(w and ops.mul(centred, w) or centred, centred:t())
  local least = is_tensor(freedom) and ops.clamp(freedom, 0) or math.max(freedom, 0)
  return ops.div(products, least):squeeze()
end

declare("cov", {
  doc = "The covariances of variables, a row each, over observations, a column each: of integer fweights the observation counts so often, of aweights so much.",
  takes = "input:tensor, *, correction:int=1, fweights:tensor?, aweights:tensor?", call = cov,
})

declare("corrcoef", {
  doc = "The correlations of variables, a row each, over observations, a column each.", takes = "input:tensor",
  call = function(input)
    if input:dim() > 2 then fail(("corrcoef: a tensor of at most 2 dimensions is expected, got shape %s"):format(tostring(input.shape))) end
    local c = cov(input, 1)
    if c:dim() == 0 then return ops.div(c, c) end
    local deviation = ops.sqrt(c:diagonal())
    return ops.clamp(ops.div(ops.div(c, deviation:unsqueeze(1)), deviation:unsqueeze(0)), -1, 1)
  end,
})

-- Differences and integrals ----------------------------------------------------------------------------------------------------------------------

local function slices(t, dim)
  local n = t:size(dim)
  return ops.narrow(t, dim, n > 0 and 1 or 0, n > 0 and n - 1 or 0), ops.narrow(t, dim, 0, n > 0 and n - 1 or 0)
end

declare("diff", {
  doc = "The differences of neighbours along dim, n times over; of bool whether they differ. prepend and append are joined to input first.",
  takes = "input:tensor, n:int=1, dim:int=-1, prepend:tensor?, append:tensor?",
  call = function(input, n, dim, prepend, append)
    dim = wrap_dim("diff", dim, input)
    if n < 0 then fail(("diff: n must not be negative, got %d"):format(n)) end
    local parts = {}
    for _, part in ipairs{prepend or false, input, append or false} do
      if part then parts[#parts + 1] = part end
    end
    local t = #parts > 1 and n > 0 and ops.cat(parts, dim) or input
    for _ = 1, n do
      local behind, before = slices(t, dim)
      t = t.dtype == "bool" and ops.logical_xor(behind, before) or ops.sub(behind, before)
    end
    return t
  end,
})

-- The areas between neighbours along dim: means times distances.
local function areas(name, y, x, dx, dim)
  dim = wrap_dim(name, dim, y)
  local behind, before = slices(y, dim)
  local sums = ops.add(behind, before)
  if not x then return ops.mul(sums, dx / 2), dim end
  if x:dim() == 1 then
    if x:size(0) ~= y:size(dim) then
      fail(("%s: x has %d elements, y %d along dim %d"):format(name, x:size(0), y:size(dim), dim))
    end
    local shape = {}
    for d = 1, y:dim() do shape[d] = d == dim + 1 and x:size(0) or 1 end
    x = x:reshape(shape)
  end
  local far, near = slices(x, x:dim() == y:dim() and dim or dim - y:dim() + x:dim())
  return ops.div(ops.mul(ops.sub(far, near), sums), 2), dim
end

local function integral(name, doc, fold)
  declare(name, {
    doc = doc,
    forms = {
      {takes = "y:tensor, x:tensor, *, dim:int=-1", call = function(y, x, dim) return fold(areas(name, y, x, nil, dim)) end},
      {takes = "y:tensor, *, dx:number=1, dim:int=-1", call = function(y, dx, dim) return fold(areas(name, y, nil, dx, dim)) end},
    },
  })
end

local function total(t, dim) return ops.sum(t, dim, false) end
integral("trapezoid", "The integral of y along dim by the trapezoidal rule, at the places x or at distances of dx.", total)
integral("trapz", "The integral of y along dim by the trapezoidal rule, as trapezoid.", total)
integral("cumulative_trapezoid", "The running integral of y along dim by the trapezoidal rule.", function(t, dim) return ops.cumsum(t, dim) end)

-- one_hot ----------------------------------------------------------------------------------------------------------------------------------------

--- Classes as rows of n numbers, n being -1 for as many as they ask for.
function statistics.one_hot(t, n)
  if t.dtype ~= "int64" then fail(("one_hot: classes are int64, got %s (make them with lt.LongTensor or :long())"):format(t.dtype)) end
  if t:numel() == 0 and n <= 0 then fail("one_hot: num_classes must be given for no classes") end
  if n == 0 or n < -1 then fail(("one_hot: num_classes must be above 0, or -1 for what the classes ask for, got %d"):format(n)) end
  if t:numel() > 0 then
    local least, most = t:min():item(), t:max():item()
    if least < 0 then fail(("one_hot: a class must not be negative, got %d"):format(least)) end
    if n ~= -1 and most >= n then fail(("one_hot: class %d is out of range for num_classes %d"):format(most, n)) end
    n = n == -1 and most + 1 or n
  end
  local shape = t.shape:totable()
  shape[#shape + 1] = n
  return ops.scatter(ops.full(shape, 0, "int64", t.device), -1, t:unsqueeze(-1), 1)
end

return statistics
