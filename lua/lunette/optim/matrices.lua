--- Optimizers that look at a parameter as a matrix: Muon and Adafactor.

local arguments = require("lunette.arguments")
local create = require("lunette.create")
local modes = require("lunette.autograd.modes")
local ops = require("lunette.ops")
local owned = require("lunette.nn.owned")
local Optimizer = require("lunette.optim.optimizer")

local max, min, sqrt, ipairs, type = math.max, math.min, math.sqrt, ipairs, type

local matrices = {}

-- A class whose `update(self, group, p, g, state)` moves one parameter; g is its gradient, turned round to maximize.
local function define(name, doc, signature)
  local class = Optimizer:subclass(name)
  class:options(doc, signature)

  function class:step_group(group)
    modes.no_grad(function()
      for _, p in ipairs(group.params) do
        local g = p.grad
        if g and g.is_sparse then self:refuse_sparse() end
        if g then self:update(group, p.data, group.maximize and g:detach():neg() or g:detach(), self:state_of(p)) end
      end
    end)
  end

  matrices[name] = class
  return class
end

-- A tensor of a state, zeros when it is new.
local function state_tensor(state, name, like, shape)
  state[name] = state[name] or owned(create.zeros(shape or like.shape, {dtype = like.dtype, device = like.device}))
  return state[name]
end

-- The root of the mean square.
local function rms(x) return (x.dtype == "float64" and x or x:float()):norm():item() / sqrt(x:numel()) end

local Muon = define("Muon", "Muon (Jordan et al., 2024): momentum, made orthogonal by Newton-Schulz iterations in bfloat16. For the matrices of hidden layers; "
  .. "the other parameters go to an optimizer of their own.",
  "lr:number>=0=1e-3, weight_decay:number>=0=0.1, momentum:number>=0=0.95, nesterov:bool=true, "
  .. "ns_coefficients:numbers3={3.4445,-4.775,2.0315}, eps:number=1e-7, ns_steps:int[0,99]=5, "
  .. "adjust_lr_fn:enum(original|match_rms_adamw|spectral_unclamped)?")

function Muon:check(group)
  for _, p in ipairs(group.params) do
    if p:dim() ~= 2 then self:refuse("parameters must be matrices, one has shape %s", tostring(p.shape)) end
  end
end

local function orthogonal(x, group)
  local c = group.ns_coefficients
  local tall = x.shape[0] > x.shape[1]
  local y = x:to("bfloat16")
  if tall then y = y:t() end
  y = y / max(y:norm():item(), group.eps)
  for _ = 1, group.ns_steps do
    local gram = y:mm(y:t())
    local update = ops.addmm(gram, gram, gram, {beta = c[2], alpha = c[3]})
    y = ops.addmm(y, update, y, {beta = c[1]})
  end
  return tall and y:t() or y
end

-- How much of lr a matrix of m rows and n columns takes.
local ratios = {
  original = function(m, n) return sqrt(max(1, m / n)) end,
  match_rms_adamw = function(m, n) return 0.2 * sqrt(max(m, n)) end,
  spectral_unclamped = function(m, n) return sqrt(m / n) end,
}

function Muon:update(group, p, g, state)
  local buffer = state_tensor(state, "momentum_buffer", p)
  buffer:lerp_(g, 1 - group.momentum)
  local step = orthogonal(group.nesterov and g:lerp(buffer, group.momentum) or buffer, group)
  p:mul_(1 - group.lr * group.weight_decay)
  p:add_(step:to(p.dtype), {alpha = -group.lr * ratios[group.adjust_lr_fn or "original"](p.shape[0], p.shape[1])})
end

local Adafactor = define("Adafactor", "Adafactor (Shazeer and Stern, 2018): mean squares by row and by column for matrices. eps: what keeps the mean square above 0 "
  .. "(lt.None: the dtype's own) and what keeps the step above 0.",
  "lr:number>=0=1e-2, beta2_decay:number<=0=-0.8, eps:table?, d:number>=1=1, weight_decay:number>=0=0, *, maximize:bool=false")

local EPSILON = {float64 = 2 ^ -52, float32 = 2 ^ -23, float16 = 2 ^ -10, bfloat16 = 2 ^ -7}

function Adafactor:check(group)
  local eps = group.eps
  if eps == nil then return end
  local good = #eps == 2 and (eps[1] == arguments.None or type(eps[1]) == "number" and eps[1] >= 0) and type(eps[2]) == "number" and eps[2] >= 0
  if not good then self:refuse("eps must be two numbers of at least 0, the first may be lt.None, not %s", arguments.describe(eps)) end
end

-- The estimate of the mean square for each element; `weight` is that of the new gradient.
local function mean_square(p, g, state, weight, eps1)
  if p:dim() < 2 then
    local variance = state_tensor(state, "variance", p)
    return variance:lerp_(g * g, weight):clone()
  end
  local rows, columns, square = p.shape:totable(), p.shape:totable(), g * g
  rows[#rows], columns[#columns - 1] = 1, 1
  local row, column = state_tensor(state, "row_var", p, rows), state_tensor(state, "col_var", p, columns)
  row:lerp_(square:mean{dim = -1, keepdim = true}, weight)
  column:lerp_(square:mean{dim = -2, keepdim = true}, weight)
  return row:matmul(column):div_(row:mean{dim = -2, keepdim = true}:clamp(eps1))
end

function Adafactor:update(group, p, g, state)
  local eps1, eps2 = arguments.None, 1e-3
  if group.eps then eps1, eps2 = group.eps[1], group.eps[2] end
  if eps1 == arguments.None then eps1 = EPSILON[p.dtype] end
  state.step = (state.step or 0) + 1
  local rate = max(eps2, rms(p)) * min(group.lr, 1 / sqrt(state.step))
  p:mul_(1 - group.lr * group.weight_decay)
  local update = mean_square(p, g, state, state.step ^ group.beta2_decay, eps1):clamp(eps1 * eps1):rsqrt():mul(g)
  p:add_(update, {alpha = -rate / max(1, rms(update) / group.d)})
end

return matrices
