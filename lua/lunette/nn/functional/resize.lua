--- Images at other sizes: interpolation, and channels turned into positions and back.

local arguments = require("lunette.arguments")
local ops = require("lunette.ops")
local sizes = require("lunette.nn.functional.sizes")

local fail = arguments.fail
local floor, tostring, type = math.floor, tostring, type

-- Interpolation ---------------------------------------------------------------------------------------------------------------------------

-- name -> the mode of ops.resample; over how many dimensions when that is fixed; whether align_corners means something.
local MODES = {
  nearest = {"nearest"}, ["nearest-exact"] = {"exact"}, area = {"area"}, linear = {"linear", 1, true}, bilinear = {"linear", 2, true},
  trilinear = {"linear", 3, true}, bicubic = {"cubic", 2, true}, lanczos = {"lanczos", 2, true},
}
local ANTIALIASED = {bilinear = true, bicubic = true, lanczos = true}

local function check_mode(input, mode, align_corners, antialias)
  local n, known = input._p.ndim - 2, MODES[mode]
  if n < 1 or n > 3 or known[2] and known[2] ~= n then
    fail(("interpolate: mode %q takes an input of %s dimensions, got shape %s"):format(mode, known[2] and known[2] + 2 or "3 to 5", tostring(input.shape)))
  end
  if align_corners ~= nil and not known[3] then fail(("interpolate: mode %q takes no align_corners"):format(mode)) end
  if antialias and not ANTIALIASED[mode] then fail(("interpolate: mode %q takes no antialias; bilinear, bicubic and lanczos do"):format(mode)) end
  if mode == "lanczos" and (align_corners or not antialias) then fail("interpolate: mode \"lanczos\" needs antialias and takes no align_corners") end
  return n
end

