--- ReduceLROnPlateau: the rates are multiplied by a factor when a metric stops improving.

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local Scheduler = require("lunette.optim.schedule")

local ipairs, max, huge = ipairs, math.max, math.huge

local ReduceLROnPlateau = class.define("optim.lr_scheduler.ReduceLROnPlateau", {
  parent = Scheduler,
  doc = "After `patience` epochs in which the metric given to step is no better (lower for \"min\") than the best so far, by more than `threshold` (a part of it for "
    .. "\"rel\"), every rate is multiplied by `factor`, not below `min_lr` (a number, or one for each group) and not by changes of `eps` or less; then `cooldown` "
    .. "epochs do not count.",
  takes = "optimizer:any, mode:enum(min|max)=min, factor:number<1=0.1, patience:int>=0=10, threshold:number=1e-4, threshold_mode:enum(rel|abs)=rel, "
    .. "cooldown:int>=0=0, min_lr:number|table=0, eps:number=1e-8",
})
ReduceLROnPlateau.saved = {
  "last_epoch", "last_lr", "mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps", "best", "cooldown_counter",
  "num_bad_epochs",
}

local parse_step = arguments.signature("ReduceLROnPlateau:step", "metrics:number|tensor")

function ReduceLROnPlateau:__init(...)
  local optimizer
  optimizer, self.mode, self.factor, self.patience, self.threshold, self.threshold_mode, self.cooldown, self.min_lr, self.eps = ReduceLROnPlateau.__parse(...)
  self:attach(optimizer)
  self.min_lr = self:for_groups("min_lr", self.min_lr)
  self.last_epoch, self.cooldown_counter, self.num_bad_epochs = 0, 0, 0
  self.best = self.mode == "min" and huge or -huge
  self:note_rates()
end

local function is_better(self, value)
  local relative, best, threshold = self.threshold_mode == "rel", self.best, self.threshold
  if self.mode == "min" then return value < (relative and best * (1 - threshold) or best - threshold) end
  return value > (relative and best * (1 + threshold) or best + threshold)
end

local function reduce(self)
  for i, group in ipairs(self.optimizer.param_groups) do
    local lr = max(group.lr * self.factor, self.min_lr[i] or self:refuse("min_lr has no entry for group %d, which was added later", i))
    if group.lr - lr > self.eps then group.lr = lr end
  end
end

--- step(metrics): once an epoch, with the number that is watched (or a tensor of one element).
function ReduceLROnPlateau:step(...)
  class.check_self(self, ReduceLROnPlateau, "step")
  local value = parse_step(...)
  if type(value) ~= "number" then value = value:item() end
  self.last_epoch = self.last_epoch + 1
  if is_better(self, value) then
    self.best, self.num_bad_epochs = value, 0
  else
    self.num_bad_epochs = self.num_bad_epochs + 1
  end
  if self.cooldown_counter > 0 then self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0 end
  if self.num_bad_epochs > self.patience then
    reduce(self)
    self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
  end
  self:note_rates()
end

return ReduceLROnPlateau
