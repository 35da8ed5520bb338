--- Pooling as functions.

local ops = require("lunette.ops")

return function(_, define)
  define("avg_pool2d")

  define("max_pool2d", {
    doc = "The largest element of each window; with return_indices also its flat index in the input plane, from 0.",
    takes = "input, kernel_size, stride, padding, dilation, ceil_mode, return_indices:bool=false",
    several = true,
    call = function(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
      local y, indices = ops.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)
      if return_indices then return y, indices end
      return y
    end,
  })
end
