--- AdaptiveLogSoftmaxWithLoss: what it says of all classes agrees with what it says of the targets.

local lt = require("lunette")
local nn = lt.nn

local function layer() return nn.AdaptiveLogSoftmaxWithLoss(8, 9, {3, 5}, {div_value = 2}) end

describe("AdaptiveLogSoftmaxWithLoss", function()
  it("gives probabilities of all classes, those of the targets among them", function()
    local m, x = layer(), lt.randn(20, 8)
    local target = lt.randint(0, 9, {20})
    local logs = m:log_prob(x)
    assert.are.same({20, 9}, {logs.shape:unpack()})
    assert.is_true(lt.allclose(logs:exp():sum(1), lt.ones(20)))
    local output, loss = m(x, target)
    assert.is_true(lt.allclose(logs:gather(1, target:unsqueeze(1)):squeeze(1), output, 1e-5, 1e-6))
    assert.is_true(lt.allclose(-output:mean(), loss))
  end)

  it("takes one sample without a batch", function()
    local m, x = layer(), lt.randn(8)
    local output, loss = m(x, lt.LongTensor(7))
    assert.are.equal(0, output:dim())
    assert.is_true(math.abs(m:log_prob(x:unsqueeze(0))[{0, 7}]:item() - output:item()) < 1e-5)
    assert.are.equal(-output:item(), loss:item())
  end)

  it("predicts the likeliest class, wherever it is", function()
    local m, x = layer(), lt.randn(200, 8) * 4
    m.head.weight.data:mul_(3)
    m.tail[0][1].weight.data:mul_(9)
    local class = m:predict(x)
    assert.is_true(lt.equal(m:log_prob(x):argmax(1), class))
    assert.is_true(class:lt(3):any():item() and class:ge(3):any():item())
    m.head.weight.data["3:, :"] = 0
    m.head.weight.data["0, :"] = 0
    local ones = lt.ones(4, 8)
    m.head.weight.data["1, :"] = 5
    assert.are.same({1, 1, 1, 1}, m:predict(ones):tolist())
  end)

  it("refuses cutoffs and targets that do not fit", function()
    for _, cutoffs in ipairs{{}, {0}, {3, 3}, {4, 2}, {9}, {1.5}} do
      local ok, message = pcall(nn.AdaptiveLogSoftmaxWithLoss, 8, 9, cutoffs)
      assert.is_false(ok)
      assert.matches("AdaptiveLogSoftmaxWithLoss: .*cutoff", message)
    end
    local m = layer()
    assert.has_error(function() m(lt.ones(2, 8), lt.LongTensor{0, 9}) end,
      "AdaptiveLogSoftmaxWithLoss: targets must lie in [0, 8], got values from 0 to 9")
    assert.has_error(function() m(lt.ones(2, 8), lt.LongTensor{0}) end,
      "AdaptiveLogSoftmaxWithLoss: input must have the shape {N, 8} and target {N}, or {8} and {}, got {2, 8} and {1}")
    assert.has_error(function() m:predict(lt.ones(8)) end, "predict: input must have the shape {N, 8}, got {8}")
  end)
end)
