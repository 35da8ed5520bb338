--- Schedules: their rates, going on from a state dict or an epoch, wrong calls.

local lt = require("lunette")
local nn, optim = lt.nn, lt.optim
local child = require("spec.child")
local StepLR = optim.lr_scheduler.StepLR

local function sgd(lr) return optim.SGD({nn.Parameter(lt.ones(1))}, {lr = lr}) end

local function rates(schedule, n)
  local list = {}
  for i = 1, n do
    list[i] = schedule:get_last_lr()[1]
    schedule.optimizer:step()
    schedule:step()
  end
  return list
end

local function refused(part, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(message:find(part, 1, true), message)
end

describe("StepLR", function()
  it("multiplies the rate every step_size epochs", function()
    local opt = sgd(8)
    local schedule = StepLR(opt, {step_size = 3, gamma = 0.5})
    assert.are.same({8, 8, 8, 4, 4, 4, 2}, rates(schedule, 7))
  end)

  it("goes on from a state dict", function()
    local opt = sgd(1)
    local schedule = StepLR(opt, 2, 0.1)
    opt:step()
    schedule:step()
    local saved = schedule:state_dict()
    assert.are.same({last_epoch = 1, step_count = 2, base_lrs = {1}, last_lr = {1}, step_size = 2, gamma = 0.1}, saved)
    local other = StepLR(opt, 5, 0.5)
    other:load_state_dict(saved)
    other:step()
    assert.are.same({0.1}, other:get_last_lr())
    assert.are.equal(0.1, opt.param_groups[1].lr)
    assert.are.same({1}, saved.last_lr)
  end)

  it("goes on after an epoch that is named, with the rates that the optimizer loaded", function()
    local reference = rates(StepLR(sgd(8), {step_size = 3, gamma = 0.5}), 8)
    local opt = sgd(8)
    local schedule = StepLR(opt, {step_size = 3, gamma = 0.5})
    opt:step()
    for _ = 1, 4 do schedule:step() end
    local fresh = sgd(100)
    fresh:load_state_dict(opt:state_dict())
    local resumed = StepLR(fresh, {step_size = 3, gamma = 0.5, last_epoch = schedule.last_epoch})
    assert.are.equal(5, resumed.last_epoch)
    assert.are.same({8}, resumed.base_lrs)
    assert.are.same({unpack(reference, 6, 8)}, rates(resumed, 3))
  end)

  it("needs rates to go on from", function()
    refused("StepLR: param_groups[1] has no initial_lr to resume from", StepLR, sgd(1), {step_size = 1, last_epoch = 3})
    refused("StepLR: argument 'last_epoch' must be a whole number of at least -1, got -2", StepLR, sgd(1), {step_size = 1, last_epoch = -2})
  end)

  it("refuses wrong arguments", function()
    refused("StepLR: argument 'step_size' must be a whole number of at least 1, got 0", StepLR, sgd(1), 0)
    refused("StepLR: an optimizer is needed, not 3", StepLR, 3, 1)
  end)

  it("refuses a state dict that is none of its own, and keeps its state", function()
    local schedule = StepLR(sgd(1), 2)
    local function loaded(changes)
      return function() schedule:load_state_dict(lt.merge(schedule:state_dict(), changes)) end
    end
    refused("load_state_dict takes what state_dict returned, not 7", function() schedule:load_state_dict(7) end)
    refused("StepLR: last_epoch in the state dict must be a number, not the string", loaded{last_epoch = "one"})
    refused("StepLR: base_lrs in the state dict must be an array of 1 numbers, not the array {1, 2}", loaded{base_lrs = {1, 2}})
    refused("StepLR: the state dict has an unknown field 'gama'; did you mean 'gamma'?", loaded{gama = 1})
    refused("StepLR: the state dict has an unknown field 'step'", loaded{step = 1})
    refused("step_size in the state dict must be a number, not nil", function()
      schedule:load_state_dict{last_epoch = 1, step_count = 2, base_lrs = {1}, last_lr = {1}}
    end)
    assert.are.equal(0, schedule.last_epoch)
  end)

  it("says that methods take a colon", function()
    local schedule = StepLR(sgd(1), 2)
    refused("step is a method of LRScheduler, called with a colon", function() schedule.step() end)
    refused("get_last_lr is a method of LRScheduler, called with a colon", function() schedule.get_last_lr() end)
  end)
end)

-- Two groups with rates 1 and 0.25, as the fixtures have them.
local function optimizer(kind)
  local a, b = nn.Parameter(lt.ones(1)), nn.Parameter(lt.ones(1))
  return optim[kind]({{params = {a}}, {params = {b}, lr = 0.25}}, kind == "SGD" and {lr = 1, momentum = 0.9} or {lr = 1})
end

local function check_groups(case, k, opt)
  for g, group in ipairs(opt.param_groups) do
    local rate, momentum = group.lr, group.betas and group.betas[1] or group.momentum
    local near = math.abs(rate - case.rates[k][g]) <= 1e-12 and math.abs(momentum - case.momenta[k][g]) <= 1e-12
    if not near then
      error(("step %d, group %d: lr %.17g, momentum %.17g, expected %.17g and %.17g"):format(k, g, rate, momentum, case.rates[k][g], case.momenta[k][g]))
    end
  end
end

-- Steps as the fixtures were made: rates and momenta before each step.
local function follow(case, opt, step)
  for k = 1, #case.rates do
    check_groups(case, k, opt)
    opt:step()
    step(k)
  end
end

local fixtures = dofile("spec/fixtures/schedules.lua")

local function words(case)
  local list = {}
  for name, value in pairs(case.options) do
    list[#list + 1] = name .. " = " .. (type(value) == "table" and "{...}" or type(value) == "function" and "f" or tostring(value))
  end
  table.sort(list)
  return ("%s{%s} of %s"):format(case.name or "ReduceLROnPlateau", table.concat(list, ", "), case.optimizer)
end

describe("each schedule gives PyTorch's rates and momenta:", function()
  for _, case in ipairs(fixtures.schedules) do
    it(words(case), function()
      local opt = optimizer(case.optimizer)
      local schedule = optim.lr_scheduler[case.name](opt, case.options)
      follow(case, opt, function() schedule:step() end)
    end)

    -- Saved after 10 steps, with the optimizer, and taken over by new objects.
    it(words(case) .. ", resumed", function()
      local opt = optimizer(case.optimizer)
      local schedule = optim.lr_scheduler[case.name](opt, case.options)
      for _ = 1, 10 do
        opt:step()
        schedule:step()
      end
      local fresh = optimizer(case.optimizer)
      local resumed = optim.lr_scheduler[case.name](fresh, case.options)
      fresh:load_state_dict(opt:state_dict())
      resumed:load_state_dict(schedule:state_dict())
      for k = 11, #case.rates do
        check_groups(case, k, fresh)
        fresh:step()
        resumed:step()
      end
    end)
  end

  for _, case in ipairs(fixtures.plateau) do
    it(words(case), function()
      local opt = optimizer(case.optimizer)
      local schedule = optim.lr_scheduler.ReduceLROnPlateau(opt, case.options)
      follow(case, opt, function(k) schedule:step(k % 2 == 0 and case.metrics[k] or lt.tensor(case.metrics[k], {dtype = "float64"})) end)
    end)
  end

  for _, kind in ipairs{"SGD", "Adam"} do
    it("ChainedScheduler of " .. kind, function()
      local opt, all = optimizer(kind), optim.lr_scheduler
      local schedule = all.ChainedScheduler{all.ConstantLR(opt, 0.5, 4), all.ExponentialLR(opt, 0.9)}
      follow(fixtures.combined["chained_" .. kind], opt, function() schedule:step() end)
    end)

    it("SequentialLR of " .. kind .. ", saved and loaded on the way", function()
      local opt, all = optimizer(kind), optim.lr_scheduler
      local function make() return all.SequentialLR(opt, {all.LinearLR(opt, 0.1, 1, 4), all.CosineAnnealingLR(opt, 6), all.StepLR(opt, 2, 0.5)}, {5, 12}) end
      local schedule = make()
      follow(fixtures.combined["sequence_" .. kind], opt, function(k)
        schedule:step()
        if k == 3 or k == 8 then
          local states, of_optimizer = schedule:state_dict(), lt.deepcopy(opt:state_dict())
          schedule = make()
          schedule:load_state_dict(states)
          opt:load_state_dict(of_optimizer)
        end
      end)
    end)
  end
end)

describe("CosineAnnealingWarmRestarts", function()
  it("goes to any epoch, between two also", function()
    local opt = sgd(1)
    local schedule = optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, {T_0 = 4, T_mult = 2})
    for epoch, part in pairs{[0] = 0, [1] = 1 / 4, [3.5] = 3.5 / 4, [4] = 0, [8] = 4 / 8, [13.5] = 1.5 / 16} do
      schedule:step(epoch)
      assert.are.near((1 + math.cos(math.pi * part)) / 2, opt.param_groups[1].lr, 1e-12)
    end
    refused("epoch", function() schedule:step(-1) end)
  end)
end)

describe("a schedule of one's own", function()
  it("defines get_lr", function()
    local Halves, parent = optim.lr_scheduler.LRScheduler:subclass("Halves")
    function Halves:__init(opt) parent.__init(self, opt) end
    function Halves:get_lr() return {self.base_lrs[1] / (1 + self.last_epoch)} end
    local opt = sgd(6)
    assert.are.same({6, 3, 2}, rates(Halves(opt), 3))
    local Bare = optim.lr_scheduler.LRScheduler:subclass("Bare")
    refused("Bare: get_lr() is missing", Bare, opt)
    function Halves.get_lr() return {} end
    refused("Halves: get_lr() must return an array of 1 rates, not ", Halves, opt)
  end)
end)

describe("schedules keep the initial rate", function()
  it("when a second one is made for the same optimizer", function()
    local opt = sgd(1)
    local warm = optim.lr_scheduler.LinearLR(opt, 0.1)
    assert.are.near(0.1, warm:get_last_lr()[1], 1e-12)
    assert.are.same({1}, StepLR(opt, 3).base_lrs)
  end)
end)

describe("a schedule that steps first", function()
  it("warns once, for the first rate is left out", function()
    local _, output = child.run[[
      local optim = lt.optim
      local opt = optim.SGD({lt.nn.Parameter(lt.ones(1))}, {lr = 1})
      local schedule = optim.lr_scheduler.ExponentialLR(opt, 0.5)
      schedule:step()
      schedule:step()
      local other = optim.SGD({lt.nn.Parameter(lt.ones(1))}, {lr = 1})
      local right = optim.lr_scheduler.ExponentialLR(other, 0.5)
      other:step()
      right:step()
    ]]
    assert.are.equal("warning: ExponentialLR steps before the optimizer's first step, so the first rate is left out: call optimizer:step() first\n", output)
  end)
end)

describe("schedules refuse", function()
  local all = optim.lr_scheduler
  local function adagrad_like() -- an optimizer without momentum
    local opt = sgd(1)
    opt.defaults = {lr = 1}
    return opt
  end

  it("values out of range", function()
    refused("LinearLR: argument 'start_factor' must be", all.LinearLR, sgd(1), 0)
    refused("ConstantLR: argument 'factor' must be", all.ConstantLR, sgd(1), 1.5)
    refused("PolynomialLR: argument 'total_iters' must be", all.PolynomialLR, sgd(1), 0)
    refused("CosineAnnealingLR: argument 'T_max' must be", all.CosineAnnealingLR, sgd(1), 0)
    refused("ReduceLROnPlateau: argument 'factor' must be", all.ReduceLROnPlateau, sgd(1), {factor = 1})
    refused("CyclicLR: argument 'mode' must be", all.CyclicLR, sgd(1), 0.1, 1, {mode = "square"})
    refused("MultiStepLR: argument 'milestones' must be", all.MultiStepLR, sgd(1), {-1})
  end)

  it("lists of another length than the optimizer's groups", function()
    refused("LambdaLR: lr_lambda has 2 entries, the optimizer 1 groups", all.LambdaLR, sgd(1), {math.sqrt, math.sqrt})
    refused("OneCycleLR: max_lr has 2 entries, the optimizer 1 groups", all.OneCycleLR, sgd(1), {1, 2}, 10)
    refused("min_lr has 2 entries", all.ReduceLROnPlateau, sgd(1), {min_lr = {1, 2}})
  end)

  it("an optimizer without momentum, unless it is left alone", function()
    refused("CyclicLR: cycle_momentum needs an optimizer with momentum or betas", all.CyclicLR, adagrad_like(), 0.1, 1)
    assert.are.equal(0.1, all.CyclicLR(adagrad_like(), 0.1, 1, {cycle_momentum = false}):get_last_lr()[1])
  end)

  it("a cycle without length, and steps beyond it", function()
    refused("OneCycleLR: total_steps is needed, or both epochs and steps_per_epoch", all.OneCycleLR, sgd(1), 1, {epochs = 3})
    local opt = optimizer("SGD")
    local schedule = all.OneCycleLR(opt, 1, 3)
    opt:step()
    for _ = 1, 3 do schedule:step() end
    refused("OneCycleLR: step 4 is asked for, but the cycle was made for total_steps = 3", schedule.step, schedule)
  end)

  it("combinations that cannot be", function()
    local opt = sgd(1)
    refused("ChainedScheduler: at least one schedule is needed", all.ChainedScheduler, {})
    refused("ChainedScheduler: schedulers[2] must be a schedule, not 3", all.ChainedScheduler, {StepLR(opt, 1), 3})
    refused("ChainedScheduler: schedulers[2] (StepLR) belongs to another optimizer", all.ChainedScheduler, {StepLR(opt, 1), StepLR(sgd(1), 1)})
    refused("schedulers[1] is a ReduceLROnPlateau, whose step needs a metric", all.ChainedScheduler, {all.ReduceLROnPlateau(opt)})
    refused("SequentialLR: 2 schedules need 1 milestones, got 2", all.SequentialLR, opt, {StepLR(opt, 1), StepLR(opt, 1)}, {1, 2})
    refused("SequentialLR: milestones must rise, got 2 after 2", all.SequentialLR, opt, {StepLR(opt, 1), StepLR(opt, 1), StepLR(opt, 1)}, {2, 2})
  end)

  it("state dicts of others, and keep all states then", function()
    local opt = sgd(1)
    local chained = all.ChainedScheduler{StepLR(opt, 1), all.ExponentialLR(opt, 0.5)}
    opt:step()
    local before = chained:state_dict()
    local states = chained:state_dict()
    states.schedulers[1].last_epoch, states.schedulers[2] = 7, {}
    refused("ExponentialLR: last_epoch in the state dict must be a number, not nil", chained.load_state_dict, chained, states)
    assert.are.same(before, chained:state_dict())
    refused("schedulers in the state dict must be an array of 2 state dicts, not nil", chained.load_state_dict, chained, {})
  end)
end)

describe("an unknown schedule", function()
  it("is an error that shows the nearest name", function()
    refused("optim.lr_scheduler.StepLr does not exist; did you mean 'StepLR'?", function() return optim.lr_scheduler.StepLr end)
  end)
end)
