--- Identity, Linear, Bilinear.

local declare = require("lunette.nn.declare")

local linear = {}

linear.Identity = declare("Identity", {
  doc = "Hands on what it is called with; the constructor takes anything.", input = "input:any",
  example = "> nn.Identity(54, {unused = true})(lt.tensor{1, 2})\ntensor([1., 2.])",
})

function linear.Identity.__init() end

function linear.Identity:forward(input) return input end

linear.Linear = declare("Linear", {
  example = "> nn.Linear(20, 30)(lt.randn(128, 20)).shape\n{128, 30}",
  of = "linear",
  takes = "in_features:int>=0, out_features:int>=0, bias:bool=true",
  parameters = {
    "weight(out_features, in_features) = uniform(1 / sqrt(in_features))",
    "bias(out_features) = uniform(1 / sqrt(in_features)) if bias",
  },
  text = "in_features out_features bias",
})

linear.Bilinear = declare("Bilinear", {
  example = "> nn.Bilinear(20, 30, 40)(lt.randn(128, 20), lt.randn(128, 30)).shape\n{128, 40}",
  of = "bilinear",
  input = "input1:tensor, input2:tensor",
  takes = "in1_features:int>0, in2_features:int>=0, out_features:int>=0, bias:bool=true",
  parameters = {
    "weight(out_features, in1_features, in2_features) = uniform(1 / sqrt(in1_features))",
    "bias(out_features) = uniform(1 / sqrt(in1_features)) if bias",
  },
  text = "in1_features in2_features out_features bias",
})

linear.CosineSimilarity = declare("CosineSimilarity", {of = "cosine_similarity", takes = "dim, eps", input = "x1:tensor, x2:tensor"})

linear.PairwiseDistance = declare("PairwiseDistance", {
  of = "pairwise_distance", takes = "p, eps, keepdim", input = "x1:tensor, x2:tensor",
})

return linear
