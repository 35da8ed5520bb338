--- Losses: layers that are a function of F with its options kept. size_average and reduce are deprecated names for values of reduction.

local declare = require("lunette.nn.declare")
local F = require("lunette.nn.functional")
local PairwiseDistance = require("lunette.nn.linear").PairwiseDistance
local reduction_of = require("lunette.nn.functional.reduction")

local loss = {}

local Loss = declare.Layer:subclass("_Loss")

function Loss:setup(given)
  self.reduction = reduction_of(given.size_average, given.reduce, given.reduction)
  self.size_average, self.reduce = nil, nil
end

local DEPRECATED = "size_average, reduce, reduction"

local function define(name, declaration)
  declaration.parent, declaration.input = Loss, declaration.input or "input:tensor, target:tensor"
  loss[name] = declare(name, declaration)
end

define("L1Loss", {of = "l1_loss", takes = DEPRECATED .. ", broadcast"})

define("MSELoss", {of = "mse_loss", takes = DEPRECATED .. ", broadcast"})

define("SmoothL1Loss", {of = "smooth_l1_loss", takes = DEPRECATED .. ", beta, broadcast"})

define("HuberLoss", {of = "huber_loss", takes = "reduction, delta, broadcast"})

define("PoissonNLLLoss", {of = "poisson_nll_loss", takes = "log_input, full, size_average, eps, reduce, reduction, broadcast"})

define("GaussianNLLLoss", {
  of = "gaussian_nll_loss", takes = "*, full, eps, reduction, broadcast", input = "input:tensor, target:tensor, var:tensor|number",
})

define("KLDivLoss", {of = "kl_div", takes = DEPRECATED .. ", log_target, broadcast"})

define("BCELoss", {of = "binary_cross_entropy", takes = "weight, " .. DEPRECATED, buffers = {"weight"}})

define("BCEWithLogitsLoss", {
  of = "binary_cross_entropy_with_logits", takes = "weight, " .. DEPRECATED .. ", pos_weight", buffers = {"weight", "pos_weight"},
})

define("MarginRankingLoss", {
  of = "margin_ranking_loss", takes = "margin, " .. DEPRECATED, input = "input1:tensor, input2:tensor, target:tensor",
})

define("HingeEmbeddingLoss", {of = "hinge_embedding_loss", takes = "margin, " .. DEPRECATED .. ", broadcast"})

define("MultiLabelMarginLoss", {of = "multilabel_margin_loss", takes = DEPRECATED})

define("SoftMarginLoss", {of = "soft_margin_loss", takes = DEPRECATED .. ", broadcast"})

define("MultiLabelSoftMarginLoss", {of = "multilabel_soft_margin_loss", takes = "weight, " .. DEPRECATED, buffers = {"weight"}})

define("CosineEmbeddingLoss", {
  of = "cosine_embedding_loss", takes = "margin, " .. DEPRECATED, input = "input1:tensor, input2:tensor, target:tensor",
})

define("MultiMarginLoss", {of = "multi_margin_loss", takes = "p, margin, weight, " .. DEPRECATED, buffers = {"weight"}})

define("TripletMarginLoss", {
  of = "triplet_margin_loss", takes = "margin, p, eps, swap, " .. DEPRECATED, input = "anchor:tensor, positive:tensor, negative:tensor",
})

define("TripletMarginWithDistanceLoss", {
  doc = "TripletMarginLoss by a distance of one's own, a function or module of two tensors; PairwiseDistance when it is left out.",
  takes = "*, distance_function:any?, margin:number>0=1, swap:bool=false, reduction:enum(none|mean|sum)=mean",
  input = "anchor:tensor, positive:tensor, negative:tensor",
})

function loss.TripletMarginWithDistanceLoss:setup(given)
  Loss.setup(self, given)
  if self.distance_function == nil then self.distance_function = PairwiseDistance() end
end

function loss.TripletMarginWithDistanceLoss:forward(anchor, positive, negative)
  return (F.triplet_margin_with_distance_loss(anchor, positive, negative,
    {distance_function = self.distance_function, margin = self.margin, swap = self.swap, reduction = self.reduction}))
end

define("NLLLoss", {of = "nll_loss", takes = "weight, size_average, ignore_index, reduce, reduction", buffers = {"weight"}})

define("CrossEntropyLoss", {
  of = "cross_entropy",
  takes = "weight, size_average, ignore_index, reduce, reduction, label_smoothing",
  buffers = {"weight"},
})

define("CTCLoss", {
  of = "ctc_loss", takes = "blank, reduction, zero_infinity",
  input = "log_probs:tensor, targets:tensor, input_lengths:any, target_lengths:any",
})

return loss
