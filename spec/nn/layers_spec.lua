local lt = require("lunette")
local helper = require("spec.nn.helper")
local waited = require("spec.waited")
local nn, F = lt.nn, lt.nn.functional
local wave, check, fixtures = helper.wave, helper.check, helper.fixtures

local function shape(t) return {t.shape:unpack()} end

describe("Linear and its like", function()
  it("Linear works over the last dimension", function()
    local m = nn.Linear(3, 2)
    local x = lt.randn(4, 5, 3)
    assert.are.same({4, 5, 2}, shape(m(x)))
    assert.is_true(lt.allclose(m(x), x:matmul(m.weight:t()) + m.bias))
    assert.is_nil(nn.Linear{in_features = 3, out_features = 2, bias = false}.bias)
    assert.has_error(function() m(lt.randn(4, 2)) end)
    assert.has_error(function() m(3) end, "Linear: argument 'input' must be a tensor, got 3")
    assert.has_error(function() m(x, x) end)
  end)

  it("Linear starts in PyTorch's bounds", function()
    for p in nn.Linear(64, 256):parameters() do
      local most = p:abs():max():item()
      assert.is_true(most <= 1 / 8 and most > 0.9 / 8)
    end
  end)

  it("Bilinear is x1 A x2 + b", function()
    local m = nn.Bilinear(2, 3, 4)
    local x1, x2 = lt.randn(5, 2), lt.randn(5, 3)
    local y = m(x1, x2)
    assert.are.same({5, 4}, shape(y))
    local one = x1[0]:matmul(m.weight[1]):matmul(x2[0]) + m.bias[1]
    assert.is_true(math.abs(one:item() - y["0, 1"]:item()) < 1e-5)
    assert.are.equal("Bilinear(in1_features=2, in2_features=3, out_features=4, bias=True)", tostring(m))
    assert.has_error(function() m(x2, x1) end)
  end)

  it("Bilinear starts in the bounds of its first input", function()
    for p in nn.Bilinear(64, 4, 8):parameters() do
      local most = p:abs():max():item()
      assert.is_true(most <= 1 / 8 and most > 0.5 / 8)
    end
  end)

  it("Identity takes anything", function()
    local x = lt.ones(2)
    assert.is_true(nn.Identity(54, {unused = 0.1})(x) == x)
    assert.are.equal("Identity()", tostring(nn.Identity()))
  end)

  it("Flatten keeps the batch", function()
    assert.are.same({2, 12}, shape(nn.Flatten()(lt.ones(2, 3, 4))))
    assert.are.same({6, 4}, shape(nn.Flatten(0, 1)(lt.ones(2, 3, 4))))
    assert.are.equal("Flatten(start_dim=1, end_dim=-1)", tostring(nn.Flatten()))
  end)
end)

describe("pooling", function()
  it("MaxPool2d gives places on request", function()
    local x = lt.arange(16):reshape(1, 1, 4, 4)
    assert.are.same({5, 7, 13, 15}, nn.MaxPool2d(2)(x):reshape(-1):tolist())
    local y, places = nn.MaxPool2d(2, {return_indices = true})(x)
    assert.are.same({5, 7, 13, 15}, places:reshape(-1):tolist())
    assert.are.equal("int64", places.dtype)
    assert.are.same({1, 1, 2, 2}, shape(y))
    assert.are.equal(1, select("#", nn.MaxPool2d(2)(x)))
    assert.has_error(function() nn.ReLU()(nn.MaxPool2d(2, {return_indices = true})(x)) end)
  end)

  it("AvgPool2d counts padding unless told not to", function()
    local x = lt.ones(1, 1, 2, 2)
    assert.are.equal(0.25, nn.AvgPool2d(2, 2, 1)(x)["0, 0, 0, 0"]:item())
    assert.are.equal(1, nn.AvgPool2d(2, {padding = 1, count_include_pad = false})(x)["0, 0, 0, 0"]:item())
    assert.is_true(math.abs(nn.AvgPool2d{kernel_size = 2, divisor_override = 3}(x):item() - 4 / 3) < 1e-6)
  end)

  it("print as PyTorch prints", function()
    assert.are.equal("MaxPool2d(kernel_size=(3, 2), stride=2, padding=0, dilation=1, ceil_mode=False)", tostring(nn.MaxPool2d({3, 2}, 2)))
    assert.are.equal("AvgPool2d(kernel_size=2, stride=2, padding=0)", tostring(nn.AvgPool2d(2)))
    assert.has_error(function() nn.MaxPool2d(0) end)
  end)
end)

