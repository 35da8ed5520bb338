--- Activations: layers that are a function of F with its options kept.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")

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

define("GELU", {of = "gelu"})

define("Tanh", {of = "tanh"})

define("Softmax", {of = "softmax", takes = "dim", text = "dim"})

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
