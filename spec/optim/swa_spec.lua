--- optim.swa_utils agrees with PyTorch's.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local nn, optim = lt.nn, lt.optim
local swa = optim.swa_utils
local fixtures = dofile("spec/fixtures/swa.lua")

local function wave(shape, phase)
  local w = (lt.arange(lt.Size(shape):numel(), {dtype = "float64"}) * 0.7 + phase):sin()
  return w:reshape(shape)
end

local ways = {
  mean = {}, swa = {avg_fn = swa.get_swa_avg_fn()}, swa_multi = {multi_avg_fn = swa.get_swa_multi_avg_fn()}, ema = {avg_fn = swa.get_ema_avg_fn(0.75)},
  ema_multi = {multi_avg_fn = swa.get_ema_multi_avg_fn(0.75)}, own = {avg_fn = function(averaged, current, n) return averaged * 0.5 + current * (n + 1) end},
}

local function tensors(model)
  local out = {}
  for p in model:parameters() do out[#out + 1] = p:detach() end
  for b in model:buffers() do out[#out + 1] = b end
  return out
end

local function check(wanted, list, tolerance)
  assert.are.equal(#wanted, #list)
  for i, numbers in ipairs(wanted) do
    assert.is_true(lt.allclose(list[i]:double():reshape(-1), lt.tensor(numbers, {dtype = "float64"}), tolerance or 1e-10, 1e-12), "tensor " .. i)
  end
end

describe("AveragedModel", function()
  for _, case in ipairs(fixtures.averages) do
    it(("by %s agrees with PyTorch's, use_buffers = %s"):format(case.way, tostring(case.use_buffers)), function()
      local model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)):double()
      local averaged = swa.AveragedModel(model, lt.merge({use_buffers = case.use_buffers}, ways[case.way]))
      for step = 0, 3 do
        for i, t in ipairs(tensors(model)) do t:copy_(wave({t.shape:unpack()}, step + i - 1) * 5) end
        averaged:update_parameters(model)
      end
      check(case.tensors, tensors(averaged), case.way == "swa_multi" and 1e-6) -- PyTorch has 1 / (n + 1) in float32 there
      assert.are.equal(4, averaged.n_averaged:item())
    end)
  end

  it("is a module with a copy of its own, whose state can be kept", function()
    local model = nn.Linear(2, 1)
    local averaged = swa.AveragedModel(model)
    assert.is_true(averaged.module ~= model and lt.isinstance(averaged, nn.Module))
    assert.are.same({"n_averaged", "module.weight", "module.bias"}, lt.keys(averaged:state_dict()))
    averaged:update_parameters(model)
    model.weight.data:add_(1)
    assert.is_false(lt.equal(averaged(lt.ones(1, 2)), model(lt.ones(1, 2))))
    averaged:update_parameters(model)
    local other = swa.AveragedModel(model)
    other:load_state_dict(averaged:state_dict())
    assert.are.equal(2, other.n_averaged:item())
    assert.is_true(lt.equal(other(lt.ones(1, 2)), averaged(lt.ones(1, 2))))
    assert.is_true(lt.allclose(averaged.module.weight, model.weight - 0.5))
  end)

  it("refuses two ways at once, decays that are none, and other models", function()
    local fn = swa.get_ema_avg_fn()
    checks.refuses("AveragedModel: only one of avg_fn and multi_avg_fn should be provided",
      function() swa.AveragedModel(nn.Linear(1, 1), {avg_fn = fn, multi_avg_fn = fn}) end)
    checks.refuses("get_ema_avg_fn: argument 'decay' must be a number", function() swa.get_ema_avg_fn(1.5) end)
    local averaged = swa.AveragedModel(nn.Linear(2, 1))
    checks.refuses("update_parameters: the model has 1 tensors, the average 2", function() averaged:update_parameters(nn.Linear(2, 1, false)) end)
    checks.refuses("tensor 0 of the model has shape {1, 3}, the average's {1, 2}", function() averaged:update_parameters(nn.Linear(3, 1)) end)
  end)
end)

describe("SWALR", function()
  for i, case in ipairs(fixtures.schedules) do
    it(("gives PyTorch's rates, case %d, also resumed"):format(i), function()
      local function made()
        local a, b = lt.zeros(1, {requires_grad = true}), lt.zeros(1, {requires_grad = true})
        local opt = optim.SGD{{params = {a}, lr = 0.5}, {params = {b}, lr = 0.1}}
        return opt, swa.SWALR(opt, lt.merge(case.options, {}))
      end
      local opt, schedule = made()
      local other, resumed = made()
      for step, rates in ipairs(case.rates) do
        for g, rate in ipairs(rates) do assert.are.near(rate, opt.param_groups[g].lr, 1e-12) end
        if step == 5 then
          other:load_state_dict(opt:state_dict())
          resumed:load_state_dict(schedule:state_dict())
        end
        opt:step()
        schedule:step()
        if step >= 5 then
          other:step()
          resumed:step()
          assert.are.same(schedule:get_last_lr(), resumed:get_last_lr())
        end
      end
    end)
  end

  it("refuses rates that do not fit the groups", function()
    local opt = optim.SGD({lt.zeros(1, {requires_grad = true})}, {lr = 1})
    checks.refuses("SWALR: swa_lr has 2 entries, the optimizer 1 groups", function() swa.SWALR(opt, {0.1, 0.2}) end)
    checks.refuses("anneal_strategy' must be one of \"cos\", \"linear\"", function() swa.SWALR(opt, 0.1, {anneal_strategy = "exp"}) end)
  end)
end)

describe("update_bn", function()
  local function model()
    local m = nn.Sequential(nn.BatchNorm1d(2, {momentum = 0.3}), nn.Linear(2, 2), nn.BatchNorm1d(2)):double()
    for i, p in ipairs(m:parameters()) do p.data:copy_(wave({p.shape:unpack()}, i - 1)) end
    return m
  end
  local batches = {}
  for step = 0, 2 do batches[step + 1] = wave({4, 2}, step) * (step + 1) end

  it("computes the statistics over all batches, as PyTorch's does", function()
    local m = model()
    m:eval()
    swa.update_bn(batches, m)
    check(fixtures.statistics, {unpack(m:buffers())})
    assert.is_false(m.training)
    assert.are.equal(0.3, m[0].momentum)
    assert.are.equal(0.1, m[2].momentum)
  end)

  it("takes loaders and batches that begin with the input", function()
    local m, pairs_of = model(), {}
    for i, x in ipairs(batches) do pairs_of[i] = {x, i} end
    swa.update_bn(pairs_of, m)
    check(fixtures.statistics, {unpack(m:buffers())})
    local other = model()
    swa.update_bn(lt.data.DataLoader(lt.data.TensorDataset(lt.cat(batches, 0), lt.arange(12)), {batch_size = 4}), other)
    check(fixtures.statistics, {unpack(other:buffers())})
  end)

  it("leaves a model as it was when a batch does not fit, and one without such layers alone", function()
    local m = model()
    assert.has_error(function() swa.update_bn({lt.ones(2, 3)}, m) end)
    assert.are.equal(0.3, m[0].momentum)
    swa.update_bn({"no batch"}, nn.Linear(1, 1))
  end)
end)
