--- Sizes as arguments of functions over n dimensions, and interpolation along all of these.

local arguments = require("lunette.arguments")
local ops = require("lunette.ops")

local fail, is_size, None = arguments.fail, arguments.is_size, arguments.None
local rawequal, tostring, type = rawequal, tostring, type

local sizes = {}

--- Number i (from 1) of sizes given as a number that stands for all, an array or a Size.
function sizes.at(given, i)
  if type(given) == "number" then return given end
  if is_size(given) then return given[i - 1] end
  return given[i]
end

--- `given` as an array of n; lt.None stands for the size of the input in that dimension. `name` and `what` are for the error.
function sizes.list(name, what, n, given, input)
  if type(given) ~= "number" and #given ~= n then fail(("%s: %s takes 1 or %d numbers, got %d"):format(name, what, n, #given)) end
  local out = {}
  for i = 1, n do
    local size = sizes.at(given, i)
    out[i] = rawequal(size, None) and input.shape[i - n - 1] or size
  end
  return out
end

--- The input must be [N, C, n dimensions] or, where `batch` is not required, [C, n dimensions].
function sizes.check(name, input, n, batch)
  local dims = input._p.ndim
  if dims == n + 2 or dims == n + 1 and not batch then return end
  fail(("%s: input must have %d dimensions%s, got shape %s"):format(name, n + 2, batch and "" or (", or %d without a batch"):format(n + 1),
    tostring(input.shape)))
end

-- The order in which the last n dimensions are resampled: what shrinks first, from the outermost, then what grows, from the innermost. Passes along the
-- innermost dimension are the slow ones, and so see the fewest elements.
local function order_of(input, targets, n)
  local order = {}
  for i = 1, n do
    if targets[i] <= input.shape[i - n - 1] then order[#order + 1] = i end
  end
  for i = n, 1, -1 do
    if targets[i] > input.shape[i - n - 1] then order[#order + 1] = i end
  end
  return order
end

local HALF = {float16 = true, bfloat16 = true}

--- The last n dimensions interpolated at targets[i] positions (ops.resample). scales[i], where there is one, is what the caller scaled by. Half types
-- are rounded once.
function sizes.resample(input, n, targets, mode, scales, align_corners, antialias)
  local x, dtype = input, input.dtype
  if HALF[dtype] then x = ops.to(x, "float32") end
  for _, i in ipairs(order_of(input, targets, n)) do
    local scale = scales and scales[i]
    if targets[i] ~= input.shape[i - n - 1] or scale and scale ~= 1 then
      x = ops.resample(x, i - n - 1, targets[i], mode, scale, align_corners, antialias)
    end
  end
  if rawequal(x, input) then return ops.clone(input) end
  return x.dtype == dtype and x or ops.to(x, dtype)
end

return sizes
