--- Convolutions.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local F = require("lunette.nn.functional")

local fail = arguments.fail

local conv = {}

-- What convolutions over n dimensions share.
local Conv = declare.Layer:subclass("_ConvNd")

local function all_ones(size)
  for d = 0, #size - 1 do
    if size[d] ~= 1 then return false end
  end
  return true
end

function Conv:setup()
  local name, groups = self.class.__name, self.groups
  for _, key in ipairs({"in_channels", "out_channels"}) do
    if self[key] % groups ~= 0 then fail(("%s: %s %d must be divisible by groups %d"):format(name, key, self[key], groups)) end
  end
  if self.padding == "same" and not all_ones(self.stride) then fail(name .. ": padding \"same\" needs stride 1") end
end

-- What F.pad adds for a padding mode other than zeros, the last dimension first; "same" puts the extra element at the end.
local function pads_of(self)
  local pads = {}
  for d = #self.kernel_size - 1, 0, -1 do
    local before, after = 0, 0
    if self.padding == "same" then
      local total = self.dilation[d] * (self.kernel_size[d] - 1)
      before = math.floor(total / 2)
      after = total - before
    elseif self.padding ~= "valid" then
      before, after = self.padding[d], self.padding[d]
    end
    pads[#pads + 1], pads[#pads + 2] = before, after
  end
  return pads
end

--- The input and the padding that is left for the convolution.
local function padded(self, input)
  if self.padding_mode == "zeros" then return input, self.padding end
  return F.pad(input, pads_of(self), self.padding_mode), 0
end

conv.Conv2d = declare("Conv2d", {
  parent = Conv,
  doc = "Convolution of an input [N, C, H, W] or [C, H, W] with a learned kernel.",
  takes = "in_channels:int>=0, out_channels:int>=0, kernel_size:size2>=1, stride:size2>=1=1, padding:enum(same|valid)|size2>=0=0, "
    .. "dilation:size2>=1=1, groups:int>=1=1, bias:bool=true, padding_mode:enum(zeros|reflect|replicate|circular)=zeros",
  parameters = {
    "weight(out_channels, in_channels / groups, kernel_size:unpack()) = uniform(1 / sqrt(in_channels / groups * kernel_size:numel()))",
    "bias(out_channels) = uniform(1 / sqrt(in_channels / groups * kernel_size:numel())) if bias",
  },
  text = "!in_channels !out_channels kernel_size stride padding? dilation? groups? bias? padding_mode?",
})

function conv.Conv2d:forward(input)
  local x, padding = padded(self, input)
  return (F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups))
end

return conv
