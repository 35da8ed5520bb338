--- lt.fit does what a loop written by hand does, stops, saves and goes on.

local lt = require("lunette")
local nn, F, optim, data = lt.nn, lt.nn.functional, lt.optim, lt.data

-- A problem of two classes, its loader and a network that begins alike each time.
local function problem(batch_size, shuffle)
  lt.manual_seed(3)
  local x = lt.randn(40, 2)
  local y = x:sum(1):gt(0):long()
  local net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2))
  local loader = data.DataLoader(data.TensorDataset(x, y), {batch_size = batch_size or 8, shuffle = shuffle or false})
  return net, loader, optim.Adam(net:parameters(), {lr = 0.02}), x, y
end

local function same(a, b)
  for name, tensor in a:state_dict():items() do assert.is_true(tensor:equal(b:state_dict()[name]), name) end
end

local function fit(net, loader, optimizer, options)
  return lt.fit(net, loader, optimizer, lt.merge({loss = F.cross_entropy, progress = false}, options or {}))
end

-- A path that is free, and gone after the case.
local function place(extension)
  local path = os.tmpname()
  os.remove(path)
  finally(function() os.remove(path .. extension) end)
  return path .. extension
end

describe("lt.fit", function()
  it("does what a loop written by hand does", function()
    local net, loader, optimizer = problem(8, true)
    local history = fit(net, loader, optimizer, {epochs = 3})
    local twin, twin_loader, twin_optimizer = problem(8, true)
    local sums = {}
    for epoch = 1, 3 do
      local sum = 0
      for x, y in twin_loader do
        twin_optimizer:zero_grad()
        local loss = F.cross_entropy(twin(x), y)
        loss:backward()
        twin_optimizer:step()
        sum = sum + loss:item()
      end
      sums[epoch] = sum / #twin_loader
    end
    same(net, twin)
    assert.are.equal(3, #history)
    for epoch = 1, 3 do assert.are.equal(sums[epoch], history[epoch].loss) end
    assert.are.equal(0.02, history[1].lr)
  end)

  it("accumulates, clips and moves the learning rate", function()
    local net, loader, optimizer, x, y = problem(10)
    net:eval()
    local rates = {}
    lt.fit(net, loader, optimizer, {
      progress = false, accumulate = 4, clip_norm = 0.01, schedule = optim.lr_scheduler.ExponentialLR(optimizer, {gamma = 0.5}), epochs = 2,
      step = function(model, a, b) return F.cross_entropy(model:eval()(a), b) end,
      callbacks = {on_epoch_end = function(run) rates[run.epoch] = run.optimizer.param_groups[1].lr end},
    })
    local twin, _, twin_optimizer = problem(10)
    twin:eval()
    for epoch = 1, 2 do
      twin_optimizer:zero_grad()
      F.cross_entropy(twin(x), y):backward()
      nn.utils.clip_grad_norm_(twin:parameters(), 0.01)
      twin_optimizer:step()
      twin_optimizer.param_groups[1].lr = 0.02 * 0.5 ^ epoch
    end
    assert.are.same({0.01, 0.005}, rates)
    for name, tensor in net:state_dict():items() do assert.is_true(tensor:allclose(twin:state_dict()[name], {atol = 1e-6}), name) end
  end)

  it("measures training and validation", function()
    local net, loader, optimizer, x, y = problem()
    local history = fit(net, loader, optimizer, {validation = loader, metrics = {accuracy = lt.metrics.Accuracy()}, epochs = 20})
    local right = net(x):argmax(1):eq(y):float():mean():item()
    assert.is_true(math.abs(right - history[20].validation.accuracy) < 1e-6)
    assert.is_true(history[20].validation.loss < history[1].validation.loss)
    assert.is_true(history[20].accuracy > 0.8)
    assert.is_false(net.training)
  end)

  it("takes batches of one value as their own target, and several inputs", function()
    local net = nn.Linear(2, 2)
    local inputs = data.DataLoader(data.TensorDataset(lt.randn(8, 2)), {batch_size = 4})
    local history = lt.fit{model = net, data = inputs, optimizer = optim.SGD(net:parameters(), {lr = 0.1}), loss = nn.MSELoss(), epochs = 5, progress = false}
    assert.is_true(history[5].loss < history[1].loss)
    local pair = nn.Bilinear(2, 3, 1)
    local triples = data.DataLoader(data.TensorDataset(lt.randn(8, 2), lt.randn(8, 3), lt.randn(8, 1)), {batch_size = 4})
    lt.fit{model = pair, data = triples, optimizer = optim.SGD(pair:parameters(), {lr = 0.1}), loss = F.mse_loss, progress = false}
    assert.is_true(pair.weight.grad ~= nil)
  end)

  it("calls back in order, and a callback ends the run", function()
    local net, loader, optimizer = problem(20)
    local seen = {}
    local function note(name) return function(run) seen[#seen + 1] = name .. run.steps end end
    fit(net, loader, optimizer, {
      epochs = 9,
      callbacks = {
        on_start = note("start"), on_epoch_start = note("epoch"), on_step = note("step"), on_end = note("end"),
        on_epoch_end = function(run) if run.epoch == 2 then run.stop = true end end,
      },
    })
    assert.are.same({"start0", "epoch0", "step1", "step2", "epoch2", "step3", "step4", "end4"}, seen)
  end)

  it("stops early and keeps the best", function()
    local net, loader, optimizer = problem()
    local path, values, epoch = place(".safetensors"), {3, 2, 1, 4, 5, 6, 7, 8}, 0
    local best
    local history = fit(net, loader, optimizer, {
      epochs = 8, early_stopping = {patience = 2}, best = path, monitor = "mine", mode = "min",
      metrics = {mine = (function()
        local Scripted = lt.metrics.Metric:subclass("Scripted")
        function Scripted:update() end
        function Scripted:compute() epoch = epoch + 1 return values[epoch] end
        return Scripted()
      end)()},
      callbacks = {on_epoch_end = function(run) if run.epoch == 3 then best = lt.deepcopy(run.model) end end},
    })
    assert.are.equal(6, #history)
    net:load_state_dict(lt.load(path))
    same(best, net)
  end)

  it("goes on from its checkpoint as if it had not been interrupted", function()
    local net, loader, optimizer = problem(8, true)
    local schedule = optim.lr_scheduler.StepLR(optimizer, {step_size = 2})
    local whole = fit(net, loader, optimizer, {epochs = 5, schedule = schedule})
    local path = place(".pt")
    for _, epochs in ipairs{2, 5} do
      local again, again_loader, again_optimizer = problem(8, true)
      local again_schedule = optim.lr_scheduler.StepLR(again_optimizer, {step_size = 2})
      local history = fit(again, again_loader, again_optimizer, {epochs = epochs, schedule = again_schedule, checkpoint = path})
      assert.are.equal(epochs, #history)
      if epochs == 5 then
        same(net, again)
        for i = 1, 5 do assert.are.equal(whole[i].loss, history[i].loss) end
      end
    end
  end)

  it("says what is wrong", function()
    local net, loader, optimizer = problem()
    local function refused(options, message)
      local ok, said = pcall(lt.fit, net, loader, optimizer, lt.merge({progress = false}, options))
      assert.is_false(ok)
      assert.matches(message, said, 1, true)
    end
    refused({}, "fit: either a loss or a step is needed")
    refused({loss = F.cross_entropy, callbacks = {on_epoch = print}}, "fit: there is no callback on_epoch; there are on_start")
    refused({loss = F.cross_entropy, metrics = {accuracy = 3}}, "fit: metrics.accuracy must be a metric, not 3")
    refused({loss = F.cross_entropy, monitor = "validation.loss"}, "fit: an epoch's record has no number \"validation.loss\" to monitor")
    refused({step = function() return 3 end}, "fit: the step must return the loss, a tensor, first; it returned 3")
    refused({loss = F.cross_entropy, epochs = 0}, "epochs")
    assert.has_error(function() lt.fit{model = net, data = 3, optimizer = optimizer, loss = F.cross_entropy, progress = false} end,
      "fit: data must be a DataLoader or a function that gives an iterator for each epoch, not 3")
  end)
end)
