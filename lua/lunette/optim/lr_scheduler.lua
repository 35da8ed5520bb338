--- Learning rate schedules: they set the `lr` of an optimizer's groups, one step an epoch, or one a batch for CyclicLR and OneCycleLR.
--
-- As in PyTorch the rates follow from those of the step before where a formula allows it, so that what changes `lr` in between persists and
-- schedules of one optimizer multiply.

local arguments = require("lunette.arguments")
local Scheduler = require("lunette.optim.schedule")
local combined = require("lunette.optim.combined")
local plateau = require("lunette.optim.plateau")

local cos, floor, log, pi = math.cos, math.floor, math.log, math.pi
local ipairs = ipairs

local lr_scheduler = {LRScheduler = Scheduler, ReduceLROnPlateau = plateau}
for _, name in ipairs{"ChainedScheduler", "SequentialLR"} do lr_scheduler[name] = combined[name] end

local function schedule(name, doc, signature, saved, methods) lr_scheduler[name] = Scheduler.declare(name, doc, signature, saved, methods) end

local function lambdas(self) self.lr_lambda = self:for_groups("lr_lambda", self.lr_lambda) end

schedule("LambdaLR", "The initial rate times lr_lambda(epoch), a function or an array of them, one for each group.",
  "lr_lambda:function|table", {}, {
  prepare = lambdas,
  next_lr = function(self, _, i) return self.base_lrs[i] * self.lr_lambda[i](self.last_epoch) end,
})

schedule("MultiplicativeLR", "lr is multiplied by lr_lambda(epoch) each epoch.",
  "lr_lambda:function|table", {}, {
  prepare = lambdas,
  next_lr = function(self, group, i) return self.initial and group.lr or group.lr * self.lr_lambda[i](self.last_epoch) end,
})

schedule("StepLR", "lr is multiplied by gamma every step_size epochs.",
  "step_size:int>=1, gamma:number=0.1", {"step_size", "gamma"}, {
  chains = true,
  next_lr = function(self, group)
    if self.last_epoch == 0 or self.last_epoch % self.step_size ~= 0 then return group.lr end
    return group.lr * self.gamma
  end,
})

schedule("MultiStepLR", "lr is multiplied by gamma at each of the milestones, once more for one that is named twice.",
  "milestones:ints>=0, gamma:number=0.1", {"milestones", "gamma"}, {
  chains = true,
  prepare = function(self)
    local list = {}
    for i, epoch in ipairs(type(self.milestones) == "table" and self.milestones or {self.milestones}) do list[i] = epoch end
    self.milestones = list
  end,
  next_lr = function(self, group)
    local times = 0
    for _, epoch in ipairs(self.milestones) do times = times + (epoch == self.last_epoch and 1 or 0) end
    return group.lr * self.gamma ^ times
  end,
})

schedule("ConstantLR", "lr is multiplied by factor until total_iters epochs are over.",
  "factor:number[0,1]=0.3333333333333333, total_iters:int>=0=5", {"factor", "total_iters"}, {
  chains = true,
  next_lr = function(self, group, i)
    if self.last_epoch == 0 then return group.lr * self.factor end
    if self.last_epoch ~= self.total_iters then return group.lr end
    return self.factor == 0 and self.base_lrs[i] or group.lr * (1 / self.factor)
  end,
})

schedule("LinearLR", "The factor of lr goes in a line from start_factor to end_factor, in total_iters epochs.",
  "start_factor:number(0,1]=0.3333333333333333, end_factor:number[0,1]=1, total_iters:int>=0=5",
  {"start_factor", "end_factor", "total_iters"}, {
    chains = true,
    next_lr = function(self, group)
      local epoch, total, rise = self.last_epoch, self.total_iters, self.end_factor - self.start_factor
      if epoch == 0 then return group.lr * self.start_factor end
      if self.initial or epoch > total then return group.lr end
      return group.lr * (1 + rise / (total * self.start_factor + (epoch - 1) * rise))
    end,
  })

schedule("ExponentialLR", "lr is multiplied by gamma each epoch.",
  "gamma:number", {"gamma"}, {
  chains = true,
  next_lr = function(self, group) return self.initial and group.lr or group.lr * self.gamma end,
})

schedule("PolynomialLR", "lr falls to 0 in total_iters epochs, as (1 - epoch / total_iters) ^ power.",
  "total_iters:int>=1=5, power:number=1", {"total_iters", "power"}, {
  chains = true,
  next_lr = function(self, group)
    local epoch, total = self.last_epoch, self.total_iters
    if self.initial or epoch > total then return group.lr end
    return group.lr * ((1 - epoch / total) / (1 - (epoch - 1) / total)) ^ self.power
  end,
})

