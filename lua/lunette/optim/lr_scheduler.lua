--- Learning rate schedules: they set the `lr` of an optimizer's groups, one step an epoch.

local arguments = require("lunette.arguments")
local object = require("lunette.nn.object")
local Optimizer = require("lunette.optim.optimizer")

local fail = arguments.fail

local lr_scheduler = {}

-- What schedules share: the counting, initial_lr and base_lrs. A schedule gives next_lr(group, i).
local Scheduler = object.class("LRScheduler")
Scheduler.subclass = object.subclass
lr_scheduler.LRScheduler = Scheduler

function Scheduler:setup(optimizer, last_epoch)
  local name = self.class.__name
  if not object.isinstance(optimizer, Optimizer) then fail(("%s: an optimizer is needed, not %s"):format(name, arguments.describe(optimizer))) end
  self.optimizer, self.last_epoch, self.base_lrs = optimizer, last_epoch, {}
  for i, group in ipairs(optimizer.param_groups) do
    if last_epoch == -1 then group.initial_lr = group.lr end
    if not group.initial_lr then fail(("%s: group %d has no initial_lr to resume from"):format(name, i)) end
    self.base_lrs[i] = group.initial_lr
  end
  self:step()
end

--- Once an epoch, after the optimizer's steps.
function Scheduler:step()
  self.last_epoch = self.last_epoch + 1
  self.last_lr = {}
  for i, group in ipairs(self.optimizer.param_groups) do
    group.lr = self:next_lr(group, i)
    self.last_lr[i] = group.lr
  end
end

--- The rates in use, one for each group.
function Scheduler:get_last_lr()
  local out = {}
  for i, lr in ipairs(self.last_lr) do out[i] = lr end
  return out
end

--- The plain fields by name; `saved` of a schedule lists them.
function Scheduler:state_dict()
  local out = {last_epoch = self.last_epoch, base_lrs = {}, last_lr = self:get_last_lr()}
  for i, lr in ipairs(self.base_lrs) do out.base_lrs[i] = lr end
  for _, name in ipairs(self.saved) do out[name] = self[name] end
  return out
end

function Scheduler:load_state_dict(state_dict)
  if type(state_dict) ~= "table" or type(state_dict.last_epoch) ~= "number" then
    fail(("%s: load_state_dict takes what state_dict returned, not %s"):format(self.class.__name, arguments.describe(state_dict)))
  end
  for name, value in pairs(state_dict) do self[name] = value end
end

-- StepLR: lr is multiplied by gamma every step_size epochs.
local StepLR = Scheduler:subclass("StepLR")
lr_scheduler.StepLR = StepLR
StepLR.saved = {"step_size", "gamma"}

local parse = arguments.signature("StepLR", "optimizer:any, step_size:int, gamma:number=0.1, last_epoch:int=-1")

function StepLR:__init(...)
  local optimizer, step_size, gamma, last_epoch = parse(...)
  if step_size < 1 then fail(("StepLR: step_size must be at least 1, not %d"):format(step_size)) end
  self.step_size, self.gamma = step_size, gamma
  self:setup(optimizer, last_epoch)
end

function StepLR:next_lr(group)
  if self.last_epoch == 0 or self.last_epoch % self.step_size ~= 0 then return group.lr end
  return group.lr * self.gamma
end

return lr_scheduler
