--- Learning rate schedules: they set the `lr` of an optimizer's groups, one step an epoch.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local object = require("lunette.nn.object")
local Optimizer = require("lunette.optim.optimizer")

local fail, describe = arguments.fail, arguments.describe

local lr_scheduler = {}

-- What schedules share: the counting, initial_lr and base_lrs. A schedule gives next_lr(group, i).
local Scheduler = object.class("LRScheduler")
Scheduler.subclass = object.subclass
lr_scheduler.LRScheduler = Scheduler

--- last_epoch: -1 to begin, else the epoch after which an earlier schedule of this optimizer goes on.
function Scheduler:setup(optimizer, last_epoch)
  local name = self.class.__name
  if not object.isinstance(optimizer, Optimizer) then fail(("%s: an optimizer is needed, not %s"):format(name, describe(optimizer))) end
  if last_epoch < -1 then fail(("%s: last_epoch must be at least -1, not %d"):format(name, last_epoch)) end
  self.optimizer, self.last_epoch, self.base_lrs = optimizer, last_epoch, {}
  for i, group in ipairs(optimizer.param_groups) do
    if last_epoch == -1 then group.initial_lr = group.lr end
    if not group.initial_lr then
      fail(("%s: param_groups[%d] has no initial_lr to resume from; load the optimizer's state dict first, or leave last_epoch out"):format(name, i))
    end
    self.base_lrs[i] = group.initial_lr
  end
  self:step()
end

--- Once an epoch, after the optimizer's steps.
function Scheduler:step()
  object.check_self(self, Scheduler, "step")
  self.last_epoch = self.last_epoch + 1
  self.last_lr = {}
  for i, group in ipairs(self.optimizer.param_groups) do
    group.lr = self:next_lr(group, i)
    self.last_lr[i] = group.lr
  end
end

--- The rates in use, one for each group.
function Scheduler:get_last_lr()
  object.check_self(self, Scheduler, "get_last_lr")
  local out = {}
  for i, lr in ipairs(self.last_lr) do out[i] = lr end
  return out
end

local function copy_of(value)
  return type(value) == "table" and {unpack(value)} or value
end

-- The fields of a state dict: what all schedules keep, and what the class names in `saved`.
local function fields_of(self)
  local names = {"last_epoch", "base_lrs", "last_lr"}
  for _, name in ipairs(self.saved or {}) do names[#names + 1] = name end
  return names
end

--- The plain fields by name; `saved` of a class lists its own.
function Scheduler:state_dict()
  object.check_self(self, Scheduler, "state_dict")
  local out = {}
  for _, name in ipairs(fields_of(self)) do out[name] = copy_of(self[name]) end
  return out
end

local function check_field(self, name, value)
  local own = self[name]
  local good = type(value) == type(own) and (type(value) ~= "table" or #value == #own)
  if not good then
    local wanted = type(own) == "table" and ("an array of %d numbers"):format(#own) or "a " .. type(own)
    fail(("%s: %s in the state dict must be %s, not %s"):format(self.class.__name, name, wanted, describe(value)))
  end
end

--- Takes over the fields of a state dict; when anything is wrong, none.
function Scheduler:load_state_dict(state_dict)
  object.check_self(self, Scheduler, "load_state_dict")
  if type(state_dict) ~= "table" then
    fail(("%s: load_state_dict takes what state_dict returned, not %s"):format(self.class.__name, describe(state_dict)))
  end
  local names, known = fields_of(self), {}
  for _, name in ipairs(names) do
    known[name] = true
    check_field(self, name, state_dict[name])
  end
  for name in each(state_dict) do
    if not known[name] then fail(("%s: the state dict has an unknown field '%s'%s"):format(self.class.__name, tostring(name), arguments.hint(name, names))) end
  end
  for _, name in ipairs(names) do self[name] = copy_of(state_dict[name]) end
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

return arguments.strict(lr_scheduler, "optim.lr_scheduler")
