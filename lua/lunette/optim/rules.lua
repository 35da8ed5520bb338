--- The optimizers that move each element by itself: SGD and the family of Adam, Adagrad and Rprop. Options, defaults and states are PyTorch's.

local RuleOptimizer = require("lunette.optim.rule")

local sqrt, max, ipairs = math.sqrt, math.max, ipairs

local rules = {}

local function declare(name, doc, signature, declaration) rules[name] = RuleOptimizer.declare(name, doc, signature, declaration) end

local BETAS = "betas:numbers2[0,1)={0.9,0.999}, "
local MAXIMIZE = ", *, maximize:bool=false"

-- The scalars that most rules share. decoupled: weight decay shrinks the parameters themselves, not the gradient.
local function common(k, group, decoupled)
  k.sign = group.maximize and -1 or 1
  k.decay = decoupled and 0 or group.weight_decay
  k.shrink = decoupled and 1 - group.lr * group.weight_decay or 1
  k.eps, k.lr = group.eps, group.lr
end

local function betas(k, group)
  k.fresh1, k.beta2, k.fresh2 = 1 - group.betas[1], group.betas[2], 1 - group.betas[2]
end

-- What shrinks every row would leave nothing sparse.
local function no_decay(self, group)
  if group.weight_decay ~= 0 then self:refuse("weight_decay option is not compatible with sparse gradients") end
end

declare("SGD", "Stochastic gradient descent, with momentum (Sutskever et al., 2013), Nesterov's form, dampening and weight decay.",
  "lr:number>=0=1e-3, momentum:number>=0=0, dampening:number=0, weight_decay:number>=0=0, nesterov:bool=false" .. MAXIMIZE, {
  rule = "sgd", counts = false,
  optional = {momentum_buffer = function(group) return group.momentum ~= 0 end},
  check = function(self, group)
    if group.nesterov and (group.momentum <= 0 or group.dampening ~= 0) then self:refuse("nesterov needs a momentum above 0 and no dampening") end
  end,
  rows = function(self, group)
    if group.momentum ~= 0 then self:refuse("momentum does not go with sparse gradients") end
    no_decay(self, group)
  end,
  fill = function(k, group, _, _, fresh)
    common(k, group)
    k.momentum, k.fresh, k.first, k.nesterov = group.momentum, 1 - group.dampening, fresh and 1 or 0, group.nesterov and 1 or 0
  end,
})

for _, name in ipairs{"Adam", "AdamW"} do
  local decoupled = name == "AdamW"
  local doc = decoupled and "Adam whose weight decay is decoupled: it shrinks the parameters themselves (Loshchilov and Hutter, 2019)."
    or "Adam (Kingma and Ba, 2015), with AMSGrad (Reddi et al., 2018)."
  declare(name, doc, "lr:number>=0=1e-3, " .. BETAS .. "eps:number>=0=1e-8, weight_decay:number>=0=" .. (decoupled and "1e-2" or "0")
    .. ", amsgrad:bool=false" .. MAXIMIZE .. (decoupled and "" or ", decoupled_weight_decay:bool=false"), {
      rule = "adam", instead = ", please consider SparseAdam instead",
      optional = {max_exp_avg_sq = function(group) return group.amsgrad end},
      fill = function(k, group, t)
        common(k, group, decoupled or group.decoupled_weight_decay)
        betas(k, group)
        k.size, k.root2 = group.lr / (1 - group.betas[1] ^ t), sqrt(1 - group.betas[2] ^ t)
      end,
    })
end

declare("SparseAdam", "Adam for the sparse gradients of embeddings: a step moves the rows that have one, and only their means.",
  "lr:number>0=1e-3, " .. BETAS .. "eps:number>0=1e-8, maximize:bool=false", {
  rule = "adam", rows = function() end, only_rows = true,
  optional = {max_exp_avg_sq = function() return false end},
  fill = function(k, group, t)
    k.sign, k.decay, k.shrink, k.eps = group.maximize and -1 or 1, 0, 1, group.eps
    betas(k, group)
    k.size, k.root2 = group.lr * sqrt(1 - group.betas[2] ^ t) / (1 - group.betas[1] ^ t), 1
  end,
})

declare("Adamax", "Adamax (Kingma and Ba, 2015): Adam with the infinity norm.",
  "lr:number>=0=2e-3, " .. BETAS .. "eps:number>=0=1e-8, weight_decay:number>=0=0" .. MAXIMIZE, {
  rule = "adamax",
  fill = function(k, group, t)
    common(k, group)
    betas(k, group)
    k.size = group.lr / (1 - group.betas[1] ^ t)
  end,
})

-- The momentum of NAdam's step t.
local function nadam_momentum(group, t) return group.betas[1] * (1 - 0.5 * 0.96 ^ (t * group.momentum_decay)) end

