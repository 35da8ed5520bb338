--- Adam (Kingma and Ba, 2015), with AMSGrad (Reddi et al., 2018), and AdamW (Loshchilov and Hutter, 2019).

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local Optimizer = require("lunette.optim.optimizer")

local fail, describe = arguments.fail, arguments.describe

local adam = {}

local Base = Optimizer:subclass("Adam")

Base.state_fields = {step = "count", exp_avg = "moment", exp_avg_sq = "moment", max_exp_avg_sq = "moment"}
Base.state_required = {"step", "exp_avg", "exp_avg_sq"}

local MOMENTS, AMSGRAD = {"exp_avg", "exp_avg_sq"}, {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}

function Base:check_group(group)
  local betas = group.betas
  self:check_number(group, "lr", 0)
  self:check_number(group, "eps", 0)
  self:check_number(group, "weight_decay", 0)
  self:check_bool(group, "amsgrad")
  self:check_bool(group, "maximize")
  if type(betas) ~= "table" or #betas ~= 2 then
    fail(("%s: betas must be an array of two numbers, not %s"):format(self.class.__name, describe(betas)))
  end
  for i = 1, 2 do
    if type(betas[i]) ~= "number" or not (betas[i] >= 0 and betas[i] < 1) then
      fail(("%s: betas must lie in [0, 1), not %s"):format(self.class.__name, describe(betas[i])))
    end
  end
end

-- The number of the step that each parameter is about to take, from 1; states count what has been taken.
local function number_steps(self, block)
  local steps, states, params = block.steps, block.states, block.params
  for i = 1, block.n do
    if params[i - 1].grad ~= nil then
      local taken = states[i].step or 0
      if not (type(taken) == "number" and taken >= 0) then
        fail(("%s: step in the state of a parameter must be a number from 0, not %s"):format(self.class.__name, describe(taken)))
      end
      steps[i - 1] = taken + 1
    end
  end
  return steps
end

function Base:step_group(group)
  local amsgrad = group.amsgrad
  local block = self:block_of(group, amsgrad and AMSGRAD or MOMENTS)
  local steps, states, params = number_steps(self, block), block.states, block.params
  local moments, betas = block.tensors, group.betas
  base.check(base.C.ln_adam_step(params, moments.exp_avg, moments.exp_avg_sq, amsgrad and moments.max_exp_avg_sq or nil, block.n, steps,
    group.lr, betas[1], betas[2], group.eps, group.weight_decay, self.decoupled, group.maximize))
  for i = 1, block.n do
    if params[i - 1].grad ~= nil then states[i].step = tonumber(steps[i - 1]) end
  end
end

-- decoupled: weight decay shrinks the parameters themselves, not the gradient.
local function define(name, weight_decay, decoupled)
  local Adam = Base:subclass(name)
  Adam.decoupled = decoupled
  local parse = arguments.signature(name, "params:any, lr:number=1e-3, betas:table?, eps:number=1e-8, weight_decay:number=" .. weight_decay
    .. ", amsgrad:bool=false, maximize:bool=false")

  function Adam:__init(...)
    local params, lr, betas, eps, decay, amsgrad, maximize = parse(...)
    self:setup(params, {
      lr = lr, betas = betas or {0.9, 0.999}, eps = eps, weight_decay = decay, amsgrad = amsgrad, maximize = maximize,
    })
  end

  adam[name] = Adam
end

define("Adam", "0", false)
define("AdamW", "1e-2", true)

return adam
