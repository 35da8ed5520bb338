--- Metrics, compared with scikit-learn 1.9 and NLTK 3.10, whose figures stand here.

local lt = require("lunette")
local metrics = lt.metrics

local said, are = lt.LongTensor{0, 1, 2, 2, 1, 0, 0, 2, 2}, lt.LongTensor{0, 1, 2, 1, 0, 0, 2, 2, 1}

local function near(expected, value) assert.is_true(math.abs(expected - value) < 1e-12, ("%.16g is not %.16g"):format(value, expected)) end

-- What a metric gives of batches {output, target}.
local function of(metric, ...)
  for _, batch in ipairs{...} do metric:update(unpack(batch)) end
  return metric:compute()
end

describe("Accuracy", function()
  it("counts over batches, for scores and for classes, with dimensions behind", function()
    local scores = lt.tensor{{0.1, 0.9}, {0.8, 0.2}, {0.3, 0.7}}
    near(2 / 3, of(metrics.Accuracy(), {scores, lt.LongTensor{1, 0, 0}}))
    near(3 / 4, of(metrics.Accuracy(), {scores, lt.LongTensor{1, 0, 0}}, {scores["0:1"], lt.LongTensor{1}}))
    near(5 / 9, of(metrics.Accuracy(), {said, are}))
    near(2 / 3, of(metrics.Accuracy(), {scores:t():unsqueeze(0), lt.LongTensor{{1, 0, 0}}}))
  end)

  it("takes the first k, of equal scores the lower class, and ignores an index", function()
    local scores = lt.tensor{{0.1, 0.9, 0.5}, {0.8, 0.2, 0.1}}
    near(0.5, of(metrics.Accuracy(2), {scores, lt.LongTensor{2, 2}}))
    near(1, of(metrics.Accuracy(3), {scores, lt.LongTensor{2, 2}}))
    near(0.5, of(metrics.Accuracy(), {lt.zeros(2, 3), lt.LongTensor{0, 1}}))
    near(1, of(metrics.Accuracy{ignore_index = -1}, {scores, lt.LongTensor{1, -1}}))
  end)

  it("refuses what it cannot count", function()
    assert.has_error(function() metrics.Accuracy():compute() end, "Accuracy: nothing was counted yet; call update first")
    assert.has_error(function() metrics.Accuracy():update(lt.ones(2, 3), lt.ones(3)) end,
      "Accuracy: scores [N, C, ...] or classes [N, ...] are expected for a target [N, ...], got shapes {2, 3} and {3}")
    assert.has_error(function() metrics.Accuracy(2):update(said, are) end, "Accuracy: top_k = 2 needs scores [N, C, ...]")
  end)
end)

describe("the confusion matrix and what is made of it", function()
  it("agree with scikit-learn", function()
    assert.are.same({{2, 1, 0}, {0, 1, 2}, {1, 0, 2}}, of(metrics.ConfusionMatrix(3), {said["0:4"], are["0:4"]}, {said["4:"], are["4:"]}):tolist())
    near(5 / 9, of(metrics.Precision(3), {said, are}))
    near(5 / 9, of(metrics.Recall(3), {said, are}))
    near(0.5, of(metrics.Recall(2, {average = "macro"}), {lt.LongTensor{0, 0, 0, 0}, lt.LongTensor{0, 0, 0, 1}}))
    near(0.375, of(metrics.Precision(2), {lt.LongTensor{0, 0, 0, 0}, lt.LongTensor{0, 0, 0, 1}}))
    near(5 / 9, of(metrics.F1(3, {average = "micro"}), {said, are}))
    near(0.5460317460317461, of(metrics.F1(3, {average = "weighted"}), {said, are}))
    for i, value in ipairs(of(metrics.F1(3, {average = "none"}), {said, are}):tolist()) do near(({2 / 3, 0.4, 4 / 7})[i], value) end
  end)

  it("refuse classes that there are not", function()
    assert.has_error(function() metrics.ConfusionMatrix(3):update(lt.LongTensor{3}, lt.LongTensor{0}) end,
      "ConfusionMatrix: the output 3 is no class from 0 to 2")
    assert.has_error(function() metrics.ConfusionMatrix(3):update(lt.LongTensor{0}, lt.LongTensor{-1}) end,
      "ConfusionMatrix: the target -1 is no class from 0 to 2")
    assert.has_error(function() metrics.F1(2):compute() end, "F1: nothing was counted yet; call update first")
  end)
end)

describe("AUC", function()
  it("counts ties half", function()
    near(0.75, of(metrics.AUC(), {lt.tensor{0.1, 0.4, 0.35, 0.8, 0.4}, lt.tensor{0, 0, 1, 1, 1}}))
    near(0.5, of(metrics.AUC(), {lt.ones(4), lt.tensor{0, 1, 0, 1}}))
  end)

  it("needs both classes", function()
    assert.has_error(function() of(metrics.AUC(), {lt.ones(1), lt.ones(1)}) end, "AUC: both classes must occur, there are 1 of class 1 and 0 of class 0")
    assert.has_error(function() of(metrics.AUC(), {lt.ones(1), lt.tensor{2}}) end, "AUC: classes are 0 or 1, got 2")
  end)
end)

describe("metrics of texts", function()
  it("Perplexity is exp of the mean cross entropy", function()
    local loss = lt.nn.functional.cross_entropy(lt.tensor{{2, 0, 1}}, lt.LongTensor{0}):item()
    near(math.exp(loss), of(metrics.Perplexity(), {lt.tensor{{2, 0, 1}, {0, 3, 0}}, lt.LongTensor{0, -100}}))
  end)

  it("BLEU agrees with NLTK", function()
    local mat = {"the", "cat", "sat", "on", "the", "mat"}
    local words, other = {"the", "cat", "sat", "on", "the", "mat", "today"}, {"a", "cat", "sat", "on", "a", "mat", "today"}
    near(0.8801117367933934, of(metrics.BLEU(), {words, {mat, other}}))
    near(0.399119619653364, of(metrics.BLEU{smooth = true}, {{"the", "cat", "sat", "here"}, {mat}}))
    assert.are.equal(0, of(metrics.BLEU(), {{"dog"}, {mat}}))
    assert.has_error(function() metrics.BLEU():update(words, mat) end, "BLEU: an array of references is expected, each an array of words")
  end)
end)

describe("metrics of regressions", function()
  it("agree with scikit-learn, over batches", function()
    local output, target = lt.tensor{1, 2, 3.5}, lt.tensor{1, 2, 3}
    near(0.875, of(metrics.R2(), {output["0:1"], target["0:1"]}, {output["1:"], target["1:"]}))
    near(0.25 / 3, of(metrics.MeanSquaredError(), {output, target}))
    near(0.5 / 3, of(metrics.MeanAbsoluteError(), {output, target}))
    near(2.5, of(metrics.Mean(), {1, 1}, {lt.tensor{2, 3, 4}}))
    assert.has_error(function() metrics.R2():update(lt.ones(2), lt.ones(3)) end, "R2: output and target differ in shape: {2} and {3}")
    assert.has_error(function() of(metrics.R2(), {output, lt.ones(3)}) end, "R2: the targets are all the same")
  end)
end)

it("a class of one's own is a metric", function()
  local Largest = metrics.Metric:subclass("Largest")
  function Largest:reset() self.value = -math.huge end
  function Largest:update(output) self.value = math.max(self.value, output:max():item()) end
  function Largest:compute() return self.value end
  assert.are.equal(3, of(Largest(), {lt.tensor{1, 3}}, {lt.tensor{2}}))
  assert.has_error(function() metrics.Metric():compute() end, "Metric: the class has no compute")
end)
