--- The function behind nn.utils.parametrizations.orthogonal: a matrix as a skew one through its exponential or the Cayley map, or as reflections.

local arguments = require("lunette.arguments")
local autograd = require("lunette.autograd")
local create = require("lunette.create")
local internals = require("lunette.nn.internals")
local linalg = require("lunette.linalg")
local ops = require("lunette.ops")

local Orthogonal = internals.Module:subclass("_Orthogonal")

local EPSILON = {float64 = 2 ^ -52, float32 = 2 ^ -23}
local SLACK = 10 -- roundings a row that still count as orthogonal

function Orthogonal:__init(weight, map, use_trivialization)
  self.shape, self.orthogonal_map, self.use_trivialization = weight.shape, map, use_trivialization
  if use_trivialization then self:register_buffer("base", nil) end
end

local function transposed(x) return (x:transpose(-2, -1)) end

local function eye(n, like) return create.eye(n, {dtype = like.dtype, device = like.device}) end

-- The sizes of a batch of matrices with other last two.
local function sizes(x, rows, columns)
  local out = x.shape:totable()
  out[#out - 1], out[#out] = rows, columns
  return out
end

-- A skew matrix [n, n] of the lower triangle of x [n, k].
local function skew(x)
  local n, k = x.shape[-2], x.shape[-1]
  x = x:tril()
  if n ~= k then x = ops.cat({x, x:new_zeros(sizes(x, n, n - k))}, -1) end
  return x - transposed(x)
end

local maps = {}

function maps.matrix_exp(x) return linalg.matrix_exp(skew(x)):narrow(-1, 0, x.shape[-1]) end

function maps.cayley(x)
  local a = skew(x)
  local one = eye(a.shape[-1], a)
  return linalg.solve(one - a * 0.5, one + a * 0.5):narrow(-1, 0, x.shape[-1])
end

-- The columns below the diagonal are the reflections, the signs on the diagonal those of the columns of the product.
function maps.householder(x)
  local a = x:tril(-1)
  local tau = 2 / ((a * a):sum(-2) + 1)
  return linalg.householder_product(a, tau) * x:detach():diagonal(0, -2, -1):trunc():unsqueeze(-2)
end

function Orthogonal:forward(x)
  local wide = x.shape[-2] < x.shape[-1]
  local q = maps[self.orthogonal_map](wide and transposed(x) or x)
  if self.use_trivialization then q = self.base:matmul(q) end
  return wide and transposed(q) or q
end

-- Backwards --------------------------------------------------------------------------------------------------------------------------------

local function is_orthogonal(q)
  local one = eye(q.shape[-1], q)
  return transposed(q):matmul(q):allclose(one:expand(sizes(q, q.shape[-1], q.shape[-1])), {atol = SLACK * q.shape[-2] * EPSILON[q.dtype]})
end

-- The orthogonal factor of a matrix, the one for which the other factor has a positive diagonal.
local function make_orthogonal(a)
  local q, r = linalg.qr(a)
  return q * r:diagonal(0, -2, -1):sign():unsqueeze(-2)
end

-- The reflections that make an orthogonal matrix [n, k] a diagonal one: below the diagonal of the result stand their vectors, on it the signs of what is left.
local function reflections(q)
  local a = q:clone()
  local n, k = a.shape[-2], a.shape[-1]
  for j = 0, k - 1 do
    local column = a:narrow(-1, j, 1):narrow(-2, j, n - j):clone()
    local first, rest = column:narrow(-2, 0, 1), column:narrow(-2, 1, n - j - 1)
    local none = rest:abs():sum(-2, true):eq(0)
    local length = column:norm(2, {-2}, true)
    local beta = ops.where(none, first, ops.where(first:lt(0), length, -length))
    local v = ops.cat({first:new_ones(first.shape), ops.where(none, rest, rest / ops.where(none, 1, first - beta))}, -2)
    local tau = ops.where(none, 0, (beta - first) / beta)
    local others = a:narrow(-2, j, n - j):narrow(-1, j + 1, k - j - 1)
    others:sub_(v:matmul(transposed(v):matmul(others)) * tau)
    a:narrow(-1, j, 1):narrow(-2, j + 1, n - j - 1):copy_(v:narrow(-2, 1, n - j - 1))
    a:narrow(-1, j, 1):narrow(-2, j, 1):copy_(ops.where(none, -first:sign(), beta:sign()))
  end
  return a
end

-- What is stored for q where it is counted from a fixed matrix: that matrix becomes q, the rest is minus one.
local function rebase(self, q, wide)
  local tall = wide and transposed(q) or q
  local n, k = tall.shape[-2], tall.shape[-1]
  if n ~= k then
    self.base = make_orthogonal(ops.cat({tall, create.randn(sizes(tall, n, n - k), {dtype = q.dtype, device = q.device})}, -1))
  else
    self.base = is_orthogonal(tall) and tall:clone() or make_orthogonal(tall)
  end
  local stored = create.zeros_like(q)
  stored:diagonal(0, -2, -1):fill_(-1)
  return stored
end

function Orthogonal:right_inverse(q)
  if q.shape ~= self.shape then
    arguments.fail(("orthogonal: a matrix or batch of matrices of shape %s is expected, got %s"):format(tostring(self.shape), tostring(q.shape)))
  end
  local wide = q.shape[-2] < q.shape[-1]
  return autograd.no_grad(function()
    if self.use_trivialization then return rebase(self, q:detach(), wide) end
    if self.orthogonal_map ~= "householder" then return nil end
    local a = reflections(wide and transposed(q) or q)
    return wide and transposed(a) or a
  end)
end

return Orthogonal