schedule("CosineAnnealingLR", "lr falls to eta_min along a half cosine of T_max epochs, and rises again (Loshchilov and Hutter, 2017, without restarts).",
  "T_max:int>=1, eta_min:number=0", {"T_max", "eta_min"}, {
  chains = true,
  next_lr = function(self, group, i)
    local epoch, period, low, base = self.last_epoch, self.T_max, self.eta_min, self.base_lrs[i]
    if self.initial then return group.lr end
    if self.step_count == 1 and epoch > 0 then return low + (base - low) * (1 + cos(epoch * pi / period)) / 2 end
    if (epoch - 1 - period) % (2 * period) == 0 then return group.lr + (base - low) * (1 - cos(pi / period)) / 2 end
    return (1 + cos(pi * epoch / period)) / (1 + cos(pi * (epoch - 1) / period)) * (group.lr - low) + low
  end,
})

local parse_epoch = arguments.signature("CosineAnnealingWarmRestarts:step", "epoch:number>=0?")

schedule("CosineAnnealingWarmRestarts", "A half cosine of T_0 epochs, then one T_mult times as long, and so on. step(epoch) goes to any epoch, a fraction for one between "
    .. "two (Loshchilov and Hutter, 2017).",
  "T_0:int>=1, T_mult:int>=1=1, eta_min:number=0", {"T_0", "T_mult", "eta_min", "T_i", "T_cur"}, {
  prepare = function(self, last_epoch) self.T_i, self.T_cur = self.T_0, last_epoch end,
  next_lr = function(self, _, i)
    return self.eta_min + (self.base_lrs[i] - self.eta_min) * (1 + cos(pi * self.T_cur / self.T_i)) / 2
  end,
  step = function(self, ...)
    local epoch = parse_epoch(...)
    if epoch == nil and self.last_epoch < 0 then epoch = 0 end
    if epoch == nil then
      epoch, self.T_cur = self.last_epoch + 1, self.T_cur + 1
      if self.T_cur >= self.T_i then self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult end
    else
      local first, times = self.T_0, self.T_mult
      local n = times > 1 and floor(log(epoch / first * (times - 1) + 1) / log(times)) or 0
      self.T_i = first * times ^ n
      self.T_cur = times > 1 and epoch - first * (times ^ n - 1) / (times - 1) or epoch % first
    end
    self.step_count = self.step_count + 1
    self:go_to(floor(epoch))
  end,
})

-- The momentum of a group: its `momentum`, or the first of its `betas`.
local function set_momentum(group, value)
  if group.betas then group.betas = {value, group.betas[2]} else group.momentum = value end
end

-- Notes the range of the momentum in each group, as resuming needs it there.
local function prepare_momentum(self, last_epoch)
  if not self.cycle_momentum then return end
  local defaults = self.optimizer.defaults
  if defaults.momentum == nil and defaults.betas == nil then
    self:refuse("cycle_momentum needs an optimizer with momentum or betas; cycle_momentum = false leaves it alone")
  end
  local low, high = self:for_groups("base_momentum", self.base_momentum), self:for_groups("max_momentum", self.max_momentum)
  if last_epoch ~= -1 then return end
  for i, group in ipairs(self.optimizer.param_groups) do
    group.base_momentum, group.max_momentum = low[i], high[i]
    set_momentum(group, high[i])
  end
end

local scales = {
  triangular = function() return 1 end,
  triangular2 = function(_, cycle) return 0.5 ^ (cycle - 1) end,
  exp_range = function(self) return self.gamma ^ self.last_epoch end,
}

-- How high the cycle stands, from 0 to 1, times its scale.
local function cycle_height(self)
  local turns = self.last_epoch / self.total_size
  local cycle = floor(1 + turns)
  local x = 1 + turns - cycle
  local height = x <= self.step_ratio and x / self.step_ratio or (x - 1) / (self.step_ratio - 1)
  if self.scale_fn then return height * self.scale_fn(self.scale_mode == "cycle" and cycle or self.last_epoch) end
  return height * scales[self.mode](self, cycle)
end

