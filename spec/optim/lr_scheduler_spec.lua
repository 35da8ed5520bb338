--- Schedules: their rates, going on from a state dict or an epoch, wrong calls.

local lt = require("lunette")
local nn, optim = lt.nn, lt.optim
local StepLR = optim.lr_scheduler.StepLR

local function sgd(lr) return optim.SGD({nn.Parameter(lt.ones(1))}, {lr = lr}) end

local function rates(schedule, n)
  local list = {}
  for i = 1, n do
    list[i] = schedule:get_last_lr()[1]
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
    schedule:step()
    local saved = schedule:state_dict()
    assert.are.same({last_epoch = 1, base_lrs = {1}, last_lr = {1}, step_size = 2, gamma = 0.1}, saved)
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
    refused("StepLR: last_epoch must be at least -1, not -2", StepLR, sgd(1), {step_size = 1, last_epoch = -2})
  end)

  it("refuses wrong arguments", function()
    refused("StepLR: step_size must be at least 1, not 0", StepLR, sgd(1), 0)
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
    refused("step_size in the state dict must be a number, not nil", function() schedule:load_state_dict{last_epoch = 1, base_lrs = {1}, last_lr = {1}} end)
    assert.are.equal(0, schedule.last_epoch)
  end)

  it("says that methods take a colon", function()
    local schedule = StepLR(sgd(1), 2)
    refused("step is a method of LRScheduler, called with a colon", function() schedule.step() end)
    refused("get_last_lr is a method of LRScheduler, called with a colon", function() schedule.get_last_lr() end)
  end)
end)

describe("an unknown schedule", function()
  it("is an error that shows the nearest name", function()
    refused("optim.lr_scheduler.StepLr does not exist; did you mean 'StepLR'?", function() return optim.lr_scheduler.StepLr end)
    refused("optim.lr_scheduler.CosineAnnealingLR does not exist", function() return optim.lr_scheduler.CosineAnnealingLR end)
  end)
end)
