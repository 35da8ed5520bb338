--- Stochastic gradient descent, with momentum (Sutskever et al., 2013), Nesterov's form, dampening and weight decay.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local owned = require("lunette.nn.owned")
local Optimizer = require("lunette.optim.optimizer")
local ffi = require("ffi")

local SGD = Optimizer:subclass("SGD")

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
  self:check_number(group, "weight_decay", 0)
  if group.nesterov and (group.momentum <= 0 or group.dampening ~= 0) then
    arguments.fail("SGD: nesterov needs a momentum above 0 and no dampening")
  end
end

-- Gives parameters with a gradient their momentum buffer and marks the first use of it.
local function prepare(self, group, arrays)
  arrays.first = arrays.first or ffi.new("bool[?]", arrays.n)
  for i = 0, arrays.n - 1 do
    arrays.first[i] = false
    if arrays.buffers[i] == nil and self.has_grad(arrays, i) then
      local p = group.params[i + 1]
      local state = self.state[p.id] or {}
      self.state[p.id] = state
      if state.momentum_buffer == nil then
        state.momentum_buffer, arrays.first[i] = owned(require("lunette.create").zeros_like(p.data)), true
      end
      arrays.buffers[i] = state.momentum_buffer._p
    end
  end
end

function SGD:step_group(group)
  local arrays = self:arrays_of(group, {"buffers"})
  local buffers = group.momentum ~= 0 and arrays.buffers or nil
  if buffers then prepare(self, group, arrays) end
  base.check(base.C.ln_sgd_step(arrays.params, buffers, arrays.first, arrays.n, group.lr, group.momentum, group.dampening, group.weight_decay,
    group.nesterov, group.maximize))
end

return SGD
