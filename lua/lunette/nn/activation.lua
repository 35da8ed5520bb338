--- Activations. One row each: name, function of F, parameters in the order of both, and how each stands in the text.
---
--- Text: "float" always with a point, "number" as given, "flag" (only shown when true, or "always" when it is the only word), "none" never.

local arguments = require("lunette.arguments")
local class = require("lunette.nn.class")
local layer = require("lunette.nn.layer")
local F = require("lunette.nn.functional")
local repr = require("lunette.nn.repr")

local Module, no_more = class.Module, layer.no_more

local activation = {}

local rows = {
  {"ReLU", "relu", "inplace:bool=false", {"flag"}},
  {"ReLU6", "relu6", "inplace:bool=false", {"flag"}},
  {"LeakyReLU", "leaky_relu", "negative_slope:number=0.01, inplace:bool=false", {"number", "flag"}},
  {"ELU", "elu", "alpha:number=1, inplace:bool=false", {"float", "flag"}},
  {"Threshold", "threshold", "threshold:number, value:number, inplace:bool=false", {"number", "number", "flag"}},
  {"Softplus", "softplus", "beta:number=1, threshold:number=20", {"number", "number"}},
  {"Sigmoid", "sigmoid", "", {}},
  {"LogSigmoid", "logsigmoid", "", {}},
  {"SiLU", "silu", "inplace:bool=false", {"flag"}},
  {"GELU", "gelu", "", {}},
  {"Tanh", "tanh", "", {}},
  {"Softmax", "softmax", "dim:int?", {"number"}},
  {"LogSoftmax", "log_softmax", "dim:int?", {"number"}},
}

local function text_of(self, names, kinds)
  local out = {}
  for i, name in ipairs(names) do
    local value = self[name]
    if kinds[i] == "flag" then
      if value then out[#out + 1] = name .. "=True" end
    else
      out[#out + 1] = name .. "=" .. (kinds[i] == "float" and repr.float(value) or repr.value(value))
    end
  end
  return table.concat(out, ", ")
end

local function define(name, operator, signature, kinds)
  local Layer = Module:subclass(name)
  local parse = arguments.signature(name, signature)
  local names = {}
  for key in signature:gmatch("([%w_]+):") do names[#names + 1] = key end
  local first, second, third = names[1] or false, names[2] or false, names[3] or false

  function Layer:__init(...)
    local values = {parse(...)}
    for i, key in ipairs(names) do self[key] = values[i] end
  end

  if not first then
    function Layer:forward(x, ...)
      no_more(self, ...)
      return F[operator](x)
    end
  elseif not second then
    function Layer:forward(x, ...)
      no_more(self, ...)
      return F[operator](x, self[first])
    end
  else
    function Layer:forward(x, ...)
      no_more(self, ...)
      return F[operator](x, self[first], self[second], third and self[third] or nil)
    end
  end

  function Layer:extra_repr() return text_of(self, names, kinds) end

  activation[name] = Layer
end

for _, row in ipairs(rows) do define(unpack(row)) end

-- Hardtanh has the deprecated names min_value and max_value beside its own.
local Hardtanh = Module:subclass("Hardtanh")
activation.Hardtanh = Hardtanh

local parse_hardtanh = arguments.signature("Hardtanh",
  "min_val:number=-1, max_val:number=1, inplace:bool=false, min_value:number?, max_value:number?")

function Hardtanh:__init(...)
  local min_val, max_val, inplace, min_value, max_value = parse_hardtanh(...)
  self.min_val, self.max_val, self.inplace = min_value or min_val, max_value or max_val, inplace
  if self.min_val >= self.max_val then
    arguments.fail(("Hardtanh: min_val %s must be below max_val %s"):format(tostring(self.min_val), tostring(self.max_val)))
  end
end

function Hardtanh:forward(x, ...)
  no_more(self, ...)
  return (F.hardtanh(x, self.min_val, self.max_val, self.inplace))
end

function Hardtanh:extra_repr()
  return ("min_val=%s, max_val=%s%s"):format(repr.float(self.min_val), repr.float(self.max_val), self.inplace and ", inplace=True" or "")
end

return activation