-- The scales for n dimensions as an array.
local function scales_for(n, scale_factor)
  local out = {}
  if type(scale_factor) ~= "number" and #scale_factor ~= n then
    fail(("interpolate: scale_factor takes 1 or %d numbers, got %d"):format(n, #scale_factor))
  end
  for i = 1, n do
    local scale = type(scale_factor) == "number" and scale_factor or scale_factor[i]
    if type(scale) ~= "number" or not (scale > 0 and scale < math.huge) then
      fail(("interpolate: scale_factor must hold numbers above 0, got %s"):format(tostring(scale)))
    end
    out[i] = scale
  end
  return out
end

-- How many positions there are in each dimension, and what was scaled by when that is to be used as it is.
local function targets_of(input, n, size, scale_factor, recompute)
  if (size == nil) == (scale_factor == nil) then fail("interpolate: exactly one of size and scale_factor must be given") end
  if size then
    if recompute then fail("interpolate: recompute_scale_factor goes with scale_factor, not with size") end
    return sizes.list("interpolate", "size", n, size)
  end
  local scales, targets = scales_for(n, scale_factor), {}
  for i = 1, n do targets[i] = floor(input.shape[i + 1] * scales[i]) end
  return targets, not recompute and scales or nil
end

local function check_dtype(input, mode)
  local dtype = input.dtype
  if dtype:find("float", 1, true) then return end
  if dtype ~= "uint8" then fail(("interpolate: input must be of a floating dtype or uint8, got %s (convert it with :float())"):format(dtype)) end
  if mode == "area" or (MODES[mode][2] or 2) ~= 2 then fail(("interpolate: mode %q takes no input of dtype uint8"):format(mode)) end
end

-- Bytes: from the last dimension on, what each makes is rounded to bytes again.
local function resample_bytes(input, n, targets, mode, scales, align_corners, antialias)
  local x = ops.to(input, "float32")
  for i = n, 1, -1 do
    local only = {}
    for d = 1, n do only[d] = d == i and targets[d] or x.shape[d - n - 1] end
    x = sizes.resample(x, n, only, mode, {[i] = scales and scales[i]}, align_corners, antialias)
    x = ops.clamp(ops.floor(x + 0.5), 0, 255)
  end
  return ops.to(x, "uint8")
end

local function interpolate(input, size, scale_factor, mode, align_corners, recompute, antialias)
  local n = check_mode(input, mode, align_corners, antialias)
  check_dtype(input, mode)
  local targets, scales = targets_of(input, n, size, scale_factor, recompute)
  for i = 1, n do
    if targets[i] < 1 or input.shape[i + 1] < 1 then
      fail(("interpolate: sizes must be at least 1, got input of shape %s and %d positions"):format(tostring(input.shape), targets[i]))
    end
  end
  local same = mode == "nearest" and n == 2
  for i = 1, n do same = same and targets[i] == input.shape[i + 1] end
  if same or mode == "area" then scales = nil end -- as PyTorch does it: an image of the same size is the input
  local resample = input.dtype == "uint8" and resample_bytes or sizes.resample
  return resample(input, n, targets, MODES[mode][1], scales, align_corners, antialias)
end

-- Channels --------------------------------------------------------------------------------------------------------------------------------

local function check_image(name, input, most)
  if input._p.ndim < 3 then fail(("%s: input must have at least 3 dimensions, got shape %s"):format(name, tostring(input.shape))) end
  if most and most < 1 then fail(name .. ": the factor must be at least 1") end
end

-- The shape of the dimensions before the last three, followed by others.
local function with_lead(input, ...)
  local shape = {input.shape:unpack()}
  for _ = 1, 3 do shape[#shape] = nil end
  for i = 1, select("#", ...) do shape[#shape + 1] = (select(i, ...)) end
  return shape
end

-- The order in which the last `#order` dimensions stand, those before as they are.
local function order_of(dims, order)
  local out = {}
  for d = 1, dims - #order do out[d] = d - 1 end
  for _, d in ipairs(order) do out[#out + 1] = dims - #order + d end
  return out
end

return function(_, define)
  define("interpolate", {
    doc = "The input [N, C, ...], of floats or of images as bytes, at another size, given by size or by scale_factor times its own; antialias lets every element count where that is smaller; "
      .. "with recompute_scale_factor positions come from the sizes, else from scale_factor.",
    takes = "input:tensor, size:ints>=1?, scale_factor:number|table?, "
      .. "mode:enum(nearest|linear|bilinear|bicubic|trilinear|lanczos|area|nearest-exact)=nearest, align_corners:bool?, recompute_scale_factor:bool?, "
      .. "antialias:bool=false",
    call = interpolate,
  })

  define("upsample", {
    doc = "interpolate under its former name.",
    takes = "input:tensor, size:ints>=1?, scale_factor:number|table?, mode:enum(nearest|linear|bilinear|bicubic|trilinear)=nearest, align_corners:bool?",
    call = interpolate,
  })

  define("upsample_nearest", {
    doc = "interpolate in mode nearest under its former name.",
    takes = "input:tensor, size:ints>=1?, scale_factor:number|table?",
    call = function(input, size, scale_factor) return interpolate(input, size, scale_factor, "nearest") end,
  })

  define("upsample_bilinear", {
    doc = "interpolate in mode bilinear with align_corners under its former name.",
    takes = "input:tensor, size:ints>=1?, scale_factor:number|table?",
    call = function(input, size, scale_factor) return interpolate(input, size, scale_factor, "bilinear", true) end,
  })

  define("pixel_shuffle", {
    doc = "[..., C r^2, H, W] as [..., C, H r, W r] for r = upscale_factor.",
    takes = "input:tensor, upscale_factor:int>=1",
    call = function(input, r)
      check_image("pixel_shuffle", input)
      local channels, h, w = input.shape[-3], input.shape[-2], input.shape[-1]
      if channels % (r * r) ~= 0 then
        fail(("pixel_shuffle: %d channels must be divisible by the square of upscale_factor %d (input %s)"):format(channels, r, tostring(input.shape)))
      end
      local c = channels / (r * r)
      local parts = ops.reshape(input, with_lead(input, c, r, r, h, w))
      return ops.reshape(ops.permute(parts, order_of(parts._p.ndim, {0, 3, 1, 4, 2})), with_lead(input, c, h * r, w * r))
    end,
  })

  define("pixel_unshuffle", {
    doc = "[..., C, H r, W r] as [..., C r^2, H, W] for r = downscale_factor.",
    takes = "input:tensor, downscale_factor:int>=1",
    call = function(input, r)
      check_image("pixel_unshuffle", input)
      local c, h, w = input.shape[-3], input.shape[-2], input.shape[-1]
      if h % r ~= 0 or w % r ~= 0 then
        fail(("pixel_unshuffle: the image of input %s must be divisible by downscale_factor %d"):format(tostring(input.shape), r))
      end
      local parts = ops.reshape(input, with_lead(input, c, h / r, r, w / r, r))
      return ops.reshape(ops.permute(parts, order_of(parts._p.ndim, {0, 2, 4, 1, 3})), with_lead(input, c * r * r, h / r, w / r))
    end,
  })

  define("channel_shuffle", {
    doc = "The channels of [N, C, ...] in another order: those of each of the groups spread over all.",
    takes = "input:tensor, groups:int>=1",
    call = function(input, groups)
      check_image("channel_shuffle", input)
      local shape = {input.shape:unpack()}
      if shape[2] % groups ~= 0 then
        fail(("channel_shuffle: %d channels must be divisible by groups %d (input %s)"):format(shape[2], groups, tostring(input.shape)))
      end
      local parts = {shape[1], groups, shape[2] / groups, unpack(shape, 3)}
      return ops.reshape(ops.transpose(ops.reshape(input, parts), 1, 2), shape)
    end,
  })
end
