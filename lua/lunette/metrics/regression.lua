--- Metrics of regressions: MeanSquaredError, MeanAbsoluteError, R2; and Mean of any numbers.

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local Metric = require("lunette.metrics.metric")

local tostring = tostring

local regression = {}

local function define(name, declaration)
  declaration.parent = Metric
  regression[name] = class.define("metrics." .. name, declaration)
  return regression[name]
end

local parse_update = arguments.signature("update", "output:tensor, target:tensor")

local function pair(self, ...)
  local output, target = parse_update(...)
  if tostring(output.shape) ~= tostring(target.shape) then
    self:refuse("output and target differ in shape: %s and %s", tostring(output.shape), tostring(target.shape))
  end
  return output:detach():double(), target:detach():double()
end

local function mean_of(name, doc, error_of)
  local Class = define(name, {doc = doc, takes = ""})

  function Class:reset() self.sum, self.count = 0, 0 end

  --- Counts a batch: two tensors of one shape.
  function Class:update(...)
    local output, target = pair(self, ...)
    self.sum, self.count = self.sum + error_of(output - target):sum():item(), self.count + target:numel()
  end

  --- The mean over all elements.
  function Class:compute()
    self:need(self.count)
    return self.sum / self.count
  end
end

mean_of("MeanSquaredError", "The mean of (output - target)^2.", function(difference) return difference:square() end)
mean_of("MeanAbsoluteError", "The mean of |output - target|.", function(difference) return difference:abs() end)

local R2 = define("R2", {doc = "The part of the target's variance that the output explains: 1 - sum (output - target)^2 / sum (target - mean)^2.", takes = ""})

function R2:reset() self.errors, self.sum, self.squares, self.count = 0, 0, 0, 0 end

--- Counts a batch: two tensors of one shape.
function R2:update(...)
  local output, target = pair(self, ...)
  self.errors = self.errors + (output - target):square():sum():item()
  self.sum, self.squares = self.sum + target:sum():item(), self.squares + target:square():sum():item()
  self.count = self.count + target:numel()
end

--- At most 1; 0 is what the mean of the targets would reach.
function R2:compute()
  self:need(self.count)
  local spread = self.squares - self.sum * self.sum / self.count
  if spread <= 0 then self:refuse("the targets are all the same") end
  return 1 - self.errors / spread
end

local Mean = define("Mean", {doc = "The mean of numbers, each as often as its weight says.", takes = ""})

local parse_value = arguments.signature("update", "value:number|tensor, weight:number>=0=1")

function Mean:reset() self.sum, self.weight = 0, 0 end

--- Counts a number, or the elements of a tensor.
function Mean:update(...)
  local value, weight = parse_value(...)
  local count = 1
  if type(value) ~= "number" then value, count = value:detach():double():sum():item(), value:numel() end
  self.sum, self.weight = self.sum + weight * value, self.weight + weight * count
end

--- The mean.
function Mean:compute()
  self:need(self.weight)
  return self.sum / self.weight
end

return regression
