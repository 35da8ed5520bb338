--- nn.utils.prune: the ways of pruning: none, at random, by size, by a mask; by element or by channel.

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local create = require("lunette.create")
local base = require("lunette.nn.utils.prune.method")
local smallest = require("lunette.nn.utils.prune.select").smallest

local fail = arguments.fail
local floor, tostring = math.floor, tostring

local ways = {}

-- Amounts ----------------------------------------------------------------------------------------------------------------------------------

local function check_amount(name, amount)
  if amount < 0 or amount ~= amount or amount > 1 and amount ~= floor(amount) then
    fail(("%s: amount = %s should either be a fraction in the range [0, 1] or a non-negative whole number"):format(name, tostring(amount)))
  end
  return amount
end

-- The nearest whole number, halves to the even one.
local function rounded(x)
  local low = floor(x)
  if x - low == 0.5 then return low % 2 == 0 and low or low + 1 end
  return floor(x + 0.5)
end

-- How many of n an amount means: below 1 a fraction, from 1 a count.
local function count_of(method, n)
  local amount = method.amount
  if amount < 1 then return rounded(amount * n) end
  if amount > n then fail(("%s: amount = %d should be smaller than the number of parameters to prune = %d"):format(method.class.__name, amount, n)) end
  return amount
end

-- k of n places at random, as a bool tensor.
local function random_places(n, k, device) return create.randperm(n, {device = device}):lt(k) end

-- Channels ---------------------------------------------------------------------------------------------------------------------------------

-- The dimension of the channels, from 0.
local function dim_of(method, t)
  local n, dim = #t.shape, method.dim
  if n <= 1 then
    fail(("%s: structured pruning can only be applied to multidimensional tensors, found a tensor of shape %s with %d dims"):format(method.class.__name,
      tostring(t.shape), n))
  end
  if dim < -n or dim >= n then fail(("%s: invalid dim %d for a tensor of shape %s"):format(method.class.__name, dim, tostring(t.shape))) end
  return dim % n
end

-- The mask without some channels, a bool tensor of one dimension.
local function without_channels(mask, dim, channels)
  local shape = {}
  for d = 1, #mask.shape do shape[d] = d - 1 == dim and -1 or 1 end
  return mask:masked_fill(channels:reshape(shape), 0)
end

-- The sum of the singular values of the matrices in the last two dimensions: X, which tends to the orthogonal factor of A, times A.
local function nuclear(a)
  local x = a / a:norm(2, {-2, -1}, true):clamp(1e-300)
  for _ = 1, 60 do x = x * 1.5 - x:matmul(x:transpose(-2, -1)):matmul(x) * 0.5 end
  return (x * a):sum({-2, -1})
end

local function channel_norms(method, t, dim)
  local others = {}
  for d = 0, #t.shape - 1 do
    if d ~= dim then others[#others + 1] = d end
  end
  if method.n ~= "nuc" then return t:norm(method.n == "fro" and 2 or method.n, others) end
  if #others ~= 2 then
    fail(("LnStructured: the norm \"nuc\" is that of matrices, a tensor of shape %s has none along dim %d"):format(tostring(t.shape), dim))
  end
  return nuclear(t:permute({dim, others[1], others[2]}):double())
end

-- The classes ------------------------------------------------------------------------------------------------------------------------------

local AMOUNT = "amount: below 1 the fraction, from 1 the number of"

-- A class with the fields that its constructor takes.
local function define(name, kind, given)
  local owner = class.define("nn.utils.prune." .. name, {parent = base.Method, doc = given.doc, takes = given.takes, example = given.example})
  owner.PRUNING_TYPE = kind
  function owner:__init(...) given.init(self, owner.__parse(...)) end
  function owner:compute_mask(...) return (given.mask(self, base.check_mask_call(self, ...))) end
  base.define_apply(owner, given.apply)
  ways[name] = owner
end

define("Identity", "unstructured", {
  doc = "Prunes nothing: a mask of ones.", takes = "", apply = "",
  init = function() end,
  mask = function(_, _, default_mask) return default_mask end,
})

define("RandomUnstructured", "unstructured", {
  doc = "Prunes elements at random; " .. AMOUNT .. " elements.",
  takes = "amount:number", apply = "amount:number",
  init = function(self, amount) self.amount = check_amount("RandomUnstructured", amount) end,
  mask = function(self, t, default_mask)
    local n = t:numel()
    return default_mask:masked_fill(random_places(n, count_of(self, n), t.device):reshape(t.shape), 0)
  end,
})

define("L1Unstructured", "unstructured", {
  doc = "Prunes the elements that are nearest to 0; " .. AMOUNT .. " elements.",
  takes = "amount:number", apply = "amount:number, importance_scores:tensor?",
  init = function(self, amount) self.amount = check_amount("L1Unstructured", amount) end,
  mask = function(self, t, default_mask) return default_mask:masked_fill(smallest(t:detach():abs(), count_of(self, t:numel())), 0) end,
  example = "> nn.utils.prune.L1Unstructured(0.5):prune(lt.tensor{1, -4, 3, 2})\ntensor([ 0., -4.,  3.,  0.])",
})

define("RandomStructured", "structured", {
  doc = "Prunes channels along dim at random; " .. AMOUNT .. " channels.",
  takes = "amount:number, dim:int=-1", apply = "amount:number, dim:int=-1",
  init = function(self, amount, dim) self.amount, self.dim = check_amount("RandomStructured", amount), dim end,
  mask = function(self, t, default_mask)
    local dim = dim_of(self, t)
    local n = t.shape[dim]
    return without_channels(default_mask, dim, random_places(n, count_of(self, n), t.device))
  end,
})

define("LnStructured", "structured", {
  doc = "Prunes the channels along dim of the least n-norm; n: a number, plus or minus math.huge, \"fro\", or \"nuc\" for matrices; " .. AMOUNT .. " channels.",
  takes = "amount:number, n:number|enum(fro|nuc), dim:int=-1", apply = "amount:number, n:number|enum(fro|nuc), dim:int, importance_scores:tensor?",
  init = function(self, amount, n, dim) self.amount, self.n, self.dim = check_amount("LnStructured", amount), n, dim end,
  mask = function(self, t, default_mask)
    local dim = dim_of(self, t)
    return without_channels(default_mask, dim, smallest(channel_norms(self, t:detach(), dim), count_of(self, t.shape[dim])))
  end,
  example = "> nn.utils.prune.LnStructured(1, 2, 0):prune(lt.tensor{{1, 2}, {3, 4}})\ntensor([[0., 0.],\n        [3., 4.]])",
})

define("CustomFromMask", "global", {
  doc = "Prunes by a mask of the parameter's shape, 0 where an element goes.",
  takes = "mask:tensor", apply = "mask:tensor",
  init = function(self, mask) self.mask = mask end,
  mask = function(self, _, default_mask)
    if default_mask.shape ~= self.mask.shape then
      fail(("CustomFromMask: the mask of shape %s must have the shape of the parameter, %s"):format(tostring(self.mask.shape), tostring(default_mask.shape)))
    end
    return default_mask * self.mask:to(default_mask.device):to(default_mask.dtype)
  end,
})

return ways
