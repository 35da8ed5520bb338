--- optim: optimizers, and optim.lr_scheduler.

local arguments = require("lunette.arguments")
local adam = require("lunette.optim.adam")

local optim = {
  Optimizer = require("lunette.optim.optimizer"),
  SGD = require("lunette.optim.sgd"),
  Adam = adam.Adam,
  AdamW = adam.AdamW,
  lr_scheduler = require("lunette.optim.lr_scheduler"),
}

return arguments.strict(optim, "optim")
