--- Dropout.

local arguments = require("lunette.arguments")
local class = require("lunette.nn.class")
local layer = require("lunette.nn.layer")
local F = require("lunette.nn.functional")
local repr = require("lunette.nn.repr")

local dropout = {}

local Dropout = class.Module:subclass("Dropout")
dropout.Dropout = Dropout

local parse = arguments.signature("Dropout", "p:number=0.5, inplace:bool=false")

function Dropout:__init(...)
  self.p, self.inplace = parse(...)
  if not (self.p >= 0 and self.p <= 1) then
    arguments.fail(("Dropout: p must lie between 0 and 1, not %s"):format(tostring(self.p)))
  end
end

function Dropout:forward(x, ...)
  layer.no_more(self, ...)
  return (F.dropout(x, self.p, self.training, self.inplace))
end

function Dropout:extra_repr() return ("p=%s, inplace=%s"):format(repr.number(self.p), repr.bool(self.inplace)) end

return dropout
