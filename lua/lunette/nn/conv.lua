--- Convolutions: Conv2d.

local arguments = require("lunette.arguments")
local class = require("lunette.nn.class")
local layer = require("lunette.nn.layer")
local sizes = require("lunette.nn.sizes")
local F = require("lunette.nn.functional")
local init = require("lunette.nn.initialise")
local repr = require("lunette.nn.repr")

local Module, fail, no_more = class.Module, arguments.fail, layer.no_more

local conv = {}

local options = "in_channels:int, out_channels:int, kernel_size:ints, stride:ints=1, padding:ints|enum(same|valid)=0, dilation:ints=1, "
  .. "groups:int=1, bias:bool=true, padding_mode:enum(zeros|reflect|replicate|circular)=zeros"

-- What convolutions over n dimensions share.
local Conv = Module:subclass("_ConvNd")

local function check_channels(self)
  local name = self.class.__name
  if self.groups < 1 then fail(("%s: groups must be at least 1, not %d"):format(name, self.groups)) end
  for _, key in ipairs({"in_channels", "out_channels"}) do
    if self[key] < 1 or self[key] % self.groups ~= 0 then
      fail(("%s: %s %d must be positive and divisible by groups %d"):format(name, key, self[key], self.groups))
    end
  end
end

-- What is added before and after dimension d; "same": what keeps the size at stride 1, the odd one behind.
local function sides_of(self, d)
  if type(self.padding) ~= "string" then return self.padding[d], self.padding[d] end
  if self.padding == "valid" then return 0, 0 end
  local total = self.dilation[d] * (self.kernel_size[d] - 1)
  local before = math.floor(total / 2)
  return before, total - before
end

-- The input and what the operator is to pad: zeros, equal on both sides, are its own; the rest F.pad adds first, the last dimension first.
local function padded(self, n, x)
  if self.padding_mode == "zeros" and type(self.padding) ~= "string" then return x, self.padding end
  local pads, around, even = {}, {}, self.padding_mode == "zeros"
  for d = n - 1, 0, -1 do
    local before, after = sides_of(self, d)
    even = even and before == after
    pads[#pads + 1], pads[#pads + 2] = before, after
    around[d + 1] = before
  end
  if even then return x, around end
  return F.pad(x, pads, self.padding_mode == "zeros" and "constant" or self.padding_mode), 0
end

function Conv:setup(n, ...)
  local name = self.class.__name
  local in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode = ...
  self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
  check_channels(self)
  self.kernel_size = sizes.expand(name, "kernel_size", kernel_size, n, 1)
  self.stride = sizes.expand(name, "stride", stride, n, 1)
  self.padding = type(padding) == "string" and padding or sizes.expand(name, "padding", padding, n, 0)
  self.dilation = sizes.expand(name, "dilation", dilation, n, 1)
  if padding == "same" and not sizes.all(self.stride, 1) then fail(name .. ": padding \"same\" needs stride 1") end
  self.weight = layer.parameter(out_channels, in_channels / groups, self.kernel_size:unpack())
  if bias then self.bias = layer.parameter(out_channels) else self:register_parameter("bias", nil) end
  self:reset_parameters()
end

function Conv:reset_parameters() init.reset_affine(self.weight, self.bias) end

function Conv:extra_repr()
  local kernel_size, stride = repr.tuple(self.kernel_size), repr.tuple(self.stride)
  local out = {("%d, %d, kernel_size=%s, stride=%s"):format(self.in_channels, self.out_channels, kernel_size, stride)}
  if type(self.padding) == "string" then
    out[#out + 1] = "padding=" .. self.padding
  elseif not sizes.all(self.padding, 0) then
    out[#out + 1] = "padding=" .. repr.tuple(self.padding)
  end
  if not sizes.all(self.dilation, 1) then out[#out + 1] = "dilation=" .. repr.tuple(self.dilation) end
  if self.groups ~= 1 then out[#out + 1] = "groups=" .. self.groups end
  if self.bias == nil then out[#out + 1] = "bias=False" end
  if self.padding_mode ~= "zeros" then out[#out + 1] = "padding_mode=" .. self.padding_mode end
  return table.concat(out, ", ")
end

-- Conv2d: [N, C, H, W] -> [N, O, H', W']; weight (out_channels, in_channels / groups, kH, kW).
local Conv2d = Conv:subclass("Conv2d")
conv.Conv2d = Conv2d

local parse_conv2d = arguments.signature("Conv2d", options)

function Conv2d:__init(...) self:setup(2, parse_conv2d(...)) end

function Conv2d:forward(x, ...)
  no_more(self, ...)
  local input, padding = padded(self, 2, x)
  return (F.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups))
end

return conv
