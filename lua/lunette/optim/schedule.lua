--- What all learning rate schedules share: the counting, the rates of the groups, state dicts, and how a schedule is declared.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local class = require("lunette.class")
local Optimizer = require("lunette.optim.optimizer")

local describe, ipairs, type = arguments.describe, ipairs, type

local Scheduler = class.define("optim.lr_scheduler.LRScheduler", {
  doc = "LRScheduler(optimizer, last_epoch = -1), what all schedules share: a class of one's own calls it in its __init, after its fields are set, and defines "
    .. "get_lr(self), which returns the rates of the groups. last_epoch: -1 to begin, else the epoch after which an earlier schedule of this optimizer goes on.",
})

--- Raises an error that names the class.
local function refuse(self, format, ...) arguments.fail(("%s: " .. format):format(self.class.__name, ...)) end
Scheduler.refuse = refuse

--- Sets the optimizer, after a look whether it is one.
function Scheduler:attach(optimizer)
  if not class.isinstance(optimizer, Optimizer) then refuse(self, "an optimizer is needed, not %s", describe(optimizer)) end
  self.optimizer = optimizer
end

--- `value` for each group: a number or function is every group's, an array has one entry for each.
function Scheduler:for_groups(name, value)
  local groups, list = self.optimizer.param_groups, {}
  if type(value) == "table" and #value ~= #groups then refuse(self, "%s has %d entries, the optimizer %d groups", name, #value, #groups) end
  for i = 1, #groups do list[i] = type(value) == "table" and value[i] or value end
  for i, entry in ipairs(list) do
    if type(entry) ~= type(list[1]) or type(entry) == "table" then refuse(self, "%s[%d] must be no %s", name, i, describe(entry)) end
  end
  return list
end

--- The rates in use, one for each group.
local function current_rates(self)
  local rates = {}
  for i, group in ipairs(self.optimizer.param_groups) do rates[i] = group.lr end
  return rates
end

--- Notes the rates in use as those of the last step.
function Scheduler:note_rates() self.last_lr = current_rates(self) end

function Scheduler:__init(optimizer, last_epoch)
  last_epoch = last_epoch or -1
  self:attach(optimizer)
  if not arguments.is_int(last_epoch) or last_epoch < -1 then refuse(self, "last_epoch must be a whole number of at least -1, not %s", describe(last_epoch)) end
  self.last_epoch, self.base_lrs = last_epoch, {}
  for i, group in ipairs(optimizer.param_groups) do
    if last_epoch == -1 then group.initial_lr = group.initial_lr or group.lr end
    if not group.initial_lr then
      refuse(self, "param_groups[%d] has no initial_lr to resume from; load the optimizer's state dict first, or leave last_epoch out", i)
    end
    self.base_lrs[i] = group.initial_lr
  end
  self:begin()
end

--- The first step, which a schedule takes when it is made: `self.initial` is true meanwhile.
function Scheduler:begin()
  self.initial, self.step_count = true, 0
  self:step()
  self.initial = false
end

--- The rates of the epoch `last_epoch`, one for each group. As declared here each comes from `next_lr(group, i)`.
function Scheduler:get_lr()
  local rates = {}
  for i, group in ipairs(self.optimizer.param_groups) do rates[i] = self:next_lr(group, i) end
  return rates
end

--- Overridden: completes and checks the fields before the first step.
function Scheduler.prepare() end

--- Overridden: the rate of a group, the i-th from 1, in the epoch `last_epoch`.
function Scheduler:next_lr() refuse(self, "get_lr() is missing: a class of schedules defines it") end

--- Goes to an epoch and sets its rates.
function Scheduler:go_to(epoch)
  self.last_epoch = epoch
  local rates, groups = self:get_lr(), self.optimizer.param_groups
  if type(rates) ~= "table" or #rates ~= #groups then refuse(self, "get_lr() must return an array of %d rates, not %s", #groups, describe(rates)) end
  for i, group in ipairs(groups) do group.lr = rates[i] end
  self:note_rates()
end

