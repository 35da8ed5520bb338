--- nn.init: fills tensors with starting values, in place and without gradient; each function returns its tensor. (The package nn is in nn.lua.)

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local create = require("lunette.create")
local define = require("lunette.define")

local fail = arguments.fail
local sqrt = math.sqrt

local init = {}
local declare = define.into(init, "nn.init")

-- Gains ----------------------------------------------------------------------------------------------------------------------------------

local gains = {
  linear = 1, conv1d = 1, conv2d = 1, conv3d = 1, conv_transpose1d = 1, conv_transpose2d = 1, conv_transpose3d = 1,
  sigmoid = 1, tanh = 5 / 3, relu = sqrt(2), selu = 3 / 4,
}

local function gain_of(nonlinearity, param)
  if nonlinearity == "leaky_relu" then return sqrt(2 / (1 + (param or 0.01) ^ 2)) end
  local gain = gains[nonlinearity]
  if gain then return gain end
  local names = {"leaky_relu"}
  for name in each(gains) do names[#names + 1] = name end
  fail(("calculate_gain: there is no gain for the nonlinearity '%s'%s"):format(nonlinearity, arguments.hint(nonlinearity, names)))
end

declare("calculate_gain", {
  doc = "The recommended gain of a nonlinearity; param: the negative slope of leaky_relu, 0.01 by default.",
  takes = "nonlinearity:string, param:number?",
  call = gain_of,
})

-- fan in and fan out: dimension 1 and 0, each times the receptive field.
local function fans(owner, t)
  local shape = t.shape
  if #shape < 2 then fail(("%s: fan in and fan out need at least 2 dimensions, got shape %s"):format(owner, tostring(shape))) end
  local field = 1
  for d = 2, #shape - 1 do field = field * shape[d] end
  return shape[1] * field, shape[0] * field
end

declare("_calculate_fan_in_and_fan_out", {
  doc = "How many inputs reach an output through the tensor, and the reverse.", takes = "tensor:tensor", several = true,
  call = function(t) return fans("_calculate_fan_in_and_fan_out", t) end,
})

-- Plain values ---------------------------------------------------------------------------------------------------------------------------

local function uniform(t, a, b, generator)
  t.data:uniform_(a, b, generator)
  return t
end

local function normal(t, mean, std, generator)
  t.data:normal_(mean, std, generator)
  return t
end

local function constant(t, value)
  t.data:fill_(value)
  return t
end

declare("uniform_", {doc = "Draws from U(a, b).", takes = "tensor:tensor, a:number=0, b:number=1, generator:generator?", call = uniform})

declare("normal_", {doc = "Draws from N(mean, std^2).", takes = "tensor:tensor, mean:number=0, std:number=1, generator:generator?", call = normal})

declare("constant_", {doc = "Fills with val.", takes = "tensor:tensor, val:scalar", call = constant})

declare("ones_", {doc = "Fills with 1.", takes = "tensor:tensor", call = function(t) return constant(t, 1) end})

declare("zeros_", {doc = "Fills with 0.", takes = "tensor:tensor", call = function(t) return constant(t, 0) end})

declare("eye_", {
  doc = "Makes the identity matrix of a tensor of 2 dimensions.",
  takes = "tensor:tensor",
  call = function(t)
    if #t.shape ~= 2 then fail(("eye_: a tensor of 2 dimensions is needed, got shape %s"):format(tostring(t.shape))) end
    constant(t, 0)
    t.data:diagonal():fill_(1)
    return t
  end,
})

declare("dirac_", {
  doc = "Makes the convolution kernel that hands each input channel on, of a tensor of 3 to 5 dimensions.",
  takes = "tensor:tensor, groups:int>0=1",
  call = function(t, groups)
    local shape = t.shape
    if #shape < 3 or #shape > 5 then fail(("dirac_: a tensor of 3 to 5 dimensions is needed, got shape %s"):format(tostring(shape))) end
    if shape[0] % groups ~= 0 then fail(("dirac_: dimension 0 of shape %s must be divisible by groups %d"):format(tostring(shape), groups)) end
    constant(t, 0)
    local out_of_group = shape[0] / groups
    for g = 0, groups - 1 do
      for c = 0, math.min(out_of_group, shape[1]) - 1 do
        local cell = t.data[g * out_of_group + c][c]
        for d = 2, #shape - 1 do cell = cell:select(0, math.floor(shape[d] / 2)) end
        cell:fill_(1)
      end
    end
    return t
  end,
})

-- Xavier (Glorot and Bengio, 2010) and Kaiming (He et al., 2015) -------------------------------------------------------------------------

local function xavier_std(owner, t, gain)
  local fan_in, fan_out = fans(owner, t)
  return gain * sqrt(2 / (fan_in + fan_out))
end

declare("xavier_uniform_", {
  doc = "Draws from U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)).",
  takes = "tensor:tensor, gain:number=1, generator:generator?",
  call = function(t, gain, generator)
    local a = sqrt(3) * xavier_std("xavier_uniform_", t, gain)
    return uniform(t, -a, a, generator)
  end,
})

declare("xavier_normal_", {
  doc = "Draws from N(0, std^2), std = gain * sqrt(2 / (fan_in + fan_out)).",
  takes = "tensor:tensor, gain:number=1, generator:generator?",
  call = function(t, gain, generator) return normal(t, 0, xavier_std("xavier_normal_", t, gain), generator) end,
})

local KAIMING = "tensor:tensor, a:number=0, mode:enum(fan_in|fan_out)=fan_in, nonlinearity:string=leaky_relu, generator:generator?"

local function kaiming_std(owner, t, a, mode, nonlinearity)
  local fan_in, fan_out = fans(owner, t)
  return gain_of(nonlinearity, a) / sqrt(mode == "fan_in" and fan_in or fan_out)
end

declare("kaiming_uniform_", {
  doc = "Draws from U(-bound, bound), bound = gain * sqrt(3 / fan).",
  takes = KAIMING,
  call = function(t, a, mode, nonlinearity, generator)
    if t:numel() == 0 then return t end
    local bound = sqrt(3) * kaiming_std("kaiming_uniform_", t, a, mode, nonlinearity)
    return uniform(t, -bound, bound, generator)
  end,
})

declare("kaiming_normal_", {
  doc = "Draws from N(0, std^2), std = gain / sqrt(fan).",
  takes = KAIMING,
  call = function(t, a, mode, nonlinearity, generator)
    if t:numel() == 0 then return t end
    return normal(t, 0, kaiming_std("kaiming_normal_", t, a, mode, nonlinearity), generator)
  end,
})

-- Others ---------------------------------------------------------------------------------------------------------------------------------

-- The part of a standard normal distribution below x.
local function below(x) return (1 + create.tensor(x / sqrt(2), {dtype = "float64", device = "cpu"}):erf():item()) / 2 end

declare("trunc_normal_", {
  doc = "Draws from N(mean, std^2), of which only what lies between a and b is kept.",
  takes = "tensor:tensor, mean:number=0, std:number>=0=1, a:number=-2, b:number=2, generator:generator?",
  call = function(t, mean, std, a, b, generator)
    if a > b then fail(("trunc_normal_: a = %g is above b = %g"):format(a, b)) end
    if std == 0 then return constant(t, math.min(math.max(mean, a), b)) end
    uniform(t, 2 * below((a - mean) / std) - 1, 2 * below((b - mean) / std) - 1, generator)
    t.data:erfinv_():mul_(std * sqrt(2)):add_(mean):clamp_(a, b)
    return t
  end,
})

declare("orthogonal_", {
  doc = "Makes a (semi) orthogonal matrix of the tensor, its dimensions from the second on taken as one (Saxe et al., 2013), times gain.",
  takes = "tensor:tensor, gain:number=1, generator:generator?",
  call = function(t, gain, generator)
    if #t.shape < 2 then fail(("orthogonal_: a tensor of at least 2 dimensions is needed, got shape %s"):format(tostring(t.shape))) end
    if t:numel() == 0 then return t end
    local rows = t:size(0)
    local drawn = normal(t.data:new_empty(rows, t:numel() / rows), 0, 1, generator)
    local wide = rows < drawn:size(1)
    local q, r = require("lunette.linalg").qr(wide and drawn:t() or drawn)
    q = q * r:diagonal():sign() -- of the many decompositions the one that depends on the draw alone: q is uniform then
    t.data:copy_((wide and q:t() or q):reshape(t.shape)):mul_(gain)
    return t
  end,
})

declare("sparse_", {
  doc = "Draws a matrix from N(0, std^2) and sets the part sparsity of each column to 0 (Martens, 2010).",
  takes = "tensor:tensor, sparsity:number[0,1], std:number=0.01, generator:generator?",
  call = function(t, sparsity, std, generator)
    if #t.shape ~= 2 then fail(("sparse_: a tensor of 2 dimensions is needed, got shape %s"):format(tostring(t.shape))) end
    normal(t, 0, std, generator)
    local rows, zeros = t:size(0), math.ceil(sparsity * t:size(0))
    for column = 0, t:size(1) - 1 do
      local places = create.randperm(rows, {generator = generator, device = t.device}):narrow(0, 0, zeros)
      t.data:select(1, column):index_fill_(0, places, 0)
    end
    return t
  end,
})

return arguments.strict(init, "nn.init")
