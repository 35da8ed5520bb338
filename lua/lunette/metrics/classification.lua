--- Metrics of classifiers: Accuracy, ConfusionMatrix, Precision, Recall, F1, AUC.

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local create = require("lunette.create")
local Metric = require("lunette.metrics.metric")
local ops = require("lunette.ops")

local tostring, sort = tostring, table.sort

local classification = {}

local function define(name, declaration)
  declaration.parent = Metric
  classification[name] = class.define("metrics." .. name, declaration)
  return classification[name]
end

-- update(output, target) of every metric here.
local parse_update = arguments.signature("update", "output:tensor, target:tensor")

-- The target without what is to be ignored, and the output likewise: scores [N, C, ...] become [M, C], classes [N, ...] become [M].
local function rows_of(self, output, target)
  output, target = output:detach(), target:detach()
  local scored = output:dim() == target:dim() + 1 and output:dim() > 1
  local fits = scored and output:size(0) == target:size(0) and output:numel() == output:size(1) * target:numel() or tostring(output.shape) == tostring(target.shape)
  if not fits then
    self:refuse("scores [N, C, ...] or classes [N, ...] are expected for a target [N, ...], got shapes %s and %s", tostring(output.shape), tostring(target.shape))
  end
  target = target:flatten()
  if scored then output = output:transpose(1, -1):reshape(-1, output:size(1)) else output = output:flatten() end
  if self.ignore_index then
    local kept = target:ne(self.ignore_index)
    output, target = output[kept], target[kept]
  end
  return output, target, scored
end

-- Accuracy -------------------------------------------------------------------------------------------------------------------------------

local Accuracy = define("Accuracy", {
  doc = "The part of targets that is among the top_k classes of the highest scores; ties count against it when they stand at a lower class.",
  takes = "top_k:int>0=1, ignore_index:int?",
})

function Accuracy:__init(...)
  self.top_k, self.ignore_index = Accuracy.__parse(...)
  self:reset()
end

function Accuracy:reset() self.right, self.count = 0, 0 end

-- How many scores are above that of the target, or equal to it and before it: [M].
local function ranks(scores, target)
  local own = scores:gather(1, target:long():unsqueeze(1))
  local before = create.arange(scores:size(1), {dtype = "int64", device = scores.device}):lt(target:long():unsqueeze(1))
  return scores:gt(own):logical_or(scores:eq(own):logical_and(before)):sum(1)
end

--- Counts a batch: scores [N, C, ...] or classes [N, ...], and the classes [N, ...] that are right.
function Accuracy:update(...)
  local output, target, scored = rows_of(self, parse_update(...))
  if not scored and self.top_k > 1 then self:refuse("top_k = %d needs scores [N, C, ...]", self.top_k) end
  local hits = scored and ranks(output, target):lt(self.top_k) or output:eq(target)
  self.right, self.count = self.right + hits:sum():item(), self.count + target:numel()
end

--- The part that is right, from 0 to 1.
function Accuracy:compute()
  self:need(self.count)
  return self.right / self.count
end

-- The confusion matrix ---------------------------------------------------------------------------------------------------------------------

local ConfusionMatrix = define("ConfusionMatrix", {
  doc = "How often class i (row) was taken for class j (column): int64 [num_classes, num_classes], on the cpu.",
  takes = "num_classes:int>0, ignore_index:int?",
})

function ConfusionMatrix:__init(...)
  self.num_classes, self.ignore_index = ConfusionMatrix.__parse(...)
  self:reset()
end

function ConfusionMatrix:reset() self.counts = create.zeros(self.num_classes * self.num_classes, {dtype = "int64", device = "cpu"}) end

local function check_classes(self, classes, what)
  if classes:numel() == 0 then return end
  local low, high = classes:min():item(), classes:max():item()
  if low < 0 or high >= self.num_classes then
    self:refuse("%s %s is no class from 0 to %d", what, tostring(low < 0 and low or high), self.num_classes - 1)
  end
end

--- Counts a batch: scores [N, C, ...] or classes [N, ...], and the classes [N, ...] that are right.
function ConfusionMatrix:update(...)
  local output, target, scored = rows_of(self, parse_update(...))
  local said = (scored and output:argmax(1) or output):long():cpu()
  target = target:long():cpu()
  check_classes(self, said, "the output")
  check_classes(self, target, "the target")
  local places = target * self.num_classes + said
  self.counts = ops.index_add(self.counts, 0, places, create.ones(places:numel(), {dtype = "int64", device = "cpu"}))
