--- Convolutions over 1 to 3 dimensions, transposed ones, and the windows of images as columns.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local F = require("lunette.nn.functional")

local fail, is_size = arguments.fail, arguments.is_size

local conv = {}

local SHAPES = {"[N, C, L] or [C, L]", "[N, C, H, W] or [C, H, W]", "[N, C, D, H, W] or [C, D, H, W]"}

-- What all convolutions share.
local Base = declare.Layer:subclass("_ConvNd")

local function all_ones(size)
  for d = 0, #size - 1 do
    if size[d] ~= 1 then return false end
  end
  return true
end

function Base:setup()
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

local function bound(fan) return ("uniform(1 / sqrt(%s * kernel_size:numel()))"):format(fan) end

local function define_convolution(n)
  local Conv = declare("Conv" .. n .. "d", {
    parent = Base,
    doc = ("Convolution of an input %s with a learned kernel."):format(SHAPES[n]),
    takes = ("in_channels:int>=0, out_channels:int>=0, kernel_size:SIZE>=1, stride:SIZE>=1=1, padding:enum(same|valid)|SIZE>=0=0, "
      .. "dilation:SIZE>=1=1, groups:int>=1=1, bias:bool=true, padding_mode:enum(zeros|reflect|replicate|circular)=zeros"):gsub("SIZE", "size" .. n),
    parameters = {
      "weight(out_channels, in_channels / groups, kernel_size:unpack()) = " .. bound("in_channels / groups"),
      "bias(out_channels) = " .. bound("in_channels / groups") .. " if bias",
    },
    text = "!in_channels !out_channels kernel_size stride padding? dilation? groups? bias? padding_mode?",
  })
  local fn = F["conv" .. n .. "d"]
  function Conv:forward(input)
    local x, padding = padded(self, input)
    return (fn(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups))
  end
  conv["Conv" .. n .. "d"] = Conv
end

-- Transposed ------------------------------------------------------------------------------------------------------------------------------

-- The output_padding that gives the size that is asked for: {H, W} or the whole shape.
local function output_padding_for(self, input, wanted)
  local n, name = #self.kernel_size, self.class.__name
  if is_size(wanted) then wanted = {wanted:unpack()} end
  if #wanted ~= n and #wanted ~= input._p.ndim then fail(("%s: output_size takes %d numbers, or a whole shape, got %d"):format(name, n, #wanted)) end
  local out = {}
  for d = 0, n - 1 do
    local least = (input.shape[d - n] - 1) * self.stride[d] - 2 * self.padding[d] + self.dilation[d] * (self.kernel_size[d] - 1) + 1
    local size = wanted[#wanted - n + d + 1]
    out[d + 1] = size - least
    if out[d + 1] < 0 or out[d + 1] >= self.stride[d] then
      fail(("%s: output_size %d of dimension %d must lie between %d and %d for input %s"):format(name, size, d, least, least + self.stride[d] - 1,
        tostring(input.shape)))
    end
  end
  return out
end

local function define_transposed(n)
  local name = "ConvTranspose" .. n .. "d"
  local Conv = declare(name, {
    parent = Base,
    doc = ("Transposed convolution of an input %s with a learned kernel: the gradient of Conv%dd by its input; of the sizes that such a convolution maps to "
      .. "that of the input, output_padding or output_size in the call choose one."):format(SHAPES[n], n),
    takes = ("in_channels:int>=0, out_channels:int>=0, kernel_size:SIZE>=1, stride:SIZE>=1=1, padding:SIZE>=0=0, output_padding:SIZE>=0=0, "
      .. "groups:int>=1=1, bias:bool=true, dilation:SIZE>=1=1, padding_mode:enum(zeros)=zeros"):gsub("SIZE", "size" .. n),
    input = "input:tensor, output_size:size?",
    parameters = {
      "weight(in_channels, out_channels / groups, kernel_size:unpack()) = " .. bound("out_channels / groups"),
      "bias(out_channels) = " .. bound("out_channels / groups") .. " if bias",
    },
    text = "!in_channels !out_channels kernel_size stride padding? dilation? output_padding? groups? bias? padding_mode?",
  })
  local fn = F["conv_transpose" .. n .. "d"]
  function Conv:forward(input, output_size)
    local extra = output_size and output_padding_for(self, input, output_size) or self.output_padding
    return (fn(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation))
  end
  conv[name] = Conv
end

for n = 1, 3 do
  define_convolution(n)
  define_transposed(n)
end

-- Columns ---------------------------------------------------------------------------------------------------------------------------------

conv.Unfold = declare("Unfold", {
  of = "unfold",
  takes = "kernel_size:sizes2>=1, dilation:sizes2>=1, padding:sizes2>=0, stride:sizes2>=1",
  text = "kernel_size dilation padding stride",
})

conv.Fold = declare("Fold", {
  of = "fold",
  takes = "output_size:sizes2>=1, kernel_size:sizes2>=1, dilation:sizes2>=1, padding:sizes2>=0, stride:sizes2>=1",
  text = "output_size kernel_size dilation padding stride",
})

return conv
