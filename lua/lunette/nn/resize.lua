--- Images at other sizes: interpolation, and channels turned into positions and back.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local F = require("lunette.nn.functional")
local repr = require("lunette.nn.repr")

local resize = {}

local Base = declare.Layer:subclass("_Upsample")

function Base:setup(given)
  if (given.size == nil) == (given.scale_factor == nil) then
    arguments.fail(self.class.__name .. ": exactly one of size and scale_factor must be given")
  end
end

-- Scales are floats, whatever they were written as.
local function scales_text(scales)
  if type(scales) == "number" then return repr.float(scales) end
  local out = {}
  for i, scale in ipairs(scales) do out[i] = repr.float(scale) end
  return "(" .. table.concat(out, ", ") .. (#out == 1 and ",)" or ")")
end

function Base:extra_repr()
  local size = self.size ~= nil and "size=" .. repr.value(self.size) or "scale_factor=" .. scales_text(self.scale_factor)
  return size .. ", mode=" .. repr.string(self.mode)
end

resize.Upsample = declare("Upsample", {
  parent = Base,
  doc = "The input [N, C, ...] interpolated at another size, given by size or by scale_factor times its own.",
  takes = "size:sizes>=1?, scale_factor:number|table?, mode:enum(nearest|linear|bilinear|bicubic|trilinear)=nearest, align_corners:bool?, "
    .. "recompute_scale_factor:bool?",
})

function resize.Upsample:forward(input)
  return (F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor))
end

local function define_old(name, mode, align_corners)
  local Upsampling = declare(name, {
    parent = Base,
    doc = ("Upsample of images in mode %s%s under its former name."):format(mode, align_corners and " with align_corners" or ""),
    takes = "size:sizes2>=1?, scale_factor:number|table?",
  })
  Upsampling.mode = mode
  function Upsampling:forward(input) return (F.interpolate(input, self.size, self.scale_factor, mode, align_corners)) end
  resize[name] = Upsampling
end

define_old("UpsamplingNearest2d", "nearest", nil)
define_old("UpsamplingBilinear2d", "bilinear", true)

resize.PixelShuffle = declare("PixelShuffle", {of = "pixel_shuffle", takes = "upscale_factor", text = "upscale_factor"})
resize.PixelUnshuffle = declare("PixelUnshuffle", {of = "pixel_unshuffle", takes = "downscale_factor", text = "downscale_factor"})
resize.ChannelShuffle = declare("ChannelShuffle", {of = "channel_shuffle", takes = "groups", text = "groups"})

return resize
