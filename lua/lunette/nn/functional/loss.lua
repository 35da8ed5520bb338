--- Losses as functions.

local arguments = require("lunette.arguments")
local each = require("lunette.each")
local define_row = require("lunette.define").row
local derive = require("lunette.derive")
local integers = require("lunette.nn.functional.integers")
local made = require("lunette.lazily").made
local ops = require("lunette.ops")
local reduction_of = require("lunette.nn.functional.reduction")

local fail = arguments.fail

local function same_shape(p, q)
  local n = p.ndim
  if q.ndim ~= n then return false end
  for d = 0, n - 1 do
    if p.shape[d] ~= q.shape[d] then return false end
  end
  return true
end

-- A target that fits only by broadcasting is nearly always a mistake: [5, 1] against [5] makes 25 losses of 5.
local function check_shapes(name, input, target, broadcast)
  if broadcast or same_shape(input._p, target._p) then return end
  fail(("%s: input of shape %s and target of shape %s differ; reshape one of them, or allow it with {broadcast = true}"):format(
    name, tostring(input.shape), tostring(target.shape)))
end

local function check_same(name, input, target)
  if same_shape(input._p, target._p) then return end
  fail(("%s: input of shape %s and target of shape %s differ"):format(name, tostring(input.shape), tostring(target.shape)))
end

local function check_ranks(name, input1, input2, target)
  check_same(name, input1, input2)
  if target._p.ndim == input1._p.ndim then return end
  fail(("%s: target of shape %s must have as many dimensions as the inputs of shape %s"):format(name, tostring(target.shape), tostring(input1.shape)))
end

-- The names of a signature, and the same as arguments of an operator.
local function names_of(signature, reduction)
  local names = {}
  for i, param in ipairs(derive.params(signature)) do names[i] = param.name == "reduction" and reduction or param.name end
  return table.concat(names, ", ")
end

-- The function that hands its arguments, in the order of `takes`, to the operator `name`, in its order, after
-- check(name, first, second, broadcast), or with the third where `takes` has no broadcast.
local function hand_over(name, takes, check)
  local deprecated = takes:find("size_average", 1, true)
  local given = names_of(takes, "reduction")
  local row = names_of(define_row(name), deprecated and "reduction_of(size_average, reduce, reduction)" or "reduction")
  local first, second, third = given:match("^([%w_]+), ([%w_]+), ([%w_]+)")
  local text = ("local ops, reduction_of, check = ... return function(%s) if check then check(%q, %s, %s, %s) end return (ops.%s(%s)) end"):format(
    given, name, first, second, takes:find("broadcast", 1, true) and "broadcast" or third, name, row)
  return assert(loadstring(text, "=lunette.functional"))(ops, reduction_of, check)
end

-- In [0, 1], as probabilities are.
local function check_probabilities(name, input, target)
  check_same(name, input, target)
  local outside = input:detach():lt(0):logical_or(input:detach():gt(1)):any():item()
  if outside then fail(name .. ": all elements of input must lie between 0 and 1") end
end

-- An input of classes, [N, C] or [C], and a label for each sample.
local function check_labels(name, input, target)
  integers(name, "labels", target)
  local p, q = input._p, target._p
  local samples = p.ndim == 1 and 1 or p.shape[0]
  if p.ndim < 1 or p.ndim > 2 or q.ndim > 1 or q.numel ~= samples then
    fail(("%s: input must have the shape {N, C} or {C} and target a label for each sample, got %s and %s"):format(
      name, tostring(input.shape), tostring(target.shape)))
  end
end

local function check_label_rows(name, input, target)
  check_same(name, input, integers(name, "labels", target))
  if input._p.ndim < 1 or input._p.ndim > 2 then fail(("%s: input must have the shape {N, C} or {C}, got %s"):format(name, tostring(input.shape))) end
end

local DEPRECATED = "size_average:bool?, reduce:bool?, reduction"
local BROADCAST = ", broadcast:bool=false"

-- What each takes, in PyTorch's order, and the check of its input and target.
local simple = {
  l1_loss = {"input, target, " .. DEPRECATED .. ", weight" .. BROADCAST, check_shapes},
  mse_loss = {"input, target, " .. DEPRECATED .. ", weight" .. BROADCAST, check_shapes},
  smooth_l1_loss = {"input, target, " .. DEPRECATED .. ", beta>=0" .. BROADCAST, check_shapes},
  huber_loss = {"input, target, reduction, delta>0, weight" .. BROADCAST, check_shapes},
  poisson_nll_loss = {"input, target, log_input, full, size_average:bool?, eps, reduce:bool?, reduction" .. BROADCAST, check_shapes},
  kl_div = {"input, target, " .. DEPRECATED .. ", log_target" .. BROADCAST, check_shapes},
  binary_cross_entropy = {"input, target, weight, " .. DEPRECATED, check_probabilities},
  binary_cross_entropy_with_logits = {"input, target, weight, " .. DEPRECATED .. ", pos_weight", check_same},
  margin_ranking_loss = {"input1, input2, target, margin, " .. DEPRECATED, check_ranks},
  hinge_embedding_loss = {"input, target, margin, " .. DEPRECATED .. BROADCAST, check_shapes},
  soft_margin_loss = {"input, target, " .. DEPRECATED .. BROADCAST, check_shapes},
  multilabel_soft_margin_loss = {"input, target, weight, " .. DEPRECATED, check_same},
  multilabel_margin_loss = {"input, target, " .. DEPRECATED, check_label_rows},
  multi_margin_loss = {"input, target, p[1,2], margin, weight, " .. DEPRECATED, check_labels},
  cosine_embedding_loss = {"input1, input2, target, margin, " .. DEPRECATED, check_same},
  triplet_margin_loss = {"anchor, positive, negative, margin>0, p, eps, swap, " .. DEPRECATED, nil},
}

