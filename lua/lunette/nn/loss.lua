--- Losses: layers that are a function of F with its options kept. size_average and reduce are deprecated names for values of reduction.

local declare = require("lunette.nn.declare")
local reduction_of = require("lunette.nn.functional.reduction")

local loss = {}

local Loss = declare.Layer:subclass("_Loss")

function Loss:setup(given)
  self.reduction = reduction_of(given.size_average, given.reduce, given.reduction)
  self.size_average, self.reduce = nil, nil
end

local function define(name, declaration)
  declaration.parent, declaration.input = Loss, "input:tensor, target:tensor"
  loss[name] = declare(name, declaration)
end

define("L1Loss", {of = "l1_loss", takes = "size_average, reduce, reduction, broadcast"})

define("MSELoss", {of = "mse_loss", takes = "size_average, reduce, reduction, broadcast"})

define("NLLLoss", {of = "nll_loss", takes = "weight, size_average, ignore_index, reduce, reduction", buffers = {"weight"}})

define("CrossEntropyLoss", {
  of = "cross_entropy",
  takes = "weight, size_average, ignore_index, reduce, reduction, label_smoothing",
  buffers = {"weight"},
})

return loss
