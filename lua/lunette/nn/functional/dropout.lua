--- Dropout as functions.

local arguments = require("lunette.arguments")
local ops = require("lunette.ops")

local TAKES = "input, p[0,1], training, inplace:bool=false"
-- What selu makes of minus infinity, where a dropped element goes.
local FLOOR = -1.7580993408473766

-- The shape of a mask that drops whole channels: those of dims 0 and 1, of dim 0 alone where the batch is missing.
local function channels(input, batched)
  local shape = {input.shape:unpack()}
  for i = batched and 3 or 2, #shape do shape[i] = 1 end
  return shape
end

-- 1 with probability 1 - p, else 0.
local function mask(input, shape, p) return ops.bernoulli(ops.full(shape, 0, input.dtype, input.device), 1 - p) end

local function dropped(input, shape, p, inplace)
  local kept = mask(input, shape, p)
  if p < 1 then kept = kept / (1 - p) end
  return inplace and input:mul_(kept) or input * kept
end

-- Dropped elements go to FLOOR; scale and shift then restore mean 0 and variance 1.
local function alpha_dropped(input, shape, p, inplace)
  if p == 1 then return inplace and input:mul_(0) or input * 0 end
  local scale = ((1 - p) * (1 + p * FLOOR ^ 2)) ^ -0.5
  local kept = mask(input, shape, p) * scale
  local shift = (scale - kept) * FLOOR - scale * FLOOR * p
  if inplace then return input:mul_(kept):add_(shift) end
  return input * kept + shift
end

-- Dropout of whole channels of an input with `low` or `high` dims, the lower number without a batch where `unbatched` says so.
local function of_channels(name, low, high, unbatched)
  return function(input, p, training, inplace)
    local n = input._p.ndim
    if n ~= low and n ~= high then
      arguments.fail(("%s: input must have %d or %d dimensions, got shape %s"):format(name, low, high, tostring(input.shape)))
    end
    if not training then return input end
    return dropped(input, channels(input, n == high or not unbatched), p, inplace)
  end
end

return function(_, define)
  define("dropout", {
    takes = TAKES,
    call = function(input, p, training, inplace)
      if not training then return input end
      if inplace then return (ops.dropout_(input, p, true)) end
      return (ops.dropout(input, p, true))
    end,
  })

  define("dropout1d", {
    row = "dropout", takes = TAKES, doc = "Whole channels of [N, C, L] or [C, L] zeroed with probability p, the rest scaled by 1 / (1 - p).",
    call = of_channels("dropout1d", 2, 3, true),
  })
  define("dropout2d", {
    row = "dropout", takes = TAKES, doc = "Whole channels of [N, C, H, W] or [N, C, L] zeroed with probability p, the rest scaled by 1 / (1 - p).",
    call = of_channels("dropout2d", 3, 4, false),
  })
  define("dropout3d", {
    row = "dropout", takes = TAKES, doc = "Whole channels of [N, C, D, H, W] or [C, D, H, W] zeroed with probability p, the rest scaled by 1 / (1 - p).",
    call = of_channels("dropout3d", 4, 5, true),
  })

  define("alpha_dropout", {
    row = "dropout", takes = "input, p[0,1], training=false, inplace:bool=false",
    doc = "Elements set to what selu makes of minus infinity with probability p; mean 0 and variance 1 stay (Klambauer et al., 2017).",
    call = function(input, p, training, inplace)
      if not training then return input end
      return alpha_dropped(input, {input.shape:unpack()}, p, inplace)
    end,
  })
  define("feature_alpha_dropout", {
    row = "dropout", takes = "input, p[0,1], training=false, inplace:bool=false", doc = "alpha_dropout of whole channels of [N, C, ...].",
    call = function(input, p, training, inplace)
      if input._p.ndim < 2 then arguments.fail("feature_alpha_dropout: input must have at least 2 dimensions, got shape " .. tostring(input.shape)) end
      if not training then return input end
      return alpha_dropped(input, channels(input, true), p, inplace)
    end,
  })
end
