--- Pooling. A stride that is not given is the kernel's size.

local declare = require("lunette.nn.declare")

local pooling = {}

pooling.MaxPool2d = declare("MaxPool2d", {
  of = "max_pool2d",
  several = true,
  takes = "kernel_size:sizes2>=1, stride:sizes2>=1=kernel_size, padding:sizes2>=0, dilation:sizes2>=1, return_indices, ceil_mode",
  text = "kernel_size stride padding dilation ceil_mode",
})

pooling.AvgPool2d = declare("AvgPool2d", {
  of = "avg_pool2d",
  takes = "kernel_size:sizes2>=1, stride:sizes2>=1=kernel_size, padding:sizes2>=0, ceil_mode, count_include_pad, divisor_override",
  text = "kernel_size stride padding",
})

return pooling
