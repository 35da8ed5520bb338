--- Normalisation as functions.

local arguments = require("lunette.arguments")
local each = require("lunette.each")
local ops = require("lunette.ops")

local fail = arguments.fail

local function no_grad(fn) return require("lunette.autograd").no_grad(fn) end

local function check_training(input, eps)
  if eps <= 0 or eps ~= eps then fail(("batch_norm: eps must be positive in training, got %s"):format(tostring(eps))) end
  local p = input._p
  if p.ndim >= 2 and p.shape[1] > 0 and p.numel == p.shape[1] then
    fail(("batch_norm: more than 1 value per channel is needed when training, got input of shape %s"):format(tostring(input.shape)))
  end
end

-- By channels -----------------------------------------------------------------------------------------------------------------------------

local function check_channels(name, what, t, channels)
  if t and (t._p.ndim ~= 1 or t.shape[0] ~= channels) then
    fail(("%s: %s must have one number for each of %d channels, got shape %s"):format(name, what, channels, tostring(t.shape)))
  end
end

local HALF = {float16 = true, bfloat16 = true}

-- The running statistics take in the mean over the batch of those of each instance, whose variance is the one with correction.
local function update(running, rows, channels, momentum)
  no_grad(function()
    local value = ops.mean(ops.reshape(rows, {-1, channels}), 0)
    running:copy_(running * (1 - momentum) + value * momentum)
  end)
end

local function instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
  local shape = input.shape
  if #shape < 3 then fail(("instance_norm: input must have at least 3 dimensions, got shape %s"):format(tostring(shape))) end
  local channels = shape[1]
  for what, t in each({running_mean = running_mean, running_var = running_var, weight = weight, bias = bias}) do
    check_channels("instance_norm", what, t, channels)
  end
  if not use_input_stats then
    if not (running_mean and running_var) then fail("instance_norm: without use_input_stats running_mean and running_var are needed") end
    return (ops.batch_norm(input, weight, bias, running_mean, running_var, false, momentum, eps))
  end
  local rows = shape[0] * channels
  if input._p.numel == 0 then return ops.clone(input) end
  local length = tonumber(input._p.numel) / rows
  if length == 1 then fail(("instance_norm: more than 1 value per channel is needed, got input of shape %s"):format(tostring(shape))) end
  local flat = ops.reshape(input, {rows, length})
  if running_mean then update(running_mean, ops.mean(flat, 1), channels, momentum) end
  if running_var then update(running_var, ops.var(flat, 1), channels, momentum) end
  return (ops.group_norm(input, channels, weight, bias, eps))
end

local function local_response_norm(input, size, alpha, beta, k)
  local shape = input.shape
  if #shape < 3 then fail(("local_response_norm: input must have at least 3 dimensions, got shape %s"):format(tostring(shape))) end
  if input._p.numel == 0 then return ops.clone(input) end
  local images = ops.reshape(ops.square(input), {shape[0], 1, shape[1], -1})
  local around = ops.pad(images, {0, 0, math.floor(size / 2), math.floor((size - 1) / 2)})
  local means = ops.reshape(ops.avg_pool2d(around, {size, 1}, 1), shape)
  return input / (means * alpha + k) ^ beta
end

local EPSILON = {float32 = 2 ^ -23, float64 = 2 ^ -52, float16 = 2 ^ -23, bfloat16 = 2 ^ -23}

local function rms_norm(input, normalized_shape, weight, eps)
  local n, dims = type(normalized_shape) == "number" and 1 or #normalized_shape, {}
  for d = 1, n do
    local want = type(normalized_shape) == "number" and normalized_shape or require("lunette.nn.functional.sizes").at(normalized_shape, d)
    if n > input._p.ndim or input.shape[d - n - 1] ~= want then
      fail(("rms_norm: normalized_shape must be the last dimensions of the input, got an input of shape %s"):format(tostring(input.shape)))
    end
    dims[d] = d - n - 1
  end
  if weight and weight.shape ~= input.shape[-n .. ":"] then
    fail(("rms_norm: weight must have the shape normalized_shape, got %s"):format(tostring(weight.shape)))
  end
  local half = HALF[input.dtype]
  local x = half and ops.to(input, "float32") or input
  local y = x * ops.rsqrt(ops.mean(ops.square(x), dims, true) + (eps or EPSILON[input.dtype] or 0))
  if weight then y = y * weight end
  return half and ops.to(y, input.dtype) or y
end

return function(_, define)
  define("layer_norm")

  define("group_norm")

  define("instance_norm", {
    doc = "(input - mean) / sqrt(var + eps) for each channel of each instance of [N, C, ...], or by running statistics without use_input_stats.",
    takes = "input:tensor, running_mean:tensor?, running_var:tensor?, weight:tensor?, bias:tensor?, use_input_stats:bool=true, momentum:number=0.1, "
      .. "eps:number=1e-5",
    call = instance_norm,
  })

  define("local_response_norm", {
    doc = "input / (k + alpha * mean of the squares of `size` neighbouring channels)^beta.",
    takes = "input:tensor, size:int>=1, alpha:number=1e-4, beta:number=0.75, k:number=1",
    call = local_response_norm,
  })

  define("rms_norm", {
    doc = "input / sqrt(mean of squares + eps) * weight over the last dimensions, whose sizes are normalized_shape; eps is by default that of the dtype.",
    takes = "input:tensor, normalized_shape:ints>=0, weight:tensor?, eps:number?",
    call = rms_norm,
  })

  define("batch_norm", {
    takes = "input, running_mean, running_var, weight, bias, training, momentum, eps",
    call = function(input, running_mean, running_var, weight, bias, training, momentum, eps)
      if training then check_training(input, eps) end
      return (ops.batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps))
    end,
  })
end
