local lt = require("lunette")
local helper = require("spec.nn.helper")
local waited = require("spec.waited")
local nn, F = lt.nn, lt.nn.functional
local wave, check, fixtures = helper.wave, helper.check, helper.fixtures.loss

local labels, weight = {2, 0, 1, 2}, {1, 2, 0.5}

describe("losses", function()
  for _, reduction in ipairs({"none", "mean", "sum"}) do
    it("agree with PyTorch, reduction " .. reduction, function()
      local x, target = wave{4, 3}, lt.LongTensor(labels)
      local options = {weight = lt.tensor(weight), ignore_index = 0, reduction = reduction}
      check(fixtures["cross_" .. reduction], nn.CrossEntropyLoss(options)(x, target))
      check(fixtures["nll_" .. reduction], nn.NLLLoss(options)(F.log_softmax(x, 1), target))
      check(fixtures["mse_" .. reduction], nn.MSELoss{reduction = reduction}(x, wave({4, 3}, 1)))
      check(fixtures["l1_" .. reduction], nn.L1Loss{reduction = reduction}(x, wave({4, 3}, 1)))
    end)
  end

  it("take the deprecated booleans", function()
    assert.are.equal("sum", nn.MSELoss{size_average = false}.reduction)
    assert.are.equal("none", nn.MSELoss(true, false).reduction)
    assert.are.equal("mean", nn.CrossEntropyLoss(nil, true).reduction)
  end)

  it("smooth labels", function()
    check(fixtures.smooth, nn.CrossEntropyLoss{label_smoothing = 0.1}(wave{4, 3}, lt.LongTensor(labels)))
  end)

  it("keep weights as a buffer", function()
    local m = nn.CrossEntropyLoss{weight = lt.tensor(weight)}
    assert.are.equal("weight", lt.keys(m:state_dict())[1])
    assert.are.equal("CrossEntropyLoss()", tostring(m))
  end)

  it("refuse float labels, naming the cure", function()
    for _, loss in ipairs({nn.CrossEntropyLoss(), nn.NLLLoss()}) do
      local ok, message = pcall(function()
        loss(wave{4, 3}, lt.tensor(labels))
        return nil
      end)
      assert.is_false(ok)
      assert.matches("labels must be int64, not float32; make them with lt.LongTensor", message)
    end
  end)

  it("refuse other wrong input", function()
    assert.is_false(waited(nn.CrossEntropyLoss(), wave{4, 3}, lt.LongTensor{3, 0, 1, 2}))
    assert.has_error(function() nn.CrossEntropyLoss{reduction = "avg"} end)
    assert.has_error(function() nn.MSELoss()(wave{4, 3}) end)
    assert.has_error(function() nn.MSELoss()(wave{4, 3}, wave{4, 3}, 1) end)
  end)

  it("refuse probabilities outside of 0 to 1, shapes that differ, negative variances", function()
    local x = wave{4, 3}
    assert.has_error(function() F.binary_cross_entropy(x, x) end, "binary_cross_entropy: all elements of input must lie between 0 and 1")
    assert.has_error(function() F.binary_cross_entropy_with_logits(x, wave{3}) end,
      "binary_cross_entropy_with_logits: input of shape {4, 3} and target of shape {3} differ")
    for _, name in ipairs{"l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "kl_div", "hinge_embedding_loss", "soft_margin_loss"} do
      assert.has_error(function() F[name](wave{4, 1}, wave{4}) end,
        name .. ": input of shape {4, 1} and target of shape {4} differ; reshape one of them, or allow it with {broadcast = true}")
      assert.is_true(pcall(F[name], wave{4, 1}, wave{4}, {broadcast = true}))
    end
    assert.has_error(function() F.gaussian_nll_loss(x, x, x) end, "gaussian_nll_loss: no element of var may be negative")
    assert.has_error(function() F.gaussian_nll_loss(x, x, lt.ones(3)) end,
      "gaussian_nll_loss: var of shape {3} is neither one number for each element of an input of shape {4, 3} nor for each of its rows")
    assert.are.equal(F.gaussian_nll_loss(x, x + 1, lt.ones(4, 3) * 2):item(), F.gaussian_nll_loss(x, x + 1, 2):item())
    assert.has_error(function() F.multi_margin_loss(x, lt.LongTensor{1, 2}) end,
      "multi_margin_loss: input must have the shape {N, C} or {C} and target a label for each sample, got {4, 3} and {2}")
  end)

  it("of triplets take a distance of one's own", function()
    local function distance(a, b) return (a - b):abs():sum(-1) end
    local a, p, n = wave{4, 3}, wave({4, 3}, 1), wave({4, 3}, 2)
    local want = (distance(a, p) - lt.minimum(distance(a, n), distance(p, n)) + 2):clamp(0):mean()
    local loss = nn.TripletMarginWithDistanceLoss{distance_function = distance, margin = 2, swap = true}
    assert.is_true(lt.allclose(want, loss(a, p, n)))
    local layer = nn.TripletMarginWithDistanceLoss{distance_function = nn.PairwiseDistance(1)}
    assert.are.equal("TripletMarginWithDistanceLoss(\n  (distance_function): PairwiseDistance()\n)", tostring(layer))
    assert.is_true(lt.allclose(F.triplet_margin_loss(a, p, n, {p = 1}), layer(a, p, n)))
  end)
end)
