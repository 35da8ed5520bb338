--- Pooling: MaxPool2d, AvgPool2d.

local arguments = require("lunette.arguments")
local class = require("lunette.nn.class")
local layer = require("lunette.nn.layer")
local sizes = require("lunette.nn.sizes")
local F = require("lunette.nn.functional")
local repr = require("lunette.nn.repr")

local Module, no_more = class.Module, layer.no_more

local pooling = {}

-- stride: nil stands for kernel_size.
local function set_window(self, n, kernel_size, stride, padding)
  local name = self.class.__name
  self.kernel_size = sizes.keep(name, "kernel_size", kernel_size, n, 1)
  self.stride = stride == nil and self.kernel_size or sizes.keep(name, "stride", stride, n, 1)
  self.padding = sizes.keep(name, "padding", padding, n, 0)
end

local MaxPool2d = Module:subclass("MaxPool2d")
pooling.MaxPool2d = MaxPool2d

local parse_max = arguments.signature("MaxPool2d",
  "kernel_size:ints, stride:ints?, padding:ints=0, dilation:ints=1, return_indices:bool=false, ceil_mode:bool=false")

function MaxPool2d:__init(...)
  local kernel_size, stride, padding, dilation, return_indices, ceil_mode = parse_max(...)
  set_window(self, 2, kernel_size, stride, padding)
  self.dilation = sizes.keep("MaxPool2d", "dilation", dilation, 2, 1)
  self.return_indices, self.ceil_mode = return_indices, ceil_mode
end

function MaxPool2d:forward(x, ...)
  no_more(self, ...)
  return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)
end

function MaxPool2d:extra_repr()
  return ("kernel_size=%s, stride=%s, padding=%s, dilation=%s, ceil_mode=%s"):format(
    repr.value(self.kernel_size), repr.value(self.stride), repr.value(self.padding), repr.value(self.dilation), repr.bool(self.ceil_mode))
end

local AvgPool2d = Module:subclass("AvgPool2d")
pooling.AvgPool2d = AvgPool2d

local parse_avg = arguments.signature("AvgPool2d",
  "kernel_size:ints, stride:ints?, padding:ints=0, ceil_mode:bool=false, count_include_pad:bool=true, divisor_override:int?")

function AvgPool2d:__init(...)
  local kernel_size, stride, padding
  kernel_size, stride, padding, self.ceil_mode, self.count_include_pad, self.divisor_override = parse_avg(...)
  set_window(self, 2, kernel_size, stride, padding)
end

function AvgPool2d:forward(x, ...)
  no_more(self, ...)
  return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override)
end

function AvgPool2d:extra_repr()
  return ("kernel_size=%s, stride=%s, padding=%s"):format(repr.value(self.kernel_size), repr.value(self.stride), repr.value(self.padding))
end

return pooling
