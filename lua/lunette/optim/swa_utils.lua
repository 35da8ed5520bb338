--- optim.swa_utils: averages of a model over its training (Izmailov et al., 2018), by equal or exponential weights, and what goes with them.

local arguments = require("lunette.arguments")
local catalog = require("lunette.catalog")
local class = require("lunette.class")
local copy = require("lunette.nn.copy")
local create = require("lunette.create")
local define = require("lunette.define")
local internals = require("lunette.nn.internals")
local modes = require("lunette.autograd.modes")
local normalization = require("lunette.nn.normalization")
local Scheduler = require("lunette.optim.schedule")
require("lunette.nn.convert")

local fail, Module = arguments.fail, internals.Module
local cos, max, min, pi, ipairs, type = math.cos, math.max, math.min, math.pi, ipairs, type

local swa = {}
local declare = define.into(swa, "optim.swa_utils")

-- Functions that average -------------------------------------------------------------------------------------------------------------------

declare("get_swa_avg_fn", {
  doc = "fn(averaged, current, n) for AveragedModel's avg_fn: the mean of all models, the default.",
  takes = "",
  call = function() return function(averaged, current, n) return averaged + (current - averaged) / (n + 1) end end,
})

declare("get_ema_avg_fn", {
  doc = "fn(averaged, current, n) for AveragedModel's avg_fn: decay * averaged + (1 - decay) * current.",
  takes = "decay:number[0,1]=0.999",
  call = function(decay) return function(averaged, current) return averaged * decay + current * (1 - decay) end end,
})

-- averaged += share * (current - averaged), over two arrays, in place; whole numbers are cut off.
local function move_all(averaged, current, share)
  modes.no_grad(function()
    for i, a in ipairs(averaged) do
      if a:is_floating_point() then a:lerp_(current[i], share) else a:copy_(a * (1 - share) + current[i] * share) end
    end
  end)
end

declare("get_ema_multi_avg_fn", {
  doc = "fn(averaged, current, n) for AveragedModel's multi_avg_fn: get_ema_avg_fn over two arrays of tensors, in place.",
  takes = "decay:number[0,1]=0.999",
  call = function(decay) return function(averaged, current) move_all(averaged, current, 1 - decay) end end,
})

declare("get_swa_multi_avg_fn", {
  doc = "fn(averaged, current, n) for AveragedModel's multi_avg_fn: the mean of all models over two arrays of tensors, in place.",
  takes = "",
  call = function()
    return function(averaged, current, n) move_all(averaged, current, 1 / ((type(n) == "number" and n or n:item()) + 1)) end
  end,
})

-- The averaged model -----------------------------------------------------------------------------------------------------------------------

local AveragedModel = Module:subclass("AveragedModel")
swa.AveragedModel = AveragedModel

local TAKES = "model:module, device:device?, avg_fn:function?, multi_avg_fn:function?, use_buffers:bool=false"
catalog.add(AveragedModel, {
  name = "optim.swa_utils.AveragedModel", signature = TAKES,
  doc = "A copy of a model, the field `module`, whose parameters are averages of that model's: update_parameters(model) takes the model's in. avg_fn(averaged, current, n) "
    .. "returns the new average of one parameter, multi_avg_fn changes those of two arrays; the mean without either. use_buffers: buffers are averaged too, else copied.",
})

local parse = arguments.signature("AveragedModel", TAKES)

local function set(self, model, device, avg_fn, multi_avg_fn, use_buffers)
  if avg_fn and multi_avg_fn then fail("AveragedModel: only one of avg_fn and multi_avg_fn should be provided") end
  self.module = copy.deepcopy(model)
  if device then self.module:to(device) end
  self:register_buffer("n_averaged", create.tensor(0, {dtype = "int64", device = device}))
  self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers
end

function AveragedModel:__init(...) set(self, parse(...)) end

--- What the averaged module makes of it.
function AveragedModel:forward(...) return self.module(...) end