--- Begins anew at epoch 0, as SequentialLR asks for. A schedule that `chains`, whose rates follow from those before, begins with the initial ones.
function Scheduler:restart()
  if self.chains then
    for i, group in ipairs(self.optimizer.param_groups) do group.lr = self.base_lrs[i] end
  end
  self.initial = self.chains == true
  self:go_to(0)
  self.initial = false
end

--- Once an epoch (or a batch, for schedules that are made so), after the optimizer's steps.
function Scheduler:step()
  class.check_self(self, Scheduler, "step")
  if self.step_count == 1 and not self.optimizer.stepped then
    io.stderr:write(("warning: %s steps before the optimizer's first step, so the first rate is left out: call optimizer:step() first\n")
      :format(self.class.__name))
  end
  self.step_count = self.step_count + 1
  self:go_to(self.last_epoch + 1)
end

--- The rates in use, one for each group.
function Scheduler:get_last_lr()
  class.check_self(self, Scheduler, "get_last_lr")
  return {unpack(self.last_lr)}
end

-- State dicts ----------------------------------------------------------------------------------------------------------------------------

Scheduler.saved = {"last_epoch", "step_count", "base_lrs", "last_lr"}

local function copy_of(value) return type(value) == "table" and {unpack(value)} or value end

--- The plain fields by name, those that the class lists in `saved`; functions are not among them.
function Scheduler:state_dict()
  class.check_self(self, Scheduler, "state_dict")
  local out = {}
  for _, name in ipairs(self.saved) do out[name] = copy_of(self[name]) end
  return out
end

local function check_field(self, name, value)
  local own = self[name]
  local good = type(value) == type(own) and (type(value) ~= "table" or #value == #own)
  if not good then
    local wanted = type(own) == "table" and ("an array of %d numbers"):format(#own) or "a " .. type(own)
    refuse(self, "%s in the state dict must be %s, not %s", name, wanted, describe(value))
  end
end

--- Takes over the fields of a state dict; when anything is wrong, none.
function Scheduler:load_state_dict(state_dict)
  class.check_self(self, Scheduler, "load_state_dict")
  if type(state_dict) ~= "table" then refuse(self, "load_state_dict takes what state_dict returned, not %s", describe(state_dict)) end
  local known = {}
  for _, name in ipairs(self.saved) do
    known[name] = true
    check_field(self, name, state_dict[name])
  end
  for name in each(state_dict) do
    if not known[name] then refuse(self, "the state dict has an unknown field '%s'%s", tostring(name), arguments.hint(name, self.saved)) end
  end
  for _, name in ipairs(self.saved) do self[name] = copy_of(state_dict[name]) end
end

-- Declarations ---------------------------------------------------------------------------------------------------------------------------

local function appended(first, second)
  local list = {}
  for _, part in ipairs{first, second} do
    for _, entry in ipairs(part) do list[#list + 1] = entry end
  end
  return list
end

--- Declares a schedule: a class below LRScheduler with `methods`, of which `next_lr(self, group, i)` or `get_lr(self)` gives the rates, and
-- `prepare(self, last_epoch)` completes and checks the fields before the first step. `doc` says what it does; `signature` names what stands between
-- `optimizer` and `last_epoch`; each becomes a field. `saved` names the fields of the state dict beside those that all schedules have;
-- `package`, where the class stands, if not in optim.lr_scheduler.
function Scheduler.declare(name, doc, signature, saved, methods, package)
  local text = ("optimizer:any, %s, last_epoch:int>=-1=-1"):format(signature)
  local owner = class.define((package or "optim.lr_scheduler") .. "." .. name, {parent = Scheduler, doc = doc, takes = text})
  for key, method in each(methods) do owner[key] = method end
  owner.saved = appended(Scheduler.saved, saved)
  local names = arguments.read(name, text).names
  local last = #names

  local function fill(self, ...)
    for i = 2, last - 1 do self[names[i]] = (select(i, ...)) end
    local optimizer, last_epoch = (...), (select(last, ...))
    self:attach(optimizer)
    self:prepare(last_epoch)
    Scheduler.__init(self, optimizer, last_epoch)
  end
  function owner:__init(...) fill(self, owner.__parse(...)) end
  return owner
end

return Scheduler
