--- Losses as functions.

local arguments = require("lunette.arguments")
local integers = require("lunette.nn.functional.integers")
local ops = require("lunette.ops")
local reduction_of = require("lunette.nn.functional.reduction")

-- What all losses of two tensors of one shape take after them.
local ELEMENTS = "input:tensor, target:tensor, size_average:bool?, reduce:bool?, reduction:enum(none|mean|sum)=mean, broadcast:bool=false"

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
  arguments.fail(("%s: input of shape %s and target of shape %s differ; reshape one of them, or allow it with {broadcast = true}"):format(
    name, tostring(input.shape), tostring(target.shape)))
end

return function(_, define)
  define("l1_loss", {
    doc = "|input - target|.",
    takes = ELEMENTS,
    call = function(input, target, size_average, reduce, reduction, broadcast)
      check_shapes("l1_loss", input, target, broadcast)
      reduction = reduction_of(size_average, reduce, reduction)
      local losses = (input - target):abs()
      if reduction == "mean" then return (losses:mean()) end
      if reduction == "sum" then return (losses:sum()) end
      return losses
    end,
  })

  define("mse_loss", {
    doc = "(input - target)^2.",
    takes = ELEMENTS,
    call = function(input, target, size_average, reduce, reduction, broadcast)
      check_shapes("mse_loss", input, target, broadcast)
      return (ops.mse_loss(input, target, reduction_of(size_average, reduce, reduction)))
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
end