schedule("CyclicLR", "lr goes from base_lr to max_lr in step_size_up batches and back in step_size_down, momentum the other way. The height of a cycle is "
    .. "kept (triangular), halved each time (triangular2), gamma ^ batch (exp_range), or scale_fn(cycle or batch, by scale_mode) (Smith, "
    .. "2017).",
  "base_lr:number|table, max_lr:number|table, step_size_up:number>0=2000, step_size_down:number>0?, "
  .. "mode:enum(triangular|triangular2|exp_range)=triangular, gamma:number=1, scale_fn:function?, scale_mode:enum(cycle|iterations)=cycle, "
  .. "cycle_momentum:bool=true, base_momentum:number|table=0.8, max_momentum:number|table=0.9",
  {"total_size", "step_ratio", "mode", "gamma", "scale_mode", "cycle_momentum", "base_lr", "max_lr"}, {
    prepare = function(self, last_epoch)
      local up = self.step_size_up
      self.total_size = up + (self.step_size_down or up)
      self.step_ratio = up / self.total_size
      self.base_lr, self.max_lr = self:for_groups("base_lr", self.base_lr), self:for_groups("max_lr", self.max_lr)
      if last_epoch == -1 then
        for i, group in ipairs(self.optimizer.param_groups) do group.lr = self.base_lr[i] end
      end
      prepare_momentum(self, last_epoch)
    end,
    get_lr = function(self)
      local rates, height = {}, cycle_height(self)
      for i, group in ipairs(self.optimizer.param_groups) do
        rates[i] = self.base_lr[i] + (self.max_lr[i] - self.base_lr[i]) * height
        if self.cycle_momentum then set_momentum(group, group.max_momentum - (group.max_momentum - group.base_momentum) * height) end
      end
      return rates
    end,
  })

local anneal = {
  cos = function(from, to, part) return to + (from - to) / 2 * (cos(pi * part) + 1) end,
  linear = function(from, to, part) return from + (to - from) * part end,
}

-- The phases of OneCycleLR: where each ends, and between which fields of a group rate and momentum go.
local function phases_of(self)
  local up, total = self.pct_start * self.total_steps - 1, self.total_steps
  local rise = {up, "initial_lr", "max_lr", "max_momentum", "base_momentum"}
  if not self.three_phase then return {rise, {total - 1, "max_lr", "min_lr", "base_momentum", "max_momentum"}} end
  return {
    rise, {2 * self.pct_start * total - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"},
    {total - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"},
  }
end

-- The phase of an epoch, and which part of it is over.
local function phase_at(phases, epoch)
  local from = 0
  for i, phase in ipairs(phases) do
    if epoch <= phase[1] or i == #phases then return phase, (epoch - from) / (phase[1] - from) end
    from = phase[1]
  end
end

schedule("OneCycleLR", "One cycle over all batches: lr rises from max_lr / div_factor to max_lr in the first pct_start of them and falls to the "
    .. "final_div_factor'th part of where it began; momentum goes the other way (Smith and Topin, 2018).",
  "max_lr:number|table, total_steps:int>=1?, epochs:int>=1?, steps_per_epoch:int>=1?, pct_start:number[0,1]=0.3, "
  .. "anneal_strategy:enum(cos|linear)=cos, cycle_momentum:bool=true, base_momentum:number|table=0.85, max_momentum:number|table=0.95, "
  .. "div_factor:number>0=25, final_div_factor:number>0=1e4, three_phase:bool=false",
  {"total_steps", "pct_start", "anneal_strategy", "cycle_momentum", "three_phase"}, {
    prepare = function(self, last_epoch)
      if not self.total_steps then
        if not (self.epochs and self.steps_per_epoch) then self:refuse("total_steps is needed, or both epochs and steps_per_epoch") end
        self.total_steps = self.epochs * self.steps_per_epoch
      end
      local highest = self:for_groups("max_lr", self.max_lr)
      if last_epoch == -1 then
        for i, group in ipairs(self.optimizer.param_groups) do
          group.initial_lr, group.max_lr = highest[i] / self.div_factor, highest[i]
          group.min_lr = group.initial_lr / self.final_div_factor
        end
      end
      prepare_momentum(self, last_epoch)
    end,
    get_lr = function(self)
      if self.last_epoch > self.total_steps then
        self:refuse("step %d is asked for, but the cycle was made for total_steps = %d", self.last_epoch, self.total_steps)
      end
      local between, rates = anneal[self.anneal_strategy], {}
      local phase, part = phase_at(phases_of(self), self.last_epoch)
      for i, group in ipairs(self.optimizer.param_groups) do
        rates[i] = between(group[phase[2]], group[phase[3]], part)
        if self.cycle_momentum then set_momentum(group, between(group[phase[4]], group[phase[5]], part)) end
      end
      return rates
    end,
  })

return arguments.strict(lr_scheduler, "optim.lr_scheduler")
