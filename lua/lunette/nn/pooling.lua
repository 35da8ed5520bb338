--- Pooling over 1 to 3 dimensions, and its inverse. A stride that is not given is the kernel's size.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local F = require("lunette.nn.functional")

local pooling = {}

-- Sizes over n dimensions as the text shows them: those of some layers are always tuples.
local function kind(n, tuple) return (tuple and "size" or "sizes") .. n end

local function define(name, n, declaration)
  name = name .. n .. "d"
  declaration.of = declaration.of and declaration.of .. n .. "d"
  pooling[name] = declare(name, declaration)
  return pooling[name]
end

local function define_windows(n)
  local size, tuple = kind(n), kind(n, n == 1)
  define("MaxPool", n, {
    of = "max_pool",
    several = true,
    takes = ("kernel_size:%s>=1, stride:%s>=1=kernel_size, padding:%s>=0, dilation:%s>=1, return_indices, ceil_mode"):format(size, size, size, size),
    text = "kernel_size stride padding dilation ceil_mode",
  })
  define("AvgPool", n, {
    of = "avg_pool",
    takes = ("kernel_size:%s>=1, stride:%s>=1=kernel_size, padding:%s>=0, ceil_mode, count_include_pad"):format(tuple, tuple, tuple)
      .. (n > 1 and ", divisor_override" or ""),
    text = "kernel_size stride padding",
  })
  define("LPPool", n, {
    of = "lp_pool",
    takes = ("norm_type, kernel_size:%s>=1, stride:%s>=1, ceil_mode"):format(size, size),
    text = "norm_type kernel_size stride ceil_mode",
  })
end

local function define_adaptive(n)
  define("AdaptiveMaxPool", n, {of = "adaptive_max_pool", several = true, takes = "output_size, return_indices", text = "output_size"})
  define("AdaptiveAvgPool", n, {of = "adaptive_avg_pool", takes = "output_size", text = "output_size"})
end

local function define_unpool(n)
  local size = kind(n, true)
  local Unpool = define("MaxUnpool", n, {
    doc = ("The inverse of MaxPool%dd: the elements at the flat indices that it returned, zeros elsewhere; output_size chooses among the sizes that the "
      .. "windows allow."):format(n),
    takes = ("kernel_size:%s>=1, stride:%s>=1=kernel_size, padding:%s>=0=0"):format(size, size, size),
    input = "input:tensor, indices:tensor, output_size:size?",
    text = "kernel_size stride padding",
  })
  local fn = F["max_unpool" .. n .. "d"]
  function Unpool:forward(input, indices, output_size)
    return (fn(input, indices, self.kernel_size, self.stride, self.padding, output_size))
  end
end

local function define_fractional(n)
  local Fractional = define("FractionalMaxPool", n, {
    doc = ("The largest element of each of output_size windows, or output_ratio of the input, of one size but at random distances, over %d dimensions; "
      .. "_random_samples [N, C, %d], from 0 to 1, repeat a choice."):format(n, n),
    several = true,
    takes = ("kernel_size:%s>=1, output_size:%s>=1?, output_ratio:number|table?, return_indices:bool=false, _random_samples:tensor?"):format(kind(n), kind(n)),
    buffers = {"_random_samples"},
  })
  function Fractional:setup(given)
    if (given.output_size == nil) == (given.output_ratio == nil) then
      arguments.fail(("%s: exactly one of output_size and output_ratio must be given"):format(self.class.__name))
    end
  end
  local fn = F["fractional_max_pool" .. n .. "d"]
  function Fractional:forward(input)
    return fn(input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples)
  end
end

for n = 1, 3 do
  define_windows(n)
  define_adaptive(n)
  define_unpool(n)
  if n > 1 then define_fractional(n) end
end

return pooling
