--- Convolutions as functions, over 1 to 3 dimensions, and the windows of images as columns.

local arguments = require("lunette.arguments")
local lazily = require("lunette.lazily")
local ops = require("lunette.ops")
local sizes = require("lunette.nn.functional.sizes")

local fail, floor = arguments.fail, math.floor
local entry = sizes.at

-- What "same" adds before and after each of n dimensions, the extra element at the end; and whether both sides are always equal.
local function same_padding(n, weight, dilation)
  local before, pads, even = {}, {}, true
  for d = n, 1, -1 do
    local total = entry(dilation, d) * (weight.shape[d + 1] - 1)
    local first = floor(total / 2)
    before[d] = first
    pads[#pads + 1], pads[#pads + 2] = first, total - first
    even = even and 2 * first == total
  end
  return before, pads, even
end

-- The input, padded where the sides differ, and the padding left for the operator.
local function pad_same(name, n, input, weight, stride, dilation)
  for d = 1, n do
    if entry(stride, d) ~= 1 then fail(("%s: padding \"same\" needs stride 1, got %s"):format(name, tostring(entry(stride, d)))) end
  end
  if weight._p.ndim ~= n + 2 then fail(("%s: weight must have %d dimensions, got shape %s"):format(name, n + 2, tostring(weight.shape))) end
  local before, pads, even = same_padding(n, weight, dilation)
  if even then return input, before end
  return ops.pad(input, pads), 0
end

local function define_convolution(define, n)
  local name = "conv" .. n .. "d"
  define(name, {
    takes = "input, weight, bias, stride, padding:enum(same|valid)|ints, dilation, groups",
    call = function(input, weight, bias, stride, padding, dilation, groups)
      if padding == "valid" then
        padding = 0
      elseif padding == "same" then
        input, padding = pad_same(name, n, input, weight, stride, dilation)
      end
      return (ops[name](input, weight, bias, stride, padding, dilation, groups))
    end,
  })
end

-- Transposed ------------------------------------------------------------------------------------------------------------------------------

local function check_transposed(name, n, input, weight, bias, groups)
  sizes.check(name, input, n)
  local have, want = input.shape[-n - 1], weight._p.ndim > 0 and weight.shape[0]
  if weight._p.ndim ~= n + 2 or have ~= want then
    fail(("%s: weight of shape %s does not fit the %d channels of input %s"):format(name, tostring(weight.shape), have, tostring(input.shape)))
  end
  local channels = weight.shape[1] * groups
  if bias and (bias._p.ndim ~= 1 or bias.shape[0] ~= channels) then
    fail(("%s: bias must have shape {%d}, got %s"):format(name, channels, tostring(bias.shape)))
  end
  return channels
end

-- What output_padding adds beyond a whole stride is as if the input had more elements, zeros, at its end.
local function extended(name, n, input, stride, dilation, output_padding)
  local pads, rest, some = {}, {}, false
  for d = n, 1, -1 do
    local step, extra = stride[d], output_padding[d]
    if extra < 0 or extra >= step and extra >= dilation[d] then
      fail(("%s: output_padding %d must not be negative and must be below stride %d or dilation %d"):format(name, extra, step, dilation[d]))
    end
    rest[d] = extra % step
    pads[#pads + 1], pads[#pads + 2] = 0, floor(extra / step)
    some = some or extra >= step
  end
  return some and ops.pad(input, pads) or input, rest
end

local function define_transposed(define, n)
  local name, gradient = "conv_transpose" .. n .. "d", "conv" .. n .. "d_dx"
  define(name, {
    doc = ("Transposed convolution over %d dimensions, the gradient of conv%dd by its input, plus bias: weight is [C, O / groups, kernel]; output_padding "
      .. "elements are added at the end of each dimension."):format(n, n),
    takes = "input:tensor, weight:tensor, bias:tensor?, stride:ints>=1=1, padding:ints>=0=0, output_padding:ints>=0=0, groups:int>=1=1, dilation:ints>=1=1",
    call = function(input, weight, bias, stride, padding, output_padding, groups, dilation)
      local channels = check_transposed(name, n, input, weight, bias, groups)
      stride, padding = sizes.list(name, "stride", n, stride), sizes.list(name, "padding", n, padding)
      dilation = sizes.list(name, "dilation", n, dilation)
      local x, rest = extended(name, n, input, stride, dilation, sizes.list(name, "output_padding", n, output_padding))
      local size = {x.shape:unpack()}
      local lead = #size - n
      size[lead] = channels
      for d = 1, n do
        size[lead + d] = (size[lead + d] - 1) * stride[d] - 2 * padding[d] + dilation[d] * (weight.shape[d + 1] - 1) + rest[d] + 1
        if size[lead + d] < 1 then fail(("%s: padding %d leaves nothing of input %s"):format(name, padding[d], tostring(input.shape))) end
      end
      local y = ops[gradient](x, weight, stride, padding, dilation, groups, size)
      if not bias then return y end
      local shape = {channels}
      for d = 1, n do shape[d + 1] = 1 end
      return y + ops.reshape(bias, shape)
    end,
  })
end

-- An operator that names itself otherwise in its errors.
local function named(row, name)
  return lazily.made(function() return require("lunette.wrapper").compile(ops.info[row], name, false) end)
end

return function(_, define)
  for n = 1, 3 do
    define_convolution(define, n)
    define_transposed(define, n)
  end

  define("unfold", {row = "im2col", takes = "input, kernel_size, dilation, padding, stride", call = named("im2col", "unfold")})
  define("fold", {row = "col2im", takes = "input, output_size, kernel_size, dilation, padding, stride", call = named("col2im", "fold")})
end
