--- lt.fit: the loop of a training, for those who don't want to write it. Nothing in Lunette needs it.
--
--     local history = lt.fit{
--       model = net, data = loader, loss = F.cross_entropy, optimizer = optimizer, epochs = 10,
--       validation = test_loader, metrics = {accuracy = lt.metrics.Accuracy()}, checkpoint = "run.pt",
--     }
--
-- An epoch's record is {epoch =, loss =, <metrics> =, lr =, seconds =, validation = {loss =, <metrics> =}}.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local autograd = require("lunette.autograd")
local base = require("lunette.ffi")
local errors = require("lunette.errors")
local Progress = require("lunette.progress")

local fail, is_tensor, describe = errors.fail, base.is_tensor, arguments.describe
local type, select, unpack, tostring = type, select, unpack, tostring

local parse = arguments.signature("fit", "model:module, data:any, optimizer:any, *, loss:function|module?, step:function?, epochs:int>0=1, validation:any?, "
  .. "metrics:map?, schedule:any?, schedule_each:enum(epoch|step)=epoch, accumulate:int>0=1, clip_norm:number>0?, clip_value:number>0?, device:device?, "
  .. "callbacks:map?, early_stopping:map?, checkpoint:string?, resume:bool=true, best:string?, monitor:string?, mode:enum(min|max)=min, progress:bool=true")
local NAMES = {
  "model", "data", "optimizer", "loss", "step", "epochs", "validation", "metrics", "schedule", "schedule_each", "accumulate", "clip_norm", "clip_value",
  "device", "callbacks", "early_stopping", "checkpoint", "resume", "best", "monitor", "mode", "progress",
}
local EVENTS = {on_start = true, on_epoch_start = true, on_step = true, on_epoch_end = true, on_end = true}
local parse_stopping = arguments.signature("early_stopping", "patience:int>=0=3, min_delta:number>=0=0")

-- Batches --------------------------------------------------------------------------------------------------------------------------------

-- A function that gives the values of the next batch: of a DataLoader, or of a function that starts an epoch.
local function batches_of(source, name)
  if type(source) == "function" then return source() end
  if type(source) == "userdata" and source.iterate then return source:iterate() end
  fail(("fit: %s must be a DataLoader or a function that gives an iterator for each epoch, not %s"):format(name, describe(source)))
end

local function moved(device, first, ...)
  if select("#", ...) == 0 then return device and is_tensor(first) and first:to(device) or first end
  return device and is_tensor(first) and first:to(device) or first, moved(device, ...)
end

-- Output, loss and target of a batch: the last value is the target, the others are the model's inputs; a batch of one value is its own target.
local function default_step(run)
  return function(model, ...)
    local n = select("#", ...)
    local target = select(n, ...)
    local inputs = {...}
    local output = model(unpack(inputs, 1, n > 1 and n - 1 or 1))
    return run.loss(output, target), output, target
  end
end

-- What one pass over data counts: the mean loss, the metrics.
local function new_tally(run)
  for _, metric in each(run.metrics) do metric:reset() end
  return {sum = 0, batches = 0}
end

local function count(run, tally, loss, output, target)
  run.batch_loss = loss:item()
  tally.sum, tally.batches = tally.sum + run.batch_loss, tally.batches + 1
  if output == nil then return end
  autograd.no_grad(function()
    for _, metric in each(run.metrics) do metric:update(output, target) end
  end)
end

local function results(run, tally, into)
  if tally.batches == 0 then fail("fit: there was no batch") end
  into.loss = tally.sum / tally.batches
  for name, metric in each(run.metrics) do into[name] = metric:compute() end
  return into
end

-- Training -------------------------------------------------------------------------------------------------------------------------------

local function emit(run, event)
  local callback = run.callbacks[event]
  if callback then callback(run) end
end

local function update_parameters(run)
  local utils = require("lunette.nn.utils")
  if run.clip_norm then utils.clip_grad_norm_(run.model:parameters(), run.clip_norm) end
  if run.clip_value then utils.clip_grad_value_(run.model:parameters(), run.clip_value) end
  run.optimizer:step()
  run.optimizer:zero_grad()
  if run.schedule and run.schedule_each == "step" then run.schedule:step() end
end

local function items_of(first) return is_tensor(first) and first:dim() > 0 and first:size(0) or 1 end

-- One batch of training; false at the end of the epoch.
local function train_batch(run, tally, progress, first, ...)
  if first == nil then return false end
  local loss, output, target = run.step_of(run.model, moved(run.device, first, ...))
  if not is_tensor(loss) then fail("fit: the step must return the loss, a tensor, first; it returned " .. describe(loss)) end
  ;(run.accumulate > 1 and loss / run.accumulate or loss):backward()
  run.pending, run.steps = run.pending + 1, run.steps + 1
  if run.pending == run.accumulate then
    update_parameters(run)
    run.pending = 0
  end
  count(run, tally, loss, output, target)
  if progress then progress:step(items_of(first), run.batch_loss) end
  emit(run, "on_step")
  return not run.stop
end

