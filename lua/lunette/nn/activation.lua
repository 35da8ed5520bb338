--- Activations: layers that are a function of F with its options kept.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local F = require("lunette.nn.functional")

local activation = {}

local function define(name, declaration) activation[name] = declare(name, declaration) end

define("ReLU", {of = "relu", takes = "inplace", text = "inplace?"})

define("ReLU6", {of = "relu6", takes = "inplace", text = "inplace?"})

define("LeakyReLU", {of = "leaky_relu", takes = "negative_slope, inplace", text = "negative_slope inplace?"})

define("ELU", {of = "elu", takes = "alpha, inplace", text = "alpha inplace?"})

define("Threshold", {of = "threshold", takes = "threshold, value, inplace", text = "threshold value inplace?"})

define("Softplus", {of = "softplus", takes = "beta, threshold", text = "beta threshold"})

define("Sigmoid", {of = "sigmoid"})

define("LogSigmoid", {of = "logsigmoid"})

define("SiLU", {of = "silu", takes = "inplace", text = "inplace?"})

define("GELU", {of = "gelu", takes = "approximate", text = "'approximate'"})

define("SELU", {of = "selu", takes = "inplace", text = "inplace?"})

define("Mish", {of = "mish", takes = "inplace", text = "inplace?"})

define("Hardsigmoid", {of = "hardsigmoid", takes = "inplace"})

define("Hardswish", {of = "hardswish", takes = "inplace"})

define("CELU", {of = "celu", takes = "alpha, inplace", text = "alpha inplace?"})

define("Softsign", {of = "softsign"})

define("Tanhshrink", {of = "tanhshrink"})

define("Hardshrink", {of = "hardshrink", takes = "lambd", text = "!lambd"})

define("Softshrink", {of = "softshrink", takes = "lambd", text = "!lambd"})

define("GLU", {of = "glu", takes = "dim", text = "dim"})

define("PReLU", {
  of = "prelu", takes = "num_parameters:int>0=1, init:number=0.25", parameters = {"weight(num_parameters) = init"}, text = "num_parameters",
})

define("RReLU", {of = "rrelu", takes = "lower, upper, inplace", text = "lower upper inplace?"})

define("Tanh", {of = "tanh"})

define("Softmax", {of = "softmax", takes = "dim", text = "dim"})

define("Softmin", {of = "softmin", takes = "dim", text = "dim"})

define("Softmax2d", {doc = "The softmax over the channels of [N, C, H, W] or [C, H, W]."})

function activation.Softmax2d:forward(input)
  local n = input._p.ndim
  if n ~= 3 and n ~= 4 then arguments.fail("Softmax2d: input must have 3 or 4 dimensions, got shape " .. tostring(input.shape)) end
  return (F.softmax(input, -3))
end

define("LogSoftmax", {of = "log_softmax", takes = "dim", text = "dim"})

-- min_value and max_value are the deprecated names of min_val and max_val.
define("Hardtanh", {
  of = "hardtanh",
  takes = "min_val, max_val, inplace, min_value:number?, max_value:number?",
  text = "min_val max_val inplace?",
})

function activation.Hardtanh:setup(given)
  self.min_val, self.max_val = given.min_value or given.min_val, given.max_value or given.max_val
  self.min_value, self.max_value = nil, nil
  if self.min_val >= self.max_val then
    arguments.fail(("Hardtanh: min_val %s must be below max_val %s"):format(tostring(self.min_val), tostring(self.max_val)))
  end
end

return activation
