--- nn.utils: batch normalisation by running statistics folded into the layer before it; layers without starting values.

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local copy = require("lunette.nn.copy")
local define = require("lunette.define")
local internals = require("lunette.nn.internals")
local Parameter = require("lunette.nn.parameter").Parameter

local fail = arguments.fail
local getmetatable, ipairs, rawset = getmetatable, ipairs, rawset

local fusion = {}
local declare = define.into(fusion, "nn.utils")

local WEIGHTS = "W:tensor, b:tensor|none?, bn_rm:tensor, bn_rv:tensor, bn_eps:number, bn_w:tensor|none?, bn_b:tensor|none?"

local function given(value)
  if value ~= nil and arguments.is_tensor(value) then return value end
end

-- Weight and bias of a layer with a batch normalisation after it; `shape` lays the factors of the channels along the weight.
local function fused(weight, bias, mean, var, eps, bn_weight, bn_bias, shape)
  bias, bn_weight, bn_bias = given(bias), given(bn_weight), given(bn_bias)
  local factor = (var + eps):rsqrt()
  if bn_weight ~= nil then factor = factor * bn_weight end
  local new_weight = weight * factor:reshape(shape)
  local new_bias = ((bias ~= nil and bias - mean or -mean) * factor)
  if bn_bias ~= nil then new_bias = new_bias + bn_bias end
  local bias_dtype, wants_grad = weight.dtype, false
  if bias ~= nil then bias_dtype, wants_grad = bias.dtype, bias.requires_grad end
  return Parameter(new_weight:to(weight.dtype), weight.requires_grad), Parameter(new_bias:to(bias_dtype), wants_grad)
end

local function conv_shape(weight, transpose)
  local shape = {}
  for d = 1, #weight.shape do shape[d] = 1 end
  shape[transpose and 2 or 1] = -1
  return shape
end

declare("fuse_conv_bn_weights", {
  doc = "Weight and bias, two parameters, of a convolution that does what one with these and a batch normalisation after it do; b, bn_w, bn_b may be lt.None; transpose: "
    .. "of a transposed convolution.",
  takes = WEIGHTS:gsub("W:", "conv_w:"):gsub(" b:", " conv_b:") .. ", transpose:bool=false",
  several = true,
  call = function(weight, bias, mean, var, eps, bn_weight, bn_bias, transpose)
    return fused(weight, bias, mean, var, eps, bn_weight, bn_bias, conv_shape(weight, transpose))
  end,
})

declare("fuse_linear_bn_weights", {
  doc = "Weight and bias, two parameters, of a linear layer that does what one with these and a batch normalisation after it do; linear_b, bn_w, bn_b may be lt.None.",
  takes = WEIGHTS:gsub("W:", "linear_w:"):gsub(" b:", " linear_b:"),
  several = true,
  call = function(weight, bias, mean, var, eps, bn_weight, bn_bias) return fused(weight, bias, mean, var, eps, bn_weight, bn_bias, {-1, 1}) end,
})

local function check_layers(owner, layer, bn)
  for _, m in ipairs({layer, bn}) do
    if m.training then fail(("%s: only layers in evaluation can be fused, call %s:eval() first"):format(owner, m.class.__name)) end
  end
  if not (arguments.is_tensor(bn.running_mean) and arguments.is_tensor(bn.running_var)) then
    fail(("%s: the batch normalisation must have running_mean and running_var, %s has none"):format(owner, tostring(bn)))
  end
  if layer.weight == nil then fail(("%s: a layer with a weight is needed, not %s"):format(owner, tostring(layer))) end
end

local function check_channels(owner, channels, bn, one)
  if channels ~= bn.num_features and not (one and bn.num_features == 1) then
    fail(("%s: the layer has %d channels after it, the batch normalisation %d"):format(owner, channels, bn.num_features))
  end
end

-- A copy of `layer` with other weights.
local function with_weights(layer, weight, bias)
  local new = copy.deepcopy(layer)
  new.weight = weight
  new.bias = bias
  return new
end

declare("fuse_conv_bn_eval", {
  doc = "A copy of a convolution that does what it and the batch normalisation after it do, both in evaluation; transpose: of a transposed convolution.",
  takes = "conv:module, bn:module, transpose:bool=false",
  call = function(conv, bn, transpose)
    check_layers("fuse_conv_bn_eval", conv, bn)
    check_channels("fuse_conv_bn_eval", conv.out_channels, bn)
    return with_weights(conv, fused(conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, conv_shape(conv.weight, transpose)))
  end,
  example = "> conv, bn = nn.Conv2d(1, 4, 3):eval(), nn.BatchNorm2d(4):eval()\n> x = lt.randn(2, 1, 5, 5)\n"
    .. "> lt.allclose(nn.utils.fuse_conv_bn_eval(conv, bn)(x), bn(conv(x)), {atol = 1e-6})\ntrue",
})

declare("fuse_linear_bn_eval", {
  doc = "A copy of a linear layer that does what it and the batch normalisation after it do, both in evaluation.",
  takes = "linear:module, bn:module",
  call = function(linear, bn)
    check_layers("fuse_linear_bn_eval", linear, bn)
    check_channels("fuse_linear_bn_eval", linear.out_features, bn, true)
    return with_weights(linear, fused(linear.weight, linear.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, {-1, 1}))
  end,
  example = "> linear, bn = nn.Linear(3, 4):eval(), nn.BatchNorm1d(4):eval()\n> x = lt.randn(2, 3)\n"
    .. "> lt.allclose(nn.utils.fuse_linear_bn_eval(linear, bn)(x), bn(linear(x)), {atol = 1e-6})\ntrue",
})

-- Without starting values ------------------------------------------------------------------------------------------------------------------

local function no_start() end

--- A module of a class of layers whose parameters hold what the memory held: for those that are loaded anyway. What follows the class are the constructor's
--- arguments.
function fusion.skip_init(module_cls, ...)
  if not class.is_class(module_cls) or not class.descends(module_cls, internals.Module) then
    fail(("skip_init: a class of modules is needed, such as nn.Linear, not %s"):format(arguments.describe(module_cls)))
  end
  if not module_cls.reset_parameters then fail(("skip_init: %s gives no starting values that could be left out"):format(module_cls.__name)) end
  local m = internals.allocate(module_cls)
  local fields = getmetatable(m).__index
  rawset(fields, "reset_parameters", no_start)
  module_cls.__init(m, ...)
  rawset(fields, "reset_parameters", nil)
  return m
end

return fusion
