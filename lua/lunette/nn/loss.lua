--- Losses. One row each: name, function of F, parameters before and after the shared ones, and how forward calls it.

local arguments = require("lunette.arguments")
local class = require("lunette.nn.class")
local layer = require("lunette.nn.layer")
local F = require("lunette.nn.functional")
local reductions = require("lunette.nn.reductions")

local Module, no_more = class.Module, layer.no_more

local loss = {}

local weighted = "weight:tensor?, size_average:bool?, ignore_index:int=-100, reduce:bool?, reduction:enum(none|mean|sum)=mean"
local plain = "size_average:bool?, reduce:bool?, reduction:enum(none|mean|sum)=mean"

-- The element losses: |x - y| and (x - y)^2.
local function define_plain(name, operator)
  local Loss = Module:subclass(name)
  local parse = arguments.signature(name, plain)

  function Loss:__init(...) self.reduction = reductions.name(parse(...)) end

  function Loss:forward(input, target, ...)
    no_more(self, ...)
    return F[operator](input, target, nil, nil, self.reduction)
  end

  loss[name] = Loss
end

define_plain("L1Loss", "l1_loss")
define_plain("MSELoss", "mse_loss")

local NLLLoss = Module:subclass("NLLLoss")
loss.NLLLoss = NLLLoss

local parse_nll = arguments.signature("NLLLoss", weighted)

local function set_weighted(self, weight, size_average, ignore_index, reduce, reduction)
  self:register_buffer("weight", weight)
  self.ignore_index, self.reduction = ignore_index, reductions.name(size_average, reduce, reduction)
end

function NLLLoss:__init(...) set_weighted(self, parse_nll(...)) end

function NLLLoss:forward(input, target, ...)
  no_more(self, ...)
  return (F.nll_loss(input, target, self.weight, nil, self.ignore_index, nil, self.reduction))
end

local CrossEntropyLoss = Module:subclass("CrossEntropyLoss")
loss.CrossEntropyLoss = CrossEntropyLoss

local parse_cross = arguments.signature("CrossEntropyLoss", weighted .. ", label_smoothing:number=0")

function CrossEntropyLoss:__init(...)
  local weight, size_average, ignore_index, reduce, reduction, label_smoothing = parse_cross(...)
  set_weighted(self, weight, size_average, ignore_index, reduce, reduction)
  self.label_smoothing = label_smoothing
end

function CrossEntropyLoss:forward(input, target, ...)
  no_more(self, ...)
  return (F.cross_entropy(input, target, self.weight, nil, self.ignore_index, nil, self.reduction, self.label_smoothing))
end

return loss
