--- nn.utils.prune.compact: smaller models that compute what the pruned ones do, and the reasons where they stay as they are.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local nn, F = lt.nn, lt.nn.functional
local prune = nn.utils.prune

-- Prunes outputs of layers.
local function half(...)
  for _, m in ipairs{...} do prune.ln_structured(m, "weight", 0.5, 2, 0) end
end

-- The smaller model of one in evaluation, after a check that it computes the same for other inputs too.
local function compact(net, ...)
  net:eval()
  local small, report = prune.compact(net, #{...} == 1 and (...) or {...})
  local inputs = {}
  for i, x in ipairs{...} do inputs[i] = lt.randn({x.shape:unpack()}) end
  assert.is_true(lt.allclose(net(unpack(inputs)), small(unpack(inputs)), {atol = 1e-5}))
  assert.is_false(prune.is_pruned(small))
  return small, report
end

-- What the report says was removed: path -> channels.
local function removed(report)
  local out = {}
  for _, row in ipairs(report.removed) do out[row.path] = row.channels end
  return out
end

local function reason(report, path)
  for _, row in ipairs(report.dense) do
    if row.path == path then return row.reason end
  end
end

-- A module whose forward is given.
local function module(layers, forward)
  local Net = nn.Module:subclass("Net")
  function Net:__init()
    for name, m in pairs(layers) do self[name] = m end
  end
  Net.forward = forward
  return Net()
end

describe("compact", function()
  before_each(function() lt.manual_seed(3) end)

  it("shortens linear layers", function()
    local net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2))
    half(net[0], net[2])
    local before = net:state_dict()
    local small, report = compact(net, lt.randn(3, 4))
    assert.are.same({["0"] = 4, ["2"] = 3}, removed(report))
    assert.are.equal("Sequential(\n  (0): Linear(in_features=4, out_features=4, bias=True)\n  (1): ReLU()\n  (2): Linear(in_features=4, out_features=3, bias=True)\n"
      .. "  (3): Tanh()\n  (4): Linear(in_features=3, out_features=2, bias=True)\n)", tostring(small))
    assert.are.same({4 * 8 + 8 + 8 * 6 + 6 + 6 * 2 + 2, 4 * 4 + 4 + 4 * 3 + 3 + 3 * 2 + 2}, {report.before.parameters, report.after.parameters})
    assert.are.same({3 * (32 + 48 + 12), 3 * (16 + 12 + 6)}, {report.before.macs, report.after.macs})
    assert.is_true(report.before.seconds > 0 and report.after.seconds > 0)
    assert.matches("MACs              276      102\n", tostring(report), 1, true)
    assert.matches("0: 4 of 8 channels removed\n2: 3 of 6 channels removed", tostring(report), 1, true)
    assert.are.same({unpack(lt.keys(before))}, {unpack(lt.keys(net:state_dict()))})
    assert.is_true(prune.is_pruned(net))
    small(lt.randn(3, 4)):sum():backward()
    assert.are.same({4, 4}, checks.shape(small[0].weight.grad))
  end)

  it("goes through batch normalisation, pooling and flattening of convolutions", function()
    local net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.PReLU(8), nn.Flatten(), nn.Linear(8 * 4, 10),
      nn.Linear(10, 3))
    net[1].running_mean:normal_()
    net[1].weight.data:copy_(lt.tensor{1, -1, 2, -2, 0.5, -0.5})
    half(net[0], net[4], net[7])
    local small, report = compact(net, lt.randn(2, 1, 10, 10))
    assert.are.same({["0"] = 3, ["4"] = 4, ["7"] = 5}, removed(report))
    assert.are.same({3, 3, 3, 16, 4}, {small[1].num_features, small[1].running_var.shape[0], small[4].in_channels, small[7].in_features, small[5].num_parameters})
    assert.are.equal(0, #report.dense)
  end)

  it("goes through what a model does between layers, branches and depthwise convolutions", function()
    local net = module({a = nn.Conv2d(3, 8, 3), b = nn.Conv2d(8, 8, 3, {groups = 8}), c = nn.Conv2d(3, 4, 5), d = nn.Conv2d(12, 5, 1), e = nn.Linear(5, 7, {bias = false}),
      f = nn.Linear(7, 2)}, function(self, x)
      local y = lt.cat({F.relu(self.b(self.a(x))), self.c(x):tanh()}, 1)
      return self.f(self.e(self.d(y):mean({2, 3})):sigmoid())
    end)
    half(net.a, net.c, net.d, net.e)
    local small, report = compact(net, lt.randn(2, 3, 9, 9))
    assert.are.same({a = 4, c = 2, d = 2, e = 4}, removed(report))
    assert.are.same({4, 4, 6}, {small.b.groups, small.b.out_channels, small.d.in_channels})
  end)

  it("removes what no layer behind weighs", function()
    local net = nn.Sequential(nn.Conv2d(1, 4, 3, {padding = 1}), nn.Sigmoid(), nn.Conv2d(4, 2, 3, {padding = 1}))
    prune.ln_structured(net[2], "weight", 3, 1, 1)
    local small, report = compact(net, lt.randn(1, 1, 5, 5))
    assert.are.same({["0"] = 3}, removed(report))
    assert.are.equal("Conv2d(1, 1, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))", tostring(small[0]))
  end)

  it("gives a bias to a layer that has none, and leaves one channel of an empty layer", function()
    local net = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2, {bias = false}))
    prune.ln_structured(net[0], "weight", 4, 2, 0)
    local small, report = compact(net, lt.randn(5, 3))
    assert.are.same({["0"] = 3}, removed(report))
    assert.are.equal("Linear(in_features=1, out_features=2, bias=True)", tostring(small[2]))
    assert.is_nil(net[2].bias)
  end)

  it("takes several arguments and no batch", function()
    local net = module({a = nn.Linear(3, 6), b = nn.Linear(3, 6), c = nn.Linear(6, 2)}, function(self, x, y) return self.c(self.a(x) * 2) + self.c(self.b(y)) end)
    half(net.a, net.b)
    local _, report = compact(net, lt.randn(2, 3), lt.randn(2, 3))
    assert.are.same({}, removed(report))
    assert.are.equal("they reach c, which is called 2 times", reason(report, "a"))
    net = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 1))
    half(net[0])
    assert.are.same({["0"] = 2}, removed(select(2, compact(net, lt.randn(2, 7)))))
  end)

  it("keeps channels whose constant the zeros around a convolution would cut off", function()
    local function make() return nn.Sequential(nn.Conv2d(1, 4, 3, {padding = 1}), nn.Conv2d(4, 2, 3, {padding = 1})) end
    local net = make()
    half(net[0])
    local small, report = compact(net, lt.randn(1, 1, 5, 5))
    assert.are.same({}, removed(report))
    assert.matches("its bias can be pruned too", reason(report, "0"), 1, true)
    assert.are.equal(4, small[0].out_channels)
    prune.custom_from_mask(net[0], "bias", net[0].weight_mask:amax({1, 2, 3}))
    assert.are.same({["0"] = 2}, removed(select(2, compact(net, lt.randn(1, 1, 5, 5)))))
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3, {padding = 1, padding_mode = "reflect"}))
    half(net[0])
    assert.are.same({["0"] = 2}, removed(select(2, compact(net, lt.randn(1, 1, 6, 6)))))
  end)

  it("leaves what it cannot take apart, and says why", function()
    local function refused(net, path, text, ...)
      half(net:get_submodule(path))
      local small, report = compact(net, ...)
      assert.are.same({}, removed(report))
      assert.matches(text, reason(report, path), 1, true)
      assert.are.equal(report.before.parameters, report.after.parameters)
      assert.matches(path .. ": empty channels stay: ", tostring(report), 1, true)
      return small
    end
    local x = lt.randn(3, 4)
    refused(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "0", "they reach the output of the model", x)
    refused(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)), "0", "they reach 1, a LayerNorm", x)
    refused(nn.Sequential(nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 2)), "0", "what they give is no constant behind", x)
    local rolled = module({a = nn.Linear(4, 4), b = nn.Linear(4, 2)}, function(self, y) return self.b(self.a(y):roll(1, 1)) end)
    prune.ln_structured(rolled.b, "weight", 2, 2, 1)
    assert.are.equal("they mix with others before the next layer", reason(select(2, compact(rolled, x)), "a"))
    refused(nn.Sequential(nn.Linear(4, 4), nn.utils.weight_norm(nn.Linear(4, 2))), "0", "they reach 1, a Linear", x)
    refused(module({a = nn.Linear(4, 4), b = nn.Linear(4, 2)}, function(self, y) return self.b(y + self.a(y)) end), "a", "what they give is no constant behind", x)
    refused(module({a = nn.Linear(4, 4), b = nn.Linear(4, 2)}, function(self, y) return self.b(self.a(y):reshape(3, 4)) end), "a", "the model does not run without them", x)
    refused(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1, {groups = 2})), "0", "they reach 1, a Conv2d", lt.randn(1, 4, 2, 2))
    refused(module({a = nn.Linear(4, 4), b = nn.Linear(4, 2)}, function(self, y) return self.b(y) + self.a(y):mean() * 0 end), "a", "no layer behind gets them", x)
  end)

  it("does nothing where nothing is empty, and leaves modes and statistics alone", function()
    local net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    prune.l1_unstructured(net[0], "weight", 0.5)
    local mean = net[1].running_mean:clone()
    local small, report = prune.compact(net, lt.randn(3, 4))
    assert.are.same({0, 0}, {#report.removed, #report.dense})
    assert.is_true(net.training and net[1].training and small.training)
    assert.is_true(lt.equal(mean, net[1].running_mean))
    checks.refuses("the example must be a tensor", function() prune.compact(net, 3) end)
    checks.refuses("in 0: linear", function() prune.compact(net, lt.randn(3, 5)) end)
    assert.is_true(net.training)
  end)
end)
