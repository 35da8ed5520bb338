--- AdaptiveLogSoftmaxWithLoss: a softmax over many classes, of which frequent ones come first and rare ones share clusters (Grave et al., 2017).

local arguments = require("lunette.arguments")
local container = require("lunette.nn.container")
local declare = require("lunette.nn.declare")
local linear = require("lunette.nn.linear")
local ops = require("lunette.ops")
local F = require("lunette.nn.functional")

local fail = arguments.fail
local floor, ipairs, type = math.floor, ipairs, type

local adaptive = {}

adaptive.AdaptiveLogSoftmaxWithLoss = declare("AdaptiveLogSoftmaxWithLoss", {
  doc = "Log-probabilities of the classes of target and their mean loss, by a softmax over the classes below the first cutoff and one for each cluster.",
  takes = "in_features:int>0, n_classes:int>0, cutoffs:table, div_value:number>0=4, head_bias:bool=false, device:device?, dtype:dtype?",
  input = "input:tensor, target:tensor",
  several = true,
})

local Adaptive = adaptive.AdaptiveLogSoftmaxWithLoss

-- The cutoffs, followed by the number of classes.
local function bounds(cutoffs, n_classes)
  local out, last = {}, 0
  for i, cutoff in ipairs(cutoffs) do
    if type(cutoff) ~= "number" or cutoff % 1 ~= 0 or cutoff <= last or cutoff >= n_classes then
      fail(("AdaptiveLogSoftmaxWithLoss: cutoffs must be whole numbers that grow, above 0 and below n_classes %d; entry %d is %s"):format(
        n_classes, i, tostring(cutoff)))
    end
    out[i], last = cutoff, cutoff
  end
  if last == 0 then fail("AdaptiveLogSoftmaxWithLoss: at least one cutoff is needed") end
  out[#out + 1] = n_classes
  return out
end

function Adaptive:setup(given)
  local all = bounds(given.cutoffs, given.n_classes)
  local function map(from, to, bias) return linear.Linear(from, to, {bias = bias, device = given.device, dtype = given.dtype}) end
  self.cutoffs = all
  self.shortlist_size, self.n_clusters = all[1], #all - 1
  self.head_size = self.shortlist_size + self.n_clusters
  self.head = map(given.in_features, self.head_size, given.head_bias)
  self.tail = container.ModuleList()
  for i = 1, self.n_clusters do
    local width = floor(given.in_features / given.div_value ^ i)
    self.tail:append(container.Sequential(map(given.in_features, width, false), map(width, all[i + 1] - all[i], false)))
  end
end

--- Gives all maps their starting values anew.
function Adaptive:reset_parameters()
  self.head:reset_parameters()
  for i = 0, self.n_clusters - 1 do
    self.tail[i][0]:reset_parameters()
    self.tail[i][1]:reset_parameters()
  end
end

local function check_target(self, input, target)
  local n = target._p.ndim
  if n > 1 or input._p.ndim ~= n + 1 or n == 1 and input._p.shape[0] ~= target._p.shape[0] then
    fail(("AdaptiveLogSoftmaxWithLoss: input must have the shape {N, %d} and target {N}, or {%d} and {}, got %s and %s"):format(
      self.in_features, self.in_features, tostring(input.shape), tostring(target.shape)))
  end
  if target:numel() == 0 then return end
  local low, high = target:min():item(), target:max():item()
  if low < 0 or high >= self.n_classes then
    fail(("AdaptiveLogSoftmaxWithLoss: targets must lie in [0, %d], got values from %d to %d"):format(self.n_classes - 1, low, high))
  end
end

-- The log-probability of each target within its cluster, as a vector over all rows; 0 where the head knows the class itself.
local function within_clusters(self, input, target)
  local output = ops.full({target:size(0)}, 0, input.dtype, input.device)
  for i = 1, self.n_clusters do
    local low, high = self.cutoffs[i], self.cutoffs[i + 1]
    local rows = target:ge(low):logical_and(target:lt(high)):nonzero():reshape(-1)
    if rows:numel() > 0 then
      local logs = F.log_softmax(self.tail[i - 1](input:index_select(0, rows)), 1)
      local own = (target:index_select(0, rows) - low):unsqueeze(1)
      output = output:index_add(0, rows, logs:gather(1, own):squeeze(1))
    end
  end
  return output
end

function Adaptive:forward(input, target)
  check_target(self, input, target)
  local single = target._p.ndim == 0
  if single then input, target = input:unsqueeze(0), target:unsqueeze(0) end
  local column = target
  for i = 1, self.n_clusters do column = ops.where(target:ge(self.cutoffs[i]), self.shortlist_size + i - 1, column) end
  local head = F.log_softmax(self.head(input), 1):gather(1, column:unsqueeze(1)):squeeze(1)
  local output = head + within_clusters(self, input, target)
  local loss = (-output):mean()
  return single and output:squeeze(0) or output, loss
end

-- Log-probabilities of all classes, from the output of the head.
local function full_log_prob(self, input, head)
  local logs = F.log_softmax(head, 1)
  local parts = {logs:narrow(1, 0, self.shortlist_size)}
  for i = 1, self.n_clusters do
    parts[i + 1] = F.log_softmax(self.tail[i - 1](input), 1) + logs:narrow(1, self.shortlist_size + i - 1, 1)
  end
  return ops.cat(parts, 1)
end

local function check_rows(self, method, input)
  if not arguments.is_tensor(input) or input._p.ndim ~= 2 then
    fail(("%s: input must have the shape {N, %d}, got %s"):format(method, self.in_features,
      arguments.is_tensor(input) and tostring(input.shape) or arguments.describe(input)))
  end
end

--- The log-probabilities of all classes, {N, n_classes}, for an input {N, in_features}.
function Adaptive:log_prob(input)
  check_rows(self, "log_prob", input)
  return full_log_prob(self, input, self.head(input))
end

--- The likeliest class of each row, {N}; what the head decides alone is not computed in full.
function Adaptive:predict(input)
  check_rows(self, "predict", input)
  local head = self.head(input)
  local class = head:argmax(1)
  local rows = class:ge(self.shortlist_size):nonzero():reshape(-1)
  if rows:numel() == 0 then return class end
  local rest = full_log_prob(self, input:index_select(0, rows), head:index_select(0, rows)):argmax(1)
  return class:scatter(0, rows, rest)
end

return adaptive
