local lt = require("lunette")
local helper = require("spec.nn.helper")
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
    assert.has_error(function() nn.CrossEntropyLoss()(wave{4, 3}, lt.LongTensor{3, 0, 1, 2}) end)
    assert.has_error(function() nn.CrossEntropyLoss{reduction = "avg"} end)
    assert.has_error(function() nn.MSELoss()(wave{4, 3}) end)
    assert.has_error(function() nn.MSELoss()(wave{4, 3}, wave{4, 3}, 1) end)
  end)
end)