declare("NAdam", "NAdam (Dozat, 2016): Adam with Nesterov momentum.",
  "lr:number>=0=2e-3, " .. BETAS .. "eps:number>=0=1e-8, weight_decay:number>=0=0, momentum_decay:number>=0=4e-3, "
  .. "decoupled_weight_decay:bool=false" .. MAXIMIZE, {
    rule = "nadam", numbers = {mu_product = 1},
    fill = function(k, group, t, state)
      common(k, group, group.decoupled_weight_decay)
      betas(k, group)
      local mu, following = nadam_momentum(group, t), nadam_momentum(group, t + 1)
      local product = state.mu_product * mu
      k.of_g, k.of_mean = group.lr * (1 - mu) / (1 - product), group.lr * following / (1 - product * following)
      k.correction2 = 1 - group.betas[2] ^ t
    end,
    advance = function(group, t, state) state.mu_product = state.mu_product * nadam_momentum(group, t) end,
  })

declare("RAdam", "RAdam (Liu et al., 2020): Adam that begins without the variance, and then rectifies it.",
  "lr:number>=0=1e-3, " .. BETAS .. "eps:number>=0=1e-8, weight_decay:number>=0=0, decoupled_weight_decay:bool=false" .. MAXIMIZE, {
  rule = "radam",
  fill = function(k, group, t)
    common(k, group, group.decoupled_weight_decay)
    betas(k, group)
    local beta2 = group.betas[2]
    local correction2, longest = 1 - beta2 ^ t, 2 / (1 - beta2) - 1
    local length = longest - 2 * t * beta2 ^ t / correction2
    k.size = group.lr / (1 - group.betas[1] ^ t)
    k.adaptive, k.root2 = 0, 0
    if length > 5 then
      k.adaptive = 1
      k.root2 = sqrt(correction2) * sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    end
  end,
})

declare("Adagrad", "Adagrad (Duchi et al., 2011).",
  "lr:number>=0=1e-2, lr_decay:number>=0=0, weight_decay:number>=0=0, initial_accumulator_value:number>=0=0, eps:number>=0=1e-10"
  .. MAXIMIZE, {
    rule = "adagrad", initial = {sum = "initial_accumulator_value"}, rows = no_decay,
    fill = function(k, group, t)
      common(k, group)
      k.size = group.lr / (1 + (t - 1) * group.lr_decay)
    end,
  })

declare("Adadelta", "Adadelta (Zeiler, 2012).",
  "lr:number>=0=1, rho:number[0,1]=0.9, eps:number>=0=1e-6, weight_decay:number>=0=0" .. MAXIMIZE, {
  rule = "adadelta",
  fill = function(k, group)
    common(k, group)
    k.rho, k.fresh = group.rho, 1 - group.rho
  end,
})

declare("RMSprop", "RMSprop (Hinton, 2012), with momentum, and centered (Graves, 2013).",
  "lr:number>=0=1e-2, alpha:number>=0=0.99, eps:number>=0=1e-8, weight_decay:number>=0=0, momentum:number>=0=0, centered:bool=false"
  .. MAXIMIZE, {
    rule = "rmsprop",
    optional = {
      momentum_buffer = function(group) return group.momentum > 0 end,
      grad_avg = function(group) return group.centered end,
    },
    fill = function(k, group)
      common(k, group)
      k.alpha, k.fresh, k.momentum = group.alpha, 1 - group.alpha, group.momentum
    end,
  })

declare("Rprop", "Rprop (Riedmiller and Braun, 1993): the sign of the gradient alone, with a step size for each element.",
  "lr:number>=0=1e-2, etas:numbers2>0={0.5,1.2}, step_sizes:numbers2={1e-6,50}" .. MAXIMIZE, {
  rule = "rprop", initial = {step_size = "lr"},
  check = function(self, group)
    if not (group.etas[1] < 1 and group.etas[2] > 1) then
      self:refuse("etas must be a number below 1 and one above it, not %g and %g", group.etas[1], group.etas[2])
    end
  end,
  fill = function(k, group)
    k.shorter, k.longer, k.least, k.most = group.etas[1], group.etas[2], group.step_sizes[1], group.step_sizes[2]
    k.sign = group.maximize and -1 or 1
  end,
})

declare("ASGD", "ASGD (Polyak and Juditsky, 1992): SGD whose average, the state `ax`, is the result.",
  "lr:number>=0=1e-2, lambd:number=1e-4, alpha:number=0.75, t0:number=1e6, weight_decay:number>=0=0" .. MAXIMIZE, {
  rule = "asgd", numbers = {eta = "lr", mu = 1},
  fill = function(k, group, _, state)
    common(k, group)
    k.eta, k.mu, k.shrink = state.eta, state.mu, 1 - group.lambd * state.eta
  end,
  advance = function(group, t, state)
    state.eta = group.lr / (1 + group.lambd * group.lr * t) ^ group.alpha
    state.mu = 1 / max(1, t - group.t0)
  end,
})

declare("Lion", "Lion (Chen et al., 2023): the sign of an average of gradients; weight decay is decoupled.",
  "lr:number>=0=1e-4, betas:numbers2[0,1)={0.9,0.99}, weight_decay:number>=0=0" .. MAXIMIZE, {
  rule = "lion",
  fill = function(k, group)
    common(k, group, true)
    k.fresh1, k.fresh2 = 1 - group.betas[1], 1 - group.betas[2]
  end,
})

return rules