-- The variances of gaussian_nll_loss in a shape that broadcasts as is meant: one for each element, for each row, or for all.
local function variances(input, var)
  if type(var) == "number" then var = ops.full({input.shape:unpack()}, var, input.dtype, input.device) end
  local p, shape = input._p, tostring(var.shape)
  if var._p.ndim == p.ndim - 1 then var = var:unsqueeze(-1) end
  local q = var._p
  local fits = q.ndim == p.ndim
  for d = 0, fits and p.ndim - 1 or -1 do fits = fits and (q.shape[d] == p.shape[d] or d == p.ndim - 1 and q.shape[d] == 1) end
  if not fits then
    fail(("gaussian_nll_loss: var of shape %s is neither one number for each element of an input of shape %s nor for each of its rows"):format(
      shape, tostring(input.shape)))
  end
  if var:detach():lt(0):any():item() then fail("gaussian_nll_loss: no element of var may be negative") end
  return var
end

local function reduced(losses, reduction)
  if reduction == "none" then return losses end
  return reduction == "sum" and losses:sum() or losses:mean()
end

-- What ctc_loss is given as lengths, as an int64 vector on the cpu.
local function lengths(what, given)
  if arguments.is_tensor(given) then return integers("ctc_loss", what, given):detach():to("cpu"):reshape(-1):contiguous() end
  if arguments.is_size(given) then given = given:totable() end
  local whole = type(given) == "table"
  for _, n in ipairs(whole and given or {}) do whole = whole and arguments.is_int(n) end
  if not whole then
    fail(("ctc_loss: %s must be a tensor, an array or a Size of whole numbers, one for each sequence, got %s"):format(what, arguments.describe(given)))
  end
  return require("lunette.create").tensor(given, {dtype = "int64", device = "cpu"})
end

return function(F, define)
  for name, given in each(simple) do
    local takes, check = given[1], given[2]
    define(name, {takes = takes, call = made(function() return hand_over(name, takes, check) end)})
  end

  define("gaussian_nll_loss", {
    takes = "input, target, var:tensor|number, full, eps>0, reduction" .. BROADCAST,
    call = function(input, target, var, full, eps, reduction, broadcast)
      check_shapes("gaussian_nll_loss", input, target, broadcast)
      return (ops.gaussian_nll_loss(input, target, variances(input, var), full, eps, reduction))
    end,
  })

  define("triplet_margin_with_distance_loss", {
    doc = "triplet_margin_loss by a distance of one's own, a function of two tensors; pairwise_distance when it is left out.",
    takes = "anchor:tensor, positive:tensor, negative:tensor, *, distance_function:any?, margin:number>0=1, swap:bool=false, reduction:enum(none|mean|sum)=mean",
    call = function(anchor, positive, negative, distance_function, margin, swap, reduction)
      local distance = distance_function or F.pairwise_distance
      local near, far = distance(anchor, positive), distance(anchor, negative)
      if swap then far = ops.minimum(far, distance(positive, negative)) end
      return reduced((near - far + margin):clamp(0), reduction)
    end,
  })

  define("nll_loss", {
    doc = "-input at the class of target, input: log-probabilities [N, C, ...], target: classes from 0.",
    takes = "input, target, weight, size_average:bool?, ignore_index, reduce:bool?, reduction",
    call = function(input, target, weight, size_average, ignore_index, reduce, reduction)
      target = integers("nll_loss", "labels", target)
      return (ops.nll_loss(input, target, weight, ignore_index, reduction_of(size_average, reduce, reduction)))
    end,
  })

  define("cross_entropy", {
    doc = "The cross entropy of logits [N, C, ...] and classes from 0, or probabilities of the input's shape.",
    takes = "input, target, weight, size_average:bool?, ignore_index, reduce:bool?, reduction, label_smoothing[0,1]",
    call = function(input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing)
      if target._p.ndim ~= input._p.ndim then target = integers("cross_entropy", "labels", target) end
      return (ops.cross_entropy(input, target, weight, ignore_index, reduction_of(size_average, reduce, reduction), label_smoothing))
    end,
  })

  define("ctc_loss", {
    doc = "Connectionist temporal classification (Graves et al., 2006): -log of the probability that log_probs, [T, N, C] or [T, C], read as targets, where "
      .. "repetitions of a class and then blanks are left out. targets holds classes [N, S], or those of all sequences one after another; the lengths "
      .. "are tensors, arrays or Sizes. The gradient is that of a loss of log_softmax; there is no second one.",
    takes = "log_probs, targets, input_lengths:any, target_lengths:any, blank, reduction, zero_infinity",
    call = function(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)
      targets = integers("ctc_loss", "targets", targets)
      return (ops.ctc_loss(log_probs, targets, lengths("input_lengths", input_lengths), lengths("target_lengths", target_lengths), blank, reduction,
        zero_infinity))
    end,
    example = [[
> log_probs = lt.zeros(4, 1, 3):log_softmax(-1)
> F.ctc_loss(log_probs, lt.LongTensor{ {1, 2} }, {4}, {2}, {reduction = "sum"})
tensor(1.6864)]],
  })
end
