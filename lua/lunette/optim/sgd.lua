--- Stochastic gradient descent, with momentum (Sutskever et al., 2013), Nesterov's form, dampening and weight decay.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local Optimizer = require("lunette.optim.optimizer")

local SGD = Optimizer:subclass("SGD")

SGD.state_fields = {momentum_buffer = "moment"}

local MOMENTUM, NOTHING = {"momentum_buffer"}, {}

local parse = arguments.signature("SGD", "params:any, lr:number?, momentum:number=0, dampening:number=0, weight_decay:number=0, "
  .. "nesterov:bool=false, maximize:bool=false")

function SGD:__init(...)
  local params, lr, momentum, dampening, weight_decay, nesterov, maximize = parse(...)
  self:setup(params, {
    lr = lr == nil and arguments.None or lr, momentum = momentum, dampening = dampening, weight_decay = weight_decay, nesterov = nesterov,
    maximize = maximize,
  })
end

function SGD:check_group(group)
  if group.lr == arguments.None then arguments.fail("SGD: lr is missing: optim.SGD(params, {lr = 0.1})") end
  self:check_number(group, "lr", 0)
  self:check_number(group, "momentum", 0)
  self:check_number(group, "dampening")
  self:check_number(group, "weight_decay", 0)
  self:check_bool(group, "nesterov")
  self:check_bool(group, "maximize")
  if group.nesterov and (group.momentum <= 0 or group.dampening ~= 0) then
    arguments.fail("SGD: nesterov needs a momentum above 0 and no dampening")
  end
end

function SGD:step_group(group)
  local momentum = group.momentum
  local block = self:block_of(group, momentum ~= 0 and MOMENTUM or NOTHING)
  base.check(base.C.ln_sgd_step(block.params, momentum ~= 0 and block.tensors.momentum_buffer or nil, block.fresh, block.n, group.lr, momentum,
    group.dampening, group.weight_decay, group.nesterov, group.maximize))
end

return SGD
