--- Schedules made of schedules: ChainedScheduler lets all of them step, SequentialLR one after the other.

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local Scheduler = require("lunette.optim.schedule")
local ReduceLROnPlateau = require("lunette.optim.plateau")

local describe, ipairs, rawequal = arguments.describe, ipairs, rawequal

local combined = {}

-- Schedules of one optimizer: the optimizer.
local function checked(self, schedulers, optimizer)
  if #schedulers == 0 then self:refuse("at least one schedule is needed") end
  for i, schedule in ipairs(schedulers) do
    if not class.isinstance(schedule, Scheduler) then self:refuse("schedulers[%d] must be a schedule, not %s", i, describe(schedule)) end
    if class.isinstance(schedule, ReduceLROnPlateau) then self:refuse("schedulers[%d] is a ReduceLROnPlateau, whose step needs a metric", i) end
    optimizer = optimizer or schedule.optimizer
    if not rawequal(schedule.optimizer, optimizer) then self:refuse("schedulers[%d] (%s) belongs to another optimizer", i, schedule.class.__name) end
  end
  return optimizer
end

-- What both share: a state dict with those of the schedules in it.
local Combined, parent = Scheduler:subclass("CombinedScheduler")

function Combined:state_dict()
  local out = parent.state_dict(self)
  out.schedulers = {}
  for i, schedule in ipairs(self.schedulers) do out.schedulers[i] = schedule:state_dict() end
  return out
end

function Combined:load_state_dict(state_dict)
  class.check_self(self, Combined, "load_state_dict")
  local states = type(state_dict) == "table" and state_dict.schedulers
  if type(states) ~= "table" or #states ~= #self.schedulers then
    self:refuse("schedulers in the state dict must be an array of %d state dicts, not %s", #self.schedulers, describe(states))
  end
  local before, own = self:state_dict(), {}
  for _, name in ipairs(self.saved) do own[name] = state_dict[name] end
  parent.load_state_dict(self, own)
  for i, schedule in ipairs(self.schedulers) do
    local ok, message = pcall(schedule.load_state_dict, schedule, states[i])
    if not ok then
      self:load_state_dict(before)
      error(message, 0)
    end
  end
end

local Chained = class.define("optim.lr_scheduler.ChainedScheduler", {
  parent = Combined,
  doc = "Each of the schedules of one optimizer steps, in order, so that their factors multiply.",
  takes = "schedulers:table, optimizer:any?",
})
combined.ChainedScheduler = Chained
Chained.saved = {"last_lr"}

function Chained:__init(...)
  local schedulers, optimizer = Chained.__parse(...)
  self:attach(checked(self, schedulers, optimizer))
  self.schedulers = {unpack(schedulers)}
  self:note_rates()
end

function Chained:step()
  class.check_self(self, Chained, "step")
  for _, schedule in ipairs(self.schedulers) do schedule:step() end
  self:note_rates()
end

function Chained:restart()
  for _, schedule in ipairs(self.schedulers) do schedule:restart() end
  self:note_rates()
end

local Sequential = class.define("optim.lr_scheduler.SequentialLR", {
  parent = Combined,
  doc = "The first schedule steps until the epoch of the first milestone, where the second begins at its epoch 0, and so on.",
  takes = "optimizer:any, schedulers:table, milestones:ints>=1, last_epoch:int>=-1=-1",
})
combined.SequentialLR = Sequential
Sequential.saved = {"last_epoch", "last_lr", "milestones"}

-- Takes back the first steps that the schedules took when they were made.
local function undo(schedule)
  if schedule.schedulers then
    for _, inner in ipairs(schedule.schedulers) do undo(inner) end
  else
    schedule.last_epoch = schedule.last_epoch - 1
  end
end

-- Which schedule steps in an epoch.
local function index_at(self, epoch)
  local index = 1
  for _, milestone in ipairs(self.milestones) do index = index + (milestone <= epoch and 1 or 0) end
  return index
end

function Sequential:__init(...)
  local optimizer, schedulers, milestones, last_epoch = Sequential.__parse(...)
  self:attach(optimizer)
  checked(self, schedulers, optimizer)
  self.schedulers, self.milestones = {unpack(schedulers)}, {}
  for i, epoch in ipairs(type(milestones) == "table" and milestones or {milestones}) do
    if i > 1 and epoch <= self.milestones[i - 1] then self:refuse("milestones must rise, got %d after %d", epoch, self.milestones[i - 1]) end
    self.milestones[i] = epoch
  end
  if #self.milestones ~= #schedulers - 1 then
    self:refuse("%d schedules need %d milestones, got %d", #schedulers, #schedulers - 1, #self.milestones)
  end
  self.last_epoch = last_epoch + 1
  for _, group in ipairs(optimizer.param_groups) do group.lr = group.initial_lr or group.lr end
  for _, schedule in ipairs(self.schedulers) do undo(schedule) end
  self.schedulers[1]:begin()
  self:note_rates()
end

function Sequential:step()
  class.check_self(self, Sequential, "step")
  self.last_epoch = self.last_epoch + 1
  local index = index_at(self, self.last_epoch)
  local schedule = self.schedulers[index]
  if self.milestones[index - 1] == self.last_epoch then schedule:restart() else schedule:step() end
  self:note_rates()
end

function Sequential:restart()
  self.last_epoch = 0
  self.schedulers[1]:restart()
  self:note_rates()
end

return combined
