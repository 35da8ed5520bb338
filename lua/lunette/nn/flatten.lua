--- Flatten: dimensions start_dim to end_dim as one; the batch stays by default.

local arguments = require("lunette.arguments")
local class = require("lunette.nn.class")
local layer = require("lunette.nn.layer")

local flatten = {}

local Flatten = class.Module:subclass("Flatten")
flatten.Flatten = Flatten

local parse = arguments.signature("Flatten", "start_dim:int=1, end_dim:int=-1")

function Flatten:__init(...) self.start_dim, self.end_dim = parse(...) end

function Flatten:forward(x, ...)
  layer.no_more(self, ...)
  if not arguments.is_tensor(x) then arguments.fail("Flatten: a tensor is needed, not " .. arguments.describe(x)) end
  return x:flatten(self.start_dim, self.end_dim)
end

function Flatten:extra_repr() return ("start_dim=%d, end_dim=%d"):format(self.start_dim, self.end_dim) end

return flatten
