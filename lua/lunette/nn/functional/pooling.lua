--- Pooling as functions, over 1 to 3 dimensions.

local arguments = require("lunette.arguments")
local ops = require("lunette.ops")
local sizes = require("lunette.nn.functional.sizes")

local fail = arguments.fail

-- Maximum and mean ------------------------------------------------------------------------------------------------------------------------

local function define_max(define, n)
  local operator = "max_pool" .. n .. "d"
  define(operator, {
    doc = ("The largest element of each window over the last %d dimensions; with return_indices also its flat index among these, from 0."):format(n),
    takes = "input, kernel_size, stride, padding, dilation, ceil_mode, return_indices:bool=false",
    several = true,
    call = function(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
      local y, indices = ops[operator](input, kernel_size, stride, padding, dilation, ceil_mode)
      if return_indices then return y, indices end
      return y
    end,
  })
end

-- The mean times the size of the window is the sum. Where it lies below 0, as it may for an odd norm_type, its root is that of a negative number: NaN.
local function define_lp(define, n)
  local name, mean = "lp_pool" .. n .. "d", "avg_pool" .. n .. "d"
  define(name, {
    doc = ("The norm (sum of x^norm_type)^(1 / norm_type) of each window over the last %d dimensions."):format(n),
    takes = "input:tensor, norm_type:number, kernel_size:ints>=1, stride:ints>=1?, ceil_mode:bool=false",
    call = function(input, norm_type, kernel_size, stride, ceil_mode)
      local count = 1
      for _, size in ipairs(sizes.list(name, "kernel_size", n, kernel_size)) do count = count * size end
      local y = ops[mean](norm_type == 2 and ops.square(input) or input ^ norm_type, kernel_size, stride, 0, ceil_mode)
      local sum = ops.sign(y) * ops.relu(ops.abs(y)) * count
      return norm_type == 2 and ops.sqrt(sum) or sum ^ (1 / norm_type)
    end,
  })
end

-- Adaptive --------------------------------------------------------------------------------------------------------------------------------

local function define_adaptive(define, n)
  local max, mean = "adaptive_max_pool" .. n .. "d", "adaptive_avg_pool" .. n .. "d"
  define(max, {
    doc = ("The largest element of each of output_size windows that cover the last %d dimensions; with return_indices also its flat index; "
      .. "lt.None keeps a size."):format(n),
    takes = "input:tensor, output_size:ints_or_none>=0, return_indices:bool=false",
    several = true,
    call = function(input, output_size, return_indices)
      sizes.check(max, input, n)
      local y, indices = ops.adaptive_max_pool(input, sizes.list(max, "output_size", n, output_size, input))
      if return_indices then return y, indices end
      return y
    end,
  })
  define(mean, {
    doc = ("The mean of each of output_size windows that cover the last %d dimensions; lt.None keeps a size."):format(n),
    takes = "input:tensor, output_size:ints_or_none>=0",
    call = function(input, output_size)
      sizes.check(mean, input, n)
      local targets, dims = sizes.list(mean, "output_size", n, output_size, input), {}
      for i = 1, n do
        if input.shape[i - n - 1] == 0 then fail(("%s: input of shape %s has no elements to average"):format(mean, tostring(input.shape))) end
        if targets[i] == 1 then dims[#dims + 1] = i - n - 1 end
      end
      if #dims == n then return ops.mean(input, dims, true) end
      return sizes.resample(input, n, targets, "area")
    end,
  })
end

-- Fractional ------------------------------------------------------------------------------------------------------------------------------

-- How many windows there are in each dimension.
local function fractional_sizes(name, n, input, output_size, output_ratio)
  if (output_size == nil) == (output_ratio == nil) then fail(name .. ": exactly one of output_size and output_ratio must be given") end
  if output_size then return sizes.list(name, "output_size", n, output_size) end
  local out = {}
  if type(output_ratio) == "table" and #output_ratio ~= n then fail(("%s: output_ratio takes 1 or %d numbers, got %d"):format(name, n, #output_ratio)) end
  for i = 1, n do
    local ratio = type(output_ratio) == "number" and output_ratio or output_ratio[i]
    if type(ratio) ~= "number" or not (ratio > 0 and ratio < 1) then
      fail(("%s: output_ratio must hold numbers between 0 and 1, got %s"):format(name, tostring(ratio)))
    end
    out[i] = math.floor(input.shape[i - n - 1] * ratio)
  end
  return out
end

local function random_samples(n, input)
  local dims = input._p.ndim
  local samples = require("lunette.create").empty({dims == n + 2 and input.shape[0] or 1, input.shape[-n - 1], n}, {dtype = input.dtype, device = input.device})
  return samples:uniform_()
end

local function define_fractional(define, n)
  local name = "fractional_max_pool" .. n .. "d"
  define(name, {
    doc = ("The largest element of each of output_size windows, or output_ratio of the input, of one size but at random distances, over the last %d "
      .. "dimensions; with return_indices also its flat index; _random_samples [N, C, %d], from 0 to 1, repeat a choice."):format(n, n),
    takes = "input:tensor, kernel_size:ints>=1, output_size:ints>=1?, output_ratio:number|table?, return_indices:bool=false, _random_samples:tensor?",
    several = true,
    call = function(input, kernel_size, output_size, output_ratio, return_indices, samples)
      sizes.check(name, input, n)
      local targets = fractional_sizes(name, n, input, output_size, output_ratio)
      local y, indices = ops.fractional_max_pool(input, samples or random_samples(n, input), kernel_size, targets)
      if return_indices then return y, indices end
      return y
    end,
  })
end

-- Unpooling -------------------------------------------------------------------------------------------------------------------------------

-- The size that the pooling had as its input: what is asked for, if the windows allow it.
local function unpooled_sizes(name, n, input, kernel_size, stride, padding, output_size)
  local kernel, pads = sizes.list(name, "kernel_size", n, kernel_size), sizes.list(name, "padding", n, padding)
  local steps, out = stride and sizes.list(name, "stride", n, stride) or kernel, {}
  local given = output_size and {unpack(output_size, #output_size - n + 1)}
  if output_size and #output_size ~= n and #output_size ~= input._p.ndim then
    fail(("%s: output_size takes %d numbers, or a whole shape, got %d"):format(name, n, #output_size))
  end
  for i = 1, n do
    local usual = (input.shape[i - n - 1] - 1) * steps[i] + kernel[i] - 2 * pads[i]
    out[i] = given and given[i] or usual
    if given and not (out[i] > usual - steps[i] and out[i] < usual + steps[i]) then
      fail(("%s: output_size %d of dimension %d must lie between %d and %d"):format(name, out[i], i - 1, usual - steps[i] + 1, usual + steps[i] - 1))
    end
  end
  return out
end

local function define_unpool(define, n)
  local name = "max_unpool" .. n .. "d"
  define(name, {
    doc = ("The inverse of max_pool%dd: the elements at the flat indices that it returned, zeros elsewhere; output_size chooses among the sizes that the "
      .. "windows allow."):format(n),
    takes = "input:tensor, indices:tensor, kernel_size:ints>=1, stride:ints>=1?, padding:ints=0, output_size:size?",
    call = function(input, indices, kernel_size, stride, padding, output_size)
      sizes.check(name, input, n)
      if indices.shape ~= input.shape then
        fail(("%s: indices of shape %s do not fit input of shape %s"):format(name, tostring(indices.shape), tostring(input.shape)))
      end
      if arguments.is_size(output_size) then output_size = {output_size:unpack()} end
      local shape, plane = {input.shape:unpack()}, 1
      local targets = unpooled_sizes(name, n, input, kernel_size, stride, padding, output_size)
      for i = 1, n do
        shape[#shape - n + i] = targets[i]
        plane = plane * targets[i]
      end
      local flat = {unpack(shape, 1, #shape - n)}
      flat[#flat + 1] = plane
      local out = ops.full(flat, 0, input.dtype, input.device)
      return ops.reshape(out:scatter_(-1, ops.flatten(indices, -n, -1), ops.flatten(input, -n, -1)), shape)
    end,
  })
end

return function(_, define)
  for n = 1, 3 do
    define("avg_pool" .. n .. "d")
    define_max(define, n)
    define_lp(define, n)
    define_adaptive(define, n)
    define_unpool(define, n)
    if n > 1 then define_fractional(define, n) end
  end
end