local function detached(list, more)
  local out = {}
  for i, t in ipairs(list) do out[i] = t:detach() end
  for _, t in ipairs(more or {}) do out[#out + 1] = t:detach() end
  return out
end

-- The tensors that are averaged, and those of the model that go into them.
local function tensors_of(self, model)
  local averaged = detached(self.module:parameters(), self.use_buffers and self.module:buffers())
  local current = detached(model:parameters(), self.use_buffers and model:buffers())
  if #averaged ~= #current then fail(("update_parameters: the model has %d tensors, the average %d"):format(#current, #averaged)) end
  for i, t in ipairs(averaged) do
    if t.shape ~= current[i].shape then
      fail(("update_parameters: tensor %d of the model has shape %s, the average's %s"):format(i - 1, tostring(current[i].shape), tostring(t.shape)))
    end
    current[i] = current[i]:to(t.device)
  end
  return averaged, current
end

-- The tensors of each dtype by themselves.
local function by_dtype(averaged, current)
  local groups, known = {}, {}
  for i, t in ipairs(averaged) do
    local key = t.dtype .. t.device
    if not known[key] then
      known[key] = {{}, {}}
      groups[#groups + 1] = known[key]
    end
    local pair = known[key]
    pair[1][#pair[1] + 1], pair[2][#pair[2] + 1] = t, current[i]
  end
  return groups
end

local function average(self, averaged, current)
  if self.multi_avg_fn then
    for _, pair in ipairs(by_dtype(averaged, current)) do self.multi_avg_fn(pair[1], pair[2], self.n_averaged:to(pair[1][1].device)) end
    return
  end
  local fn = self.avg_fn or swa.get_swa_avg_fn()
  for i, t in ipairs(averaged) do t:copy_(fn(t, current[i], self.n_averaged:to(t.device))) end
end

define.methods(AveragedModel, "optim.swa_utils.AveragedModel")("update_parameters", {
  doc = "Takes the parameters of the model into the averages; the first time copies them.",
  takes = "model:module",
  call = function(self, model)
    modes.no_grad(function()
      local averaged, current = tensors_of(self, model)
      if self.n_averaged:item() > 0 then
        average(self, averaged, current)
      else
        for i, t in ipairs(averaged) do t:copy_(current[i]) end
      end
      local own = self.use_buffers and {} or self.module:buffers()
      for i, b in ipairs(own) do b:copy_(model:buffers()[i]:detach()) end
      self.n_averaged:add_(1)
    end)
  end,
})

-- Statistics of batch normalisation --------------------------------------------------------------------------------------------------------

local function is_batch_norm(m)
  for n = 1, 3 do
    if class.isinstance(m, normalization[("BatchNorm%dd"):format(n)]) then return true end
  end
  return false
end

-- Runs the model over all batches; the first entry of one that is an array.
local function run_over(loader, model, device)
  local function run(batch)
    if type(batch) == "table" then batch = batch[1] end
    model(device and batch:to(device) or batch)
  end
  if type(loader) == "table" then
    for _, batch in ipairs(loader) do run(batch) end
  else
    for batch in loader do run(batch) end
  end
end

declare("update_bn", {
  doc = "Computes the running statistics of the model's batch normalisation anew, by one pass over loader: a data.DataLoader, an iterator or an array of batches, of which "
    .. "the first value is the input.",
  takes = "loader:any, model:module, device:device?",
  call = function(loader, model, device)
    local momenta, norms = {}, {}
    for m in model:modules() do
      if is_batch_norm(m) then
        m:reset_running_stats()
        norms[#norms + 1], momenta[#norms + 1] = m, m.momentum
        m.momentum = nil
      end
    end
    if #norms == 0 then return end
    local was_training = model.training
    model:train()
    local ok, message = pcall(modes.no_grad, run_over, loader, model, device)
    for i, m in ipairs(norms) do m.momentum = momenta[i] end
    model:train(was_training)
    if not ok then error(message, 0) end
  end,
})

-- The schedule -----------------------------------------------------------------------------------------------------------------------------

local anneal = {cos = function(t) return (1 - cos(pi * t)) / 2 end, linear = function(t) return t end}

swa.SWALR = Scheduler.declare("SWALR", "lr goes to swa_lr, a number or one for each group, in anneal_epochs epochs, along a half cosine or a line, and stays there.",
  "swa_lr:number|numbers, anneal_epochs:int>=0=10, anneal_strategy:enum(cos|linear)=cos", {"anneal_epochs", "anneal_strategy"}, {
    prepare = function(self)
      for i, rate in ipairs(self:for_groups("swa_lr", self.swa_lr)) do self.optimizer.param_groups[i].swa_lr = rate end
    end,
    next_lr = function(self, group)
      local step, epochs, fn = self.step_count - 1, max(1, self.anneal_epochs), anneal[self.anneal_strategy]
      if self.anneal_epochs == 0 then step = max(1, step) end
      local before, now = fn(max(0, min(1, (step - 1) / epochs))), fn(max(0, min(1, step / epochs)))
      local from = before == 1 and group.swa_lr or (group.lr - before * group.swa_lr) / (1 - before)
      return group.swa_lr * now + from * (1 - now)
    end,
  }, "optim.swa_utils")

return swa
