--- The largest singular value of a weight, seen as a matrix, by power iteration: what both forms of spectral_norm share.

local arguments = require("lunette.arguments")
local autograd = require("lunette.autograd")
local create = require("lunette.create")
local F = require("lunette.nn.functional")

local spectral = {}

--- A weight as a matrix whose rows are its slices along dim.
function spectral.matrix(weight, dim)
  if dim ~= 0 then
    local order = {dim}
    for d = 0, #weight.shape - 1 do
      if d ~= dim then order[#order + 1] = d end
    end
    weight = weight:permute(order)
  end
  return weight:flatten(1)
end

local function unit(x, eps) return F.normalize(x, 2, 0, eps) end

--- A random vector of length 1.
function spectral.random(n, like, eps)
  return unit(create.randn(n, {dtype = like.dtype, device = like.device}), eps)
end

--- Moves v and then u nearer to the singular vectors of the largest singular value, in place; `u_first`: u before v.
function spectral.iterate(matrix, u, v, times, eps, u_first)
  autograd.no_grad(function()
    for _ = 1, times do
      if u_first then u:copy_(unit(matrix:mv(v), eps)) end
      v:copy_(unit(matrix:t():mv(u), eps))
      if not u_first then u:copy_(unit(matrix:mv(v), eps)) end
    end
  end)
end

--- weight / (u . matrix v); u and v may change later.
function spectral.divide(weight, matrix, u, v) return weight / u:clone():dot(matrix:mv(v:clone())) end

--- The dimension whose slices are the outputs: that of a transposed convolution is 1.
function spectral.dim_of(module, dim)
  if dim ~= nil then return dim end
  local nn = require("lunette.nn")
  local class = require("lunette.class")
  for n = 1, 3 do
    if class.isinstance(module, nn["ConvTranspose" .. n .. "d"]) then return 1 end
  end
  return 0
end

--- Refuses a dim outside of the weight's; returns it counted from 0.
function spectral.check_dim(weight, dim)
  local n = #weight.shape
  if dim < -n or dim >= n then
    arguments.fail(("spectral_norm: dim %d is out of range (expected to be in range of [-%d, %d]) for a weight of shape %s"):format(dim, n, n - 1,
      tostring(weight.shape)))
  end
  return dim % n
end

return spectral