describe("batch norm", function()
  for name, momentum in pairs({average = 0.1, cumulative = lt.None}) do
    it("agrees with PyTorch, " .. name, function()
      local case, m, y = fixtures.batch_norm[name], nn.BatchNorm2d(3, {momentum = momentum}), nil
      for i = 0, 2 do y = m(wave({2, 3, 2, 2}, i)) end
      check(case.y, y, 1e-4)
      check(case.mean, m.running_mean)
      check(case.var, m.running_var)
      assert.are.equal(case.count, m.num_batches_tracked:item())
      check(case.eval, m:eval()(wave({2, 3, 2, 2})), 1e-4)
    end)
  end

  it("without statistics uses the batch's in eval too", function()
    local m = nn.BatchNorm1d(3, {track_running_stats = false, affine = false}):eval()
    assert.are.equal(0, lt.len(m:state_dict()))
    assert.is_true(m(lt.randn(8, 3)):mean():abs():item() < 1e-6)
  end)

  it("checks dimensions and channels", function()
    assert.has_error(function() nn.BatchNorm2d(3)(lt.ones(2, 3)) end, "BatchNorm2d: expected 4D input, got 2D of shape {2, 3}")
    assert.has_error(function() nn.BatchNorm1d(3)(lt.ones(2, 4)) end)
    assert.has_error(function() nn.BatchNorm1d(3)(lt.ones(1, 3)) end)
    assert.are.same({2, 3, 4}, shape(nn.BatchNorm1d(3)(lt.randn(2, 3, 4))))
    assert.are.same({2, 3, 2, 2, 2}, shape(nn.BatchNorm3d(3)(lt.randn(2, 3, 2, 2, 2))))
  end)

  it("prints as PyTorch prints", function()
    assert.are.equal("BatchNorm2d(100, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)", tostring(nn.BatchNorm2d(100)))
    assert.are.equal("BatchNorm1d(5, eps=0.001, momentum=None, affine=False, bias=False, track_running_stats=True)",
      tostring(nn.BatchNorm1d(5, 1e-3, lt.None, false)))
  end)
end)

describe("Dropout", function()
  it("zeroes and scales in training, hands on in eval", function()
    local m, x = nn.Dropout(0.25), lt.ones(10000)
    local y = m(x)
    local kept = y:gt(0):sum():item()
    assert.is_true(kept > 7200 and kept < 7800)
    assert.is_true(math.abs(y:max():item() - 4 / 3) < 1e-6)
    assert.is_true(m:eval()(x) == x)
    assert.has_error(function() nn.Dropout(1.5) end, "Dropout: argument 'p' must be a number from 0 to 1, got 1.5")
    assert.are.equal("Dropout(p=0.25, inplace=False)", tostring(m))
  end)
end)