local function train(run, record)
  local next_batch, tally = batches_of(run.data, "data"), new_tally(run)
  local title = ("epoch %d of %d"):format(run.epoch, run.epochs)
  local progress = run.progress and Progress(title, type(run.data) == "userdata" and #run.data or 0) or nil
  run.model:train()
  run.optimizer:zero_grad()
  run.pending = 0
  while train_batch(run, tally, progress, next_batch()) do end
  if run.pending > 0 then update_parameters(run) end
  if progress then progress:finish() end
  return results(run, tally, record)
end

-- Validation -----------------------------------------------------------------------------------------------------------------------------

local function validate_batch(run, tally, first, ...)
  if first == nil then return false end
  count(run, tally, run.step_of(run.model, moved(run.device, first, ...)))
  return true
end

local function validate(run)
  local tally = new_tally(run)
  run.model:eval()
  autograd.no_grad(function()
    local next_batch = batches_of(run.validation, "validation")
    while validate_batch(run, tally, next_batch()) do end
  end)
  return results(run, tally, {})
end

-- What is watched ------------------------------------------------------------------------------------------------------------------------

-- "validation.loss" of a record.
local function watched(run, record)
  local value = record
  for name in run.monitor:gmatch("[^.]+") do value = type(value) == "table" and value[name] or nil end
  if type(value) ~= "number" then fail(("fit: an epoch's record has no number %q to monitor"):format(run.monitor)) end
  return value
end

local function note_best(run, record)
  local value, known, delta = watched(run, record), run.best_value, run.min_delta
  local better = known == nil or run.mode == "min" and value < known - delta or run.mode == "max" and value > known + delta
  if better then
    run.best_value, run.waited = value, 0
    if run.best then require("lunette.io").save(run.model:state_dict(), run.best) end
  else
    run.waited = run.waited + 1
    if run.patience and run.waited > run.patience then run.stop = true end
  end
end

local function step_schedule(run, record)
  if not run.schedule or run.schedule_each ~= "epoch" then return end
  local plateau = require("lunette.optim.plateau")
  if run.schedule.class == plateau then run.schedule:step(watched(run, record)) else run.schedule:step() end
end

-- Checkpoints ----------------------------------------------------------------------------------------------------------------------------

local function save_checkpoint(run)
  if not run.checkpoint then return end
  require("lunette.io").save({
    model = run.model:state_dict(), optimizer = run.optimizer:state_dict(), schedule = run.schedule and run.schedule:state_dict() or nil,
    generator = require("lunette.random").default_generator:get_state(), history = run.history, epoch = run.epoch, best_value = run.best_value,
    waited = run.waited,
  }, run.checkpoint)
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- Goes on where the checkpoint was written, if there is one.
local function resume(run)
  if not (run.checkpoint and run.resume and exists(run.checkpoint)) then return end
  local saved = require("lunette.io").load(run.checkpoint)
  run.model:load_state_dict(saved.model)
  run.optimizer:load_state_dict(saved.optimizer)
  if run.schedule then run.schedule:load_state_dict(saved.schedule) end
  require("lunette.random").default_generator:set_state(saved.generator)
  run.history, run.epoch, run.best_value, run.waited = saved.history, saved.epoch, saved.best_value, saved.waited
end

-- The run --------------------------------------------------------------------------------------------------------------------------------

local function check(run)
  if (run.loss == nil) == (run.step == nil) then fail("fit: either a loss or a step is needed, a step returning loss, output, target") end
  for name in each(run.callbacks) do
    if not EVENTS[name] then
      fail(("fit: there is no callback %s; there are on_start, on_epoch_start, on_step, on_epoch_end, on_end"):format(tostring(name)))
    end
  end
  local Metric = require("lunette.metrics").Metric
  for name, metric in each(run.metrics) do
    if not require("lunette.class").isinstance(metric, Metric) then fail(("fit: metrics.%s must be a metric, not %s"):format(tostring(name), describe(metric))) end
  end
end

local function new_run(...)
  local values, run = {parse(...)}, {}
  for i, name in ipairs(NAMES) do run[name] = values[i] end
  run.metrics, run.callbacks = run.metrics or {}, run.callbacks or {}
  run.monitor = run.monitor or run.validation and "validation.loss" or "loss"
  run.min_delta = 0
  if run.early_stopping then run.patience, run.min_delta = parse_stopping(run.early_stopping) end
  check(run)
  run.step_of = run.step or default_step(run)
  run.history, run.epoch, run.steps, run.waited = {}, 0, 0, 0
  return run
end

local function epoch(run)
  run.epoch = run.epoch + 1
  emit(run, "on_epoch_start")
  local start = tonumber(base.C.ln_clock())
  local record = train(run, {epoch = run.epoch, lr = run.optimizer.param_groups[1].lr})
  if run.validation then record.validation = validate(run) end
  record.seconds = tonumber(base.C.ln_clock()) - start
  run.history[run.epoch], run.record = record, record
  note_best(run, record)
  step_schedule(run, record)
  save_checkpoint(run)
  emit(run, "on_epoch_end")
end

--- Trains a model and returns the history, an array of the epochs' records.
--
-- model, data (a DataLoader, or a function that gives an iterator for each epoch) and optimizer are needed, and loss(output, target) or
-- step(model, ...), which gets the values of a batch and returns loss, output, target. Of a batch the last value is the target, the others are the
-- inputs; a batch of one value is its own target. validation: data to measure after each epoch. metrics: {name = lt.metrics...}. schedule: stepped each
-- epoch or step. accumulate: batches a step of the optimizer. clip_norm, clip_value: bounds of the gradients. early_stopping = {patience =, min_delta =}
-- ends the run when what is monitored ("validation.loss") gets no better; best: a file for the state of the best model. checkpoint: a file written after
-- each epoch, from which the same call goes on unless resume = false. callbacks: on_start, on_epoch_start, on_step, on_epoch_end, on_end, each called with
-- the run: model, optimizer, epoch, steps, record, history; run.stop = true ends it.
local function fit(...)
  local run = new_run(...)
  if run.device then run.model:to(run.device) end
  resume(run)
  emit(run, "on_start")
  while run.epoch < run.epochs and not run.stop do epoch(run) end
  emit(run, "on_end")
  run.model:eval()
  return run.history
end

return {fit = fit}
