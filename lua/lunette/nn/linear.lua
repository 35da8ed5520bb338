--- Identity, Linear, Bilinear.

local arguments = require("lunette.arguments")
local class = require("lunette.nn.class")
local layer = require("lunette.nn.layer")
local F = require("lunette.nn.functional")
local init = require("lunette.nn.initialise")
local repr = require("lunette.nn.repr")

local Module, no_more = class.Module, layer.no_more

local linear = {}

-- Identity takes anything and hands on what it is called with.
local Identity = Module:subclass("Identity")
linear.Identity = Identity

function Identity.__init() end

function Identity:forward(x, ...)
  no_more(self, ...)
  return x
end

-- Linear: y = x weight^T + bias over the last dimension; weight (out_features, in_features).
local Linear = Module:subclass("Linear")
linear.Linear = Linear

local parse_linear = arguments.signature("Linear", "in_features:int, out_features:int, bias:bool=true")

function Linear:__init(...)
  local in_features, out_features, bias = parse_linear(...)
  self.in_features, self.out_features = in_features, out_features
  self.weight = layer.parameter(out_features, in_features)
  if bias then self.bias = layer.parameter(out_features) else self:register_parameter("bias", nil) end
  self:reset_parameters()
end

function Linear:reset_parameters() init.reset_affine(self.weight, self.bias) end

function Linear:forward(x, ...)
  no_more(self, ...)
  return (F.linear(x, self.weight, self.bias))
end

function Linear:extra_repr()
  return ("in_features=%d, out_features=%d, bias=%s"):format(self.in_features, self.out_features, repr.bool(self.bias ~= nil))
end

-- Bilinear: y = x1^T A x2 + bias; weight (out_features, in1_features, in2_features).
local Bilinear = Module:subclass("Bilinear")
linear.Bilinear = Bilinear

local parse_bilinear = arguments.signature("Bilinear", "in1_features:int, in2_features:int, out_features:int, bias:bool=true")

function Bilinear:__init(...)
  local in1_features, in2_features, out_features, bias = parse_bilinear(...)
  self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
  self.weight = layer.parameter(out_features, in1_features, in2_features)
  if bias then self.bias = layer.parameter(out_features) else self:register_parameter("bias", nil) end
  self:reset_parameters()
end

function Bilinear:reset_parameters()
  local bound = 1 / math.sqrt(self.in1_features)
  init.uniform_(self.weight, -bound, bound)
  if self.bias ~= nil then init.uniform_(self.bias, -bound, bound) end
end

function Bilinear:forward(x1, x2, ...)
  no_more(self, ...)
  return F.bilinear(x1, x2, self.weight, self.bias)
end

function Bilinear:extra_repr()
  return ("in1_features=%d, in2_features=%d, out_features=%d, bias=%s"):format(
    self.in1_features, self.in2_features, self.out_features, repr.bool(self.bias ~= nil))
end

return linear