end

--- The matrix; of no batch, all zeros.
function ConfusionMatrix:compute() return self.counts:view(self.num_classes, self.num_classes):clone() end

-- Precision, recall, F1 ---------------------------------------------------------------------------------------------------------------------

-- A quotient of counts, 0 where nothing was to be counted.
local function part(a, b) return (a / b):where(b:gt(0), 0) end

-- How each is made of the numbers of right ones, of those that were said and of those that are, by class.
local FORMULAS = {
  Precision = function(right, said) return part(right, said) end,
  Recall = function(right, _, are) return part(right, are) end,
  F1 = function(right, said, are) return part(2 * right, said + are) end,
}
local SENTENCES = {
  Precision = "The part of what was said to be a class that is of it",
  Recall = "The part of what is of a class that was said to be",
  F1 = "The harmonic mean of precision and recall",
}

for name, formula in require("lunette.each")(FORMULAS) do
  local Score = define(name, {
    doc = SENTENCES[name] .. ": the mean over classes (macro), over classes by how frequent they are (weighted), of all counts together (micro), or a tensor of "
      .. "each class (none). A class that does not occur counts 0.",
    takes = "num_classes:int>0, average:enum(macro|micro|weighted|none)=macro, ignore_index:int?",
  })

  function Score:__init(...)
    local num_classes, ignore_index
    num_classes, self.average, ignore_index = Score.__parse(...)
    self.matrix = ConfusionMatrix(num_classes, ignore_index)
  end

  --- Forgets what was counted.
  function Score:reset() self.matrix:reset() end

  --- Counts a batch: scores [N, C, ...] or classes [N, ...], and the classes [N, ...] that are right.
  function Score:update(...) self.matrix:update(...) end

  --- A number from 0 to 1, or with average = "none" one for each class.
  function Score:compute()
    local counts = self.matrix:compute():double()
    self:need(counts:sum():item())
    local right, said, are = counts:diagonal(), counts:sum(0), counts:sum(1)
    if self.average == "micro" then return formula(right:sum(), said:sum(), are:sum()):item() end
    local each_class = formula(right, said, are)
    if self.average == "none" then return each_class end
    if self.average == "weighted" then return (each_class * are / are:sum()):sum():item() end
    return each_class:mean():item()
  end
end

-- AUC ----------------------------------------------------------------------------------------------------------------------------------------

local AUC = define("AUC", {
  doc = "The area under the ROC curve: how often a score of class 1 is above one of class 0, ties counting half.",
  takes = "",
})

function AUC:reset() self.scores, self.labels = {}, {} end

--- Counts a batch: scores [N] and classes 0 or 1 [N].
function AUC:update(...)
  local output, target = parse_update(...)
  if output:numel() ~= target:numel() then
    self:refuse("as many scores as classes are expected, got shapes %s and %s", tostring(output.shape), tostring(target.shape))
  end
  local scores, labels = output:detach():double():flatten():tolist(), target:double():flatten():tolist()
  for i = 1, #scores do
    if labels[i] ~= 0 and labels[i] ~= 1 then self:refuse("classes are 0 or 1, got %s", tostring(labels[i])) end
    if scores[i] ~= scores[i] then self:refuse("a score is nan") end
    self.scores[#self.scores + 1], self.labels[#self.labels + 1] = scores[i], labels[i]
  end
end

--- The area, from 0 to 1.
function AUC:compute()
  local scores, labels, order = self.scores, self.labels, {}
  for i = 1, #scores do order[i] = i end
  sort(order, function(a, b) return scores[a] < scores[b] end)
  local ones, rank_sum, i = 0, 0, 1
  while i <= #order do
    local last = i
    while last < #order and scores[order[last + 1]] == scores[order[i]] do last = last + 1 end
    for k = i, last do -- all of a tie have its middle rank
      if labels[order[k]] == 1 then ones, rank_sum = ones + 1, rank_sum + (i + last) / 2 end
    end
    i = last + 1
  end
  local zeros = #order - ones
  if ones == 0 or zeros == 0 then self:refuse("both classes must occur, there are %d of class 1 and %d of class 0", ones, zeros) end
  return (rank_sum - ones * (ones + 1) / 2) / (ones * zeros)
end

return classification
