--- nn.init: fills tensors with starting values, in place and without gradient; each function returns its tensor.

local arguments = require("lunette.arguments")

local fail = arguments.fail
local sqrt = math.sqrt

local init = {}
local signature = arguments.signature

-- Gains ----------------------------------------------------------------------------------------------------------------------------------

local plain_gains = {
  linear = 1, conv1d = 1, conv2d = 1, conv3d = 1, conv_transpose1d = 1, conv_transpose2d = 1, conv_transpose3d = 1,
  sigmoid = 1, tanh = 5 / 3, relu = sqrt(2), selu = 3 / 4,
}
local parse_gain = signature("calculate_gain", "nonlinearity:string, param:number?")

--- The recommended gain of a nonlinearity; param: the negative slope of leaky_relu, 0.01 by default.
function init.calculate_gain(...)
  local nonlinearity, param = parse_gain(...)
  if nonlinearity == "leaky_relu" then return sqrt(2 / (1 + (param or 0.01) ^ 2)) end
  local gain = plain_gains[nonlinearity]
  if not gain then fail(("calculate_gain: unsupported nonlinearity '%s'"):format(nonlinearity)) end
  return gain
end

-- fan in and fan out: dimension 1 and 0, each times the receptive field.
local function fans(owner, t)
  local shape = t.shape
  if #shape < 2 then fail(("%s: fan in and fan out need at least 2 dimensions, not shape %s"):format(owner, tostring(shape))) end
  local field = 1
  for d = 2, #shape - 1 do field = field * shape[d] end
  return shape[1] * field, shape[0] * field
end
init._calculate_fan_in_and_fan_out = function(t) return fans("fan in", t) end

-- Plain fillings -------------------------------------------------------------------------------------------------------------------------

local parse_uniform = signature("uniform_", "tensor:tensor, a:number=0, b:number=1")
local parse_normal = signature("normal_", "tensor:tensor, mean:number=0, std:number=1")
local parse_constant = signature("constant_", "tensor:tensor, val:number")
local parse_one = signature("ones_", "tensor:tensor")

local function uniform(t, a, b)
  t.data:uniform_(a, b)
  return t
end

local function normal(t, mean, std)
  t.data:normal_(mean, std)
  return t
end

local function constant(t, value)
  t.data:fill_(value)
  return t
end

--- U(a, b).
function init.uniform_(...) return uniform(parse_uniform(...)) end

--- N(mean, std ^ 2).
function init.normal_(...) return normal(parse_normal(...)) end

function init.constant_(...) return constant(parse_constant(...)) end

function init.ones_(...) return constant(parse_one(...), 1) end

function init.zeros_(...) return constant(parse_one(...), 0) end

--- The identity matrix, in a tensor of 2 dimensions.
function init.eye_(...)
  local t = parse_one(...)
  if #t.shape ~= 2 then fail(("eye_: a tensor of 2 dimensions is needed, not shape %s"):format(tostring(t.shape))) end
  constant(t, 0)
  t.data:diagonal():fill_(1)
  return t
end

local parse_dirac = signature("dirac_", "tensor:tensor, groups:int=1")

--- The convolution kernel that hands each input channel on, in a tensor of 3 to 5 dimensions.
function init.dirac_(...)
  local t, groups = parse_dirac(...)
  local shape = t.shape
  if #shape < 3 or #shape > 5 then fail(("dirac_: a tensor of 3 to 5 dimensions is needed, not shape %s"):format(tostring(shape))) end
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
end

-- Xavier (Glorot and Bengio, 2010) and Kaiming (He et al., 2015) -------------------------------------------------------------------------

local parse_xavier = signature("xavier", "tensor:tensor, gain:number=1")

local function xavier_std(owner, t, gain)
  local fan_in, fan_out = fans(owner, t)
  return gain * sqrt(2 / (fan_in + fan_out))
end

--- U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)).
function init.xavier_uniform_(...)
  local t, gain = parse_xavier(...)
  local a = sqrt(3) * xavier_std("xavier_uniform_", t, gain)
  return uniform(t, -a, a)
end

--- N(0, std ^ 2), std = gain * sqrt(2 / (fan_in + fan_out)).
function init.xavier_normal_(...)
  local t, gain = parse_xavier(...)
  return normal(t, 0, xavier_std("xavier_normal_", t, gain))
end

local kaiming = "tensor:tensor, a:number=0, mode:enum(fan_in|fan_out)=fan_in, nonlinearity:string=leaky_relu"
local parse_kaiming_uniform, parse_kaiming_normal = signature("kaiming_uniform_", kaiming), signature("kaiming_normal_", kaiming)

local function kaiming_std(owner, t, a, mode, nonlinearity)
  local fan_in, fan_out = fans(owner, t)
  return init.calculate_gain(nonlinearity, a) / sqrt(mode == "fan_in" and fan_in or fan_out)
end

--- U(-bound, bound), bound = gain * sqrt(3 / fan).
function init.kaiming_uniform_(...)
  local t, a, mode, nonlinearity = parse_kaiming_uniform(...)
  if t:numel() == 0 then return t end
  local bound = sqrt(3) * kaiming_std("kaiming_uniform_", t, a, mode, nonlinearity)
  return uniform(t, -bound, bound)
end

--- N(0, std ^ 2), std = gain / sqrt(fan).
function init.kaiming_normal_(...)
  local t, a, mode, nonlinearity = parse_kaiming_normal(...)
  if t:numel() == 0 then return t end
  return normal(t, 0, kaiming_std("kaiming_normal_", t, a, mode, nonlinearity))
end

--- What Linear and the convolutions start from: kaiming_uniform_ with a = sqrt(5), the bias in the bounds of 1 / sqrt(fan_in).
function init.reset_affine(weight, bias)
  init.kaiming_uniform_(weight, sqrt(5))
  if bias == nil then return end
  local fan_in = fans("bias", weight)
  local bound = fan_in > 0 and 1 / sqrt(fan_in) or 0
  uniform(bias, -bound, bound)
end

return init
