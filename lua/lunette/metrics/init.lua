--- metrics: how good a model is, counted batch by batch.

local each = require("lunette.each")
local arguments = require("lunette.arguments")

local metrics = {Metric = require("lunette.metrics.metric")}
for _, family in ipairs{"classification", "regression", "text"} do
  for name, class in each(require("lunette.metrics." .. family)) do metrics[name] = class end
end

return arguments.strict(metrics, "metrics")