describe("Embedding", function()
  it("agrees with PyTorch: padding_idx, max_norm, scale_grad_by_freq", function()
    local ids, case = lt.LongTensor{{1, 3}, {3, 0}}, fixtures.embedding
    local m = nn.Embedding(5, 3, {padding_idx = 3, max_norm = 1})
    m.weight.data:copy_(wave{5, 3})
    local y = m(ids);
    (y * wave{2, 2, 3}):sum():backward()
    check(case.y, y)
    check(case.weight, m.weight)
    check(case.grad, m.weight.grad)
    local f = nn.Embedding(5, 3, {scale_grad_by_freq = true})
    f.weight.data:copy_(wave{5, 3});
    (f(ids) * wave{2, 2, 3}):sum():backward()
    check(case.by_freq, f.weight.grad)
  end)

  it("starts with a zero row at padding_idx, counted from the end too", function()
    local m = nn.Embedding(4, 2, {padding_idx = -1})
    assert.are.equal(0, m.weight[3]:abs():sum():item())
    assert.are.equal("Embedding(4, 2, padding_idx=3)", tostring(m))
    assert.has_error(function() nn.Embedding(4, 2, {padding_idx = 4}) end)
  end)

  it("is made from a given matrix by a class method", function()
    local w = lt.tensor{{1, 2}, {3, 4}}
    local m = nn.Embedding:from_pretrained(w)
    assert.are.same({3, 4}, m(lt.LongTensor{1})[0]:tolist())
    assert.is_false(m.weight.requires_grad)
    assert.is_true(nn.Embedding:from_pretrained(w, {freeze = false}).weight.requires_grad)
    assert.has_error(function() nn.Embedding.from_pretrained(w) end)
  end)

  it("refuses float ids, naming the cure, and ids out of range", function()
    local m = nn.Embedding(4, 2)
    assert.matches("ids must be int64, not float32; make them with lt.LongTensor", select(2, pcall(function()
      m(lt.tensor{1, 2})
      return nil
    end)))
    assert.is_false(waited(m, lt.LongTensor{4}))
  end)
end)

describe("activations", function()
  local texts = {
    {nn.ReLU(), "ReLU()"}, {nn.ReLU(true), "ReLU(inplace=True)"}, {nn.ReLU6(), "ReLU6()"}, {nn.LeakyReLU(), "LeakyReLU(negative_slope=0.01)"},
    {nn.ELU(2, true), "ELU(alpha=2, inplace=True)"}, {nn.Sigmoid(), "Sigmoid()"}, {nn.LogSigmoid(), "LogSigmoid()"},
    {nn.Softplus(), "Softplus(beta=1.0, threshold=20.0)"}, {nn.SiLU(), "SiLU()"}, {nn.GELU(), "GELU(approximate='none')"}, {nn.Tanh(), "Tanh()"},
    {nn.Hardtanh{max_value = 2}, "Hardtanh(min_val=-1.0, max_val=2)"}, {nn.Threshold(0.1, 20), "Threshold(threshold=0.1, value=20)"},
    {nn.Softmax(), "Softmax(dim=None)"}, {nn.LogSoftmax{dim = 1}, "LogSoftmax(dim=1)"},
  }

  it("print as PyTorch prints", function()
    for _, case in ipairs(texts) do assert.are.equal(case[2], tostring(case[1])) end
  end)

  it("compute what their functions compute", function()
    local x = lt.randn(3, 4)
    assert.is_true(lt.equal(nn.LeakyReLU(0.2)(x), F.leaky_relu(x, 0.2)))
    assert.is_true(lt.equal(nn.Threshold(0.1, 20)(x), F.threshold(x, 0.1, 20)))
    assert.is_true(lt.equal(nn.Softplus(2, 10)(x), x:softplus(2, 10)))
    assert.is_true(lt.allclose(nn.Softmax{dim = 1}(x):sum(1), lt.ones(3)))
    assert.is_true(lt.allclose(nn.LogSoftmax{dim = 1}(x):exp(), F.softmax(x, 1)))
    assert.is_true(lt.equal(nn.Hardtanh()(x), x:clamp(-1, 1)))
    for _, case in ipairs(texts) do
      if case[1].class ~= nn.Softmax then assert.are.same({3, 4}, shape(case[1](x:clone()))) end
    end
  end)

  it("work in place when asked", function()
    local x = lt.tensor{-1, 2}
    assert.is_true(nn.ReLU(true)(x) == x)
    assert.are.same({0, 2}, x:tolist())
    local y = lt.tensor{-1, 2}
    F.elu_(y)
    assert.is_true(y[0]:item() > -1)
  end)

  it("refuse wrong arguments", function()
    assert.has_error(function() nn.Threshold(1) end)
    assert.has_error(function() nn.ReLU(3) end)
    assert.has_error(function() nn.Hardtanh(2, 1) end)
    assert.has_error(function() nn.Tanh()("x") end, "Tanh: argument 'input' must be a tensor, got the string \"x\"")
  end)
end)
