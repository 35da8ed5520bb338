--- Metric: the base of what is counted over many batches.
--
--     local accuracy = lt.metrics.Accuracy()
--     for x, y in loader do accuracy:update(net(x), y) end
--     print(accuracy:compute())
--
-- A subclass has reset(), update(...) and compute(); update takes what a network gives and what is right. Nothing of it is recorded for gradients.

local class = require("lunette.class")
local errors = require("lunette.errors")

local Metric = class.define("metrics.Metric", {
  doc = "The base of metrics: a subclass has reset(), update(output, target) and compute().",
  takes = "",
})

function Metric:__init() self:reset() end

--- Forgets what was counted.
function Metric.reset() end

--- Counts a batch.
function Metric:update() self:refuse("the class has no update") end

--- What all batches since the last reset give; an error when there were none.
function Metric:compute() self:refuse("the class has no compute") end

--- An error that names the metric.
function Metric:refuse(text, ...) errors.fail(("%s: %s"):format(self.class.__name, text:format(...))) end

--- Refuses to compute from nothing.
function Metric:need(count)
  if count == 0 then self:refuse("nothing was counted yet; call update first") end
end

return Metric
