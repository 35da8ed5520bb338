--- optim: optimizers, and optim.lr_scheduler.

local each = require("lunette.each")
local arguments = require("lunette.arguments")

local optim = {
  Optimizer = require("lunette.optim.optimizer"),
  LBFGS = require("lunette.optim.lbfgs"),
}
for _, classes in ipairs{require("lunette.optim.rules"), require("lunette.optim.matrices")} do
  for name, class in each(classes) do optim[name] = class end
end

return arguments.strict(optim, "optim", {lr_scheduler = "lunette.optim.lr_scheduler", swa_utils = "lunette.optim.swa_utils"})
