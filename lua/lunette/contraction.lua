--- Products over chosen dimensions, tensordot, and of chains of matrices, multi_dot.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local define = require("lunette.define")
local ops = require("lunette.ops")
local Size = require("lunette.size")

local fail, is_tensor = base.fail, base.is_tensor
local ipairs, tostring, type, math = ipairs, tostring, type, math

local products = {}
local declare = define.into(products, "lt")

-- tensordot ----------------------------------------------------------------------------------------------------------------------------------------

local function array_of(list) return type(list) == "number" and {list} or Size.is_size(list) and list:totable() or list end

local function check_dims(t, dims, which)
  local out, seen = {}, {}
  for i, dim in ipairs(dims) do
    local n = t:dim()
    if not arguments.is_int(dim) or dim < -n or dim >= n then
      fail(("tensordot: dim %s is out of range for %s with %d dimensions"):format(tostring(dim), which, n))
    end
    out[i] = dim < 0 and dim + n or dim
    if seen[out[i]] then fail(("tensordot: dim %d of %s stands twice"):format(out[i], which)) end
    seen[out[i]] = true
  end
  return out
end

local function counted_dims(a, b, n)
  if n < 0 or n > a:dim() or n > b:dim() then
    fail(("tensordot: %d dimensions of tensors of shapes %s and %s cannot be summed over"):format(n, tostring(a.shape), tostring(b.shape)))
  end
  local last, first = {}, {}
  for i = 1, n do last[i], first[i] = a:dim() - n + i - 1, i - 1 end
  return last, first
end

-- The other dims, and how many elements they hold.
local function others(t, dims)
  local taken, out, shape = {}, {}, {}
  for _, dim in ipairs(dims) do taken[dim] = true end
  for d = 0, t:dim() - 1 do
    if not taken[d] then out[#out + 1], shape[#shape + 1] = d, t:size(d) end
  end
  return out, shape
end

local function product_of(list)
  local n = 1
  for _, size in ipairs(list) do n = n * size end
  return n
end

declare("tensordot", {
  doc = "The product of two tensors summed over the last dims of a and the first of b, as many as dims says, or over the two arrays of dims in an array.",
  takes = "a:tensor, b:tensor, dims:int|table=2",
  call = function(a, b, dims)
    local of_a, of_b
    if type(dims) == "number" then
      of_a, of_b = counted_dims(a, b, dims)
    else
      if #dims ~= 2 then fail("tensordot: dims are a number or an array of two arrays of dims") end
      of_a, of_b = array_of(dims[1]), array_of(dims[2])
      if type(of_a) ~= "table" or type(of_b) ~= "table" then fail("tensordot: dims are a number or an array of two arrays of dims") end
    end
    of_a, of_b = check_dims(a, of_a, "a"), check_dims(b, of_b, "b")
    if #of_a ~= #of_b then fail(("tensordot: %d dims of a are given and %d of b"):format(#of_a, #of_b)) end
    local inner = {}
    for i, dim in ipairs(of_a) do
      local left, right = a:size(dim), b:size(of_b[i])
      if left ~= right and left ~= 1 and right ~= 1 then
        fail(("tensordot: dim %d of a has %d elements, dim %d of b %d"):format(dim, left, of_b[i], right))
      end
      if left ~= 1 and right == 1 then a = a:sum({dim}, true, a.dtype) elseif right ~= 1 and left == 1 then b = b:sum({of_b[i]}, true, b.dtype) end
      inner[i] = math.min(left, right)
    end
    local rest_a, rows = others(a, of_a)
    local rest_b, columns = others(b, of_b)
    for _, dim in ipairs(of_a) do rest_a[#rest_a + 1] = dim end
    for _, dim in ipairs(rest_b) do of_b[#of_b + 1] = dim end
    local n = product_of(inner)
    local left, right = a:permute(rest_a):reshape({product_of(rows), n}), b:permute(of_b):reshape({n, product_of(columns)})
    for _, size in ipairs(columns) do rows[#rows + 1] = size end
    return ops.mm(left, right):reshape(rows)
  end,
})

-- multi_dot ----------------------------------------------------------------------------------------------------------------------------------------

-- Where to cut the chain of matrices i ... k so that the fewest multiplications are needed: sizes[i] by sizes[i + 1] is matrix i.
local function best_cuts(sizes, n)
  local cost, cut = {}, {}
  for i = 1, n do cost[i], cut[i] = {[i] = 0}, {} end
  for length = 1, n - 1 do
    for i = 1, n - length do
      local k = i + length
      cost[i][k] = math.huge
      for at = i, k - 1 do
        local total = cost[i][at] + cost[at + 1][k] + sizes[i] * sizes[at + 1] * sizes[k + 1]
        if total < cost[i][k] then cost[i][k], cut[i][k] = total, at end
      end
    end
  end
  return cut
end

local function chain(list, cut, i, k)
  if i == k then return list[i] end
  return ops.mm(chain(list, cut, i, cut[i][k]), chain(list, cut, cut[i][k] + 1, k))
end

local function check_chain(name, list, i, ndim)
  if list[i]:dim() ~= ndim then fail(("%s: tensor %d must have %d dimensions, got shape %s"):format(name, i - 1, ndim, tostring(list[i].shape))) end
end

-- The product of matrices in the order that needs the fewest multiplications; the first and the last may be vectors.
local function multi_dot(name, tensors)
  local n, list, sizes = #tensors, {}, {}
  if n < 2 then fail(("%s: at least 2 tensors are needed, got %d"):format(name, n)) end
  for i, t in ipairs(tensors) do list[i] = t end
  local row, column = list[1]:dim() == 1, list[n]:dim() == 1
  if row then list[1] = list[1]:unsqueeze(0) end
  if column then list[n] = list[n]:unsqueeze(1) end
  for i, t in ipairs(list) do
    check_chain(name, list, i, 2)
    if i > 1 and sizes[i] ~= t:size(0) then
      local words = ("tensors %d and %d of shapes %s and %s"):format(i - 2, i - 1, tostring(tensors[i - 1].shape), tostring(tensors[i].shape))
      fail(("%s: %s cannot be multiplied"):format(name, words))
    end
    sizes[i], sizes[i + 1] = t:size(0), t:size(1)
  end
  local y = chain(list, best_cuts(sizes, n), 1, n)
  if column then y = y:squeeze(1) end
  return row and y:squeeze(0) or y
end

products.multi_dot = multi_dot

--- The product of matrices, given one by one or as an array, in the order that needs the fewest multiplications.
function products.chain_matmul(...)
  local list = is_tensor((...)) and {...} or (...)
  if type(list) ~= "table" or #list == 0 then fail("chain_matmul: matrices are expected") end
  for i, t in ipairs(list) do
    if not is_tensor(t) then fail(("chain_matmul: argument %d is %s"):format(i - 1, arguments.describe(t))) end
    check_chain("chain_matmul", list, i, 2)
  end
  return #list == 1 and list[1] or multi_dot("chain_matmul", list)
end

return products
