--- Adam (Kingma and Ba, 2015), with AMSGrad (Reddi et al., 2018), and AdamW (Loshchilov and Hutter, 2019).

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local owned = require("lunette.nn.owned")
local Optimizer = require("lunette.optim.optimizer")
local ffi = require("ffi")

local fail = arguments.fail

local adam = {}
local names = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}

local Base = Optimizer:subclass("Adam")

function Base:check_group(group)
  local betas = group.betas
  local name = self.class.__name
  self:check_number(group, "lr", 0)
  self:check_number(group, "eps", 0)
  self:check_number(group, "weight_decay", 0)
  if type(betas) ~= "table" or #betas ~= 2 then fail(("%s: betas must be an array of two numbers"):format(name)) end
  for i = 1, 2 do
    if type(betas[i]) ~= "number" or not (betas[i] >= 0 and betas[i] < 1) then
      fail(("%s: betas must lie in [0, 1), not %s"):format(name, tostring(betas[i])))
    end
  end
end

local function zeros(p) return owned(require("lunette.create").zeros_like(p.data)) end

local function attach(self, arrays, i, p, amsgrad)
  local state = self.state[p.id] or {step = 0, exp_avg = zeros(p), exp_avg_sq = zeros(p)}
  self.state[p.id] = state
  if amsgrad and not state.max_exp_avg_sq then state.max_exp_avg_sq = zeros(p) end
  for _, name in ipairs(names) do
    if state[name] then arrays[name][i] = state[name]._p end
  end
  arrays.states[i], arrays.step[i] = state, state.step
end

-- Counts the step of each parameter that has a gradient.
local function count_steps(self, group, arrays)
  for i = 0, arrays.n - 1 do
    if self.has_grad(arrays, i) then
      if arrays.exp_avg[i] == nil or group.amsgrad and arrays.max_exp_avg_sq[i] == nil then
        attach(self, arrays, i, group.params[i + 1], group.amsgrad)
      end
      local state = arrays.states[i]
      state.step = state.step + 1
      arrays.step[i] = state.step
    end
  end
end

function Base:step_group(group)
  local arrays = self:arrays_of(group, names)
  if not arrays.step then arrays.step, arrays.states = ffi.new("int64_t[?]", arrays.n), {} end
  count_steps(self, group, arrays)
  base.check(base.C.ln_adam_step(arrays.params, arrays.exp_avg, arrays.exp_avg_sq, group.amsgrad and arrays.max_exp_avg_sq or nil, arrays.n,
    arrays.step, group.lr, group.betas[1], group.betas[2], group.eps, group.weight_decay, self.decoupled, group.maximize))
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
