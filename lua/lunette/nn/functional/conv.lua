--- Convolutions as functions.

local arguments = require("lunette.arguments")
local ops = require("lunette.ops")

local is_size, floor = arguments.is_size, math.floor

-- Entry d (from 0) of sizes given as a number, an array or a Size.
local function entry(sizes, d)
  if type(sizes) == "number" then return sizes end
  if is_size(sizes) then return sizes[d] end
  return sizes[d + 1]
end

-- What "same" adds before and after each of n dimensions, the extra element at the end; and whether both sides are always equal.
local function same_padding(n, weight, dilation)
  local before, pads, even = {}, {}, true
  for d = n - 1, 0, -1 do
    local total = entry(dilation, d) * (weight.shape[d + 2] - 1)
    local first = floor(total / 2)
    before[d + 1] = first
    pads[#pads + 1], pads[#pads + 2] = first, total - first
    even = even and 2 * first == total
  end
  return before, pads, even
end

-- The input, padded where the sides differ, and the padding left for the operator.
local function pad_same(F, name, n, input, weight, stride, dilation)
  for d = 0, n - 1 do
    if entry(stride, d) ~= 1 then arguments.fail(("%s: padding \"same\" needs stride 1, got %s"):format(name, tostring(entry(stride, d)))) end
  end
  local before, pads, even = same_padding(n, weight, dilation)
  if even then return input, before end
  return F.pad(input, pads), 0
end

return function(F, define)
  define("conv2d", {
    takes = "input, weight, bias, stride, padding:enum(same|valid)|ints, dilation, groups",
    call = function(input, weight, bias, stride, padding, dilation, groups)
      if padding == "valid" then
        padding = 0
      elseif padding == "same" then
        input, padding = pad_same(F, "conv2d", 2, input, weight, stride, dilation)
      end
      return (ops.conv2d(input, weight, bias, stride, padding, dilation, groups))
    end,
  })
end
