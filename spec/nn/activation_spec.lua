--- Activations and dropouts that draw random numbers, and starting values.

local lt = require("lunette")
local nn, F = lt.nn, lt.nn.functional

local function mean_and_variance(t) return t:mean():item(), t:var():item() end

local function near(want, got, tolerance) assert.is_true(math.abs(want - got) < tolerance, got .. ", expected " .. want) end

describe("PReLU", function()
  it("starts from init", function()
    assert.are.same({0.25}, nn.PReLU().weight:tolist())
    assert.are.same({0.5, 0.5}, nn.PReLU(2, 0.5).weight:tolist())
  end)
end)

describe("RReLU in training", function()
  it("draws a slope for each negative element from the range, and its gradient is that slope", function()
    local x = (lt.rand(10000) - 1.5):requires_grad_()
    local y = F.rrelu(x, 0.2, 0.6, true)
    y:sum():backward()
    local slope = y:detach() / x:detach()
    assert.is_true(lt.allclose(slope, x.grad))
    assert.is_true(slope:min():item() >= 0.2 and slope:max():item() <= 0.6)
    local mean, variance = mean_and_variance(slope)
    near(0.4, mean, 0.01)
    near(0.16 / 12, variance, 0.001)
    assert.are.same({1, 2}, F.rrelu(lt.tensor{1, 2}, 0.2, 0.6, true):tolist())
  end)

  it("changes its input where that is asked for, and refuses an empty range", function()
    local x = lt.tensor{-1, 2}
    local y = F.rrelu_(x, 0.5, 0.5, true)
    assert.are.same({-0.5, 2}, x:tolist())
    assert.are.same({-0.5, 2}, y:tolist())
    assert.has_error(function() F.rrelu(x, 0.6, 0.5) end, "rrelu: lower 0.6 must not be above upper 0.5")
  end)
end)

describe("gumbel_softmax", function()
  it("picks each class as often as its probability says, one-hot when hard", function()
    local logits = lt.tensor{0.1, 0.2, 0.7}:log():expand(20000, 3)
    local y = F.gumbel_softmax(logits, {hard = true})
    assert.is_true(y:sum(1):allclose(lt.ones(20000)))
    local share = y:mean(0):tolist()
    for i, want in ipairs{0.1, 0.2, 0.7} do near(want, share[i], 0.02) end
    local warm, cold = F.gumbel_softmax(logits, 10):max(1), F.gumbel_softmax(logits, 0.01):max(1)
    assert.is_true(warm:mean():item() < 0.6 and cold:mean():item() > 0.98)
  end)

  it("has the gradient of the soft sample when hard", function()
    local x = lt.randn(5, 4, {requires_grad = true})
    local weight = lt.randn(5, 4)
    lt.manual_seed(3);
    (F.gumbel_softmax(x, 0.7, true) * weight):sum():backward()
    local hard = x.grad:clone()
    x.grad = nil
    lt.manual_seed(3);
    (F.gumbel_softmax(x, 0.7) * weight):sum():backward()
    assert.is_true(lt.allclose(hard, x.grad))
    assert.is_true(hard:abs():max():item() > 0)
    assert.has_error(function() F.gumbel_softmax(x, 1, false, 1e-10) end, "gumbel_softmax: eps has no effect any more; leave it out, dim goes by name")
  end)
end)

describe("dropout", function()
  it("of channels drops whole ones and scales the rest", function()
    for name, shape in pairs{dropout1d = {40, 50, 3}, dropout2d = {40, 50, 2, 2}, dropout3d = {40, 50, 2, 1, 2}} do
      local y = F[name](lt.ones(shape), 0.25, true):flatten(2)
      assert.is_true(lt.equal(y, y["..., :1"]:expand(y.shape)), name)
      near(1, y:mean():item(), 0.06)
      near(0.25, y:eq(0):float():mean():item(), 0.05)
      assert.is_true(y:max():sub(4 / 3):abs():item() < 1e-6, name)
    end
    assert.are.equal(2, #F.dropout1d(lt.ones(3, 4), 0.5, true).shape)
    local rows = F.dropout1d(lt.ones(200, 4), 0.5, true)
    assert.is_true(lt.equal(rows, rows[":, :1"]:expand(200, 4)))
    assert.has_error(function() F.dropout2d(lt.ones(3)) end, "dropout2d: input must have 3 or 4 dimensions, got shape {3}")
  end)

  it("of selu's kind keeps mean and variance", function()
    for _, name in ipairs{"alpha_dropout", "feature_alpha_dropout"} do
      local y = F[name](lt.randn(300, 100, 3), 0.3, true)
      local mean, variance = mean_and_variance(y)
      near(0, mean, 0.05)
      near(1, variance, 0.1)
      local x = lt.randn(4, 5)
      assert.is_true(lt.equal(x, F[name](x, 0.3)), name) -- training is off unless it is asked for
    end
  end)

  it("is differentiated through what it keeps, also in place", function()
    for _, name in ipairs{"dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout"} do
      local x = lt.ones(6, 5, 4, {requires_grad = true})
      local inner = x * 2
      local y = F[name](inner, 0.5, true, true)
      assert.is_true(lt.equal(inner, y), name)
      y:sum():backward()
      local kept = y:detach():gt(0)
      assert.is_true(lt.equal(kept, x.grad:gt(0)), name)
    end
  end)
end)
