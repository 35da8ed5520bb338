--- Padding over 1 to 3 dimensions: elements added at the ends of the last dimensions, negative numbers crop.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local F = require("lunette.nn.functional")

local padding = {}

-- What is added, for the sentence of each class.
local KINDS = {
  {name = "ConstantPad", mode = "constant", doc = "value"},
  {name = "ZeroPad", mode = "constant", doc = "zeros"},
  {name = "ReflectionPad", mode = "reflect", doc = "what lies inside the border, mirrored"},
  {name = "ReplicationPad", mode = "replicate", doc = "the element at the border"},
  {name = "CircularPad", mode = "circular", doc = "what lies at the other end"},
}

local function check_dims(name, n, input)
  local dims = input:dim()
  if dims ~= n + 1 and dims ~= n + 2 then
    arguments.fail(("%s: input must have %d dimensions, or %d without a batch, got shape %s"):format(name, n + 2, n + 1, tostring(input.shape)))
  end
end

local function define(kind, n)
  local name, constant, mode = kind.name .. n .. "d", kind.name == "ConstantPad", kind.mode
  local Pad = declare(name, {
    doc = ("The input with %s added at both ends of its last %s: padding is one number for all ends or holds pairs, the last dimension first; "
      .. "negative numbers crop."):format(kind.doc, n == 1 and "dimension" or n .. " dimensions"),
    takes = ("padding:size%d"):format(2 * n) .. (constant and ", value:number" or ""),
    text = constant and "padding value" or "!padding",
  })
  function Pad:forward(input)
    if mode == "circular" then check_dims(name, n, input) end
    return (F.pad(input, self.padding, mode, self.value))
  end
  padding[name] = Pad
end

for _, kind in ipairs(KINDS) do
  for n = 1, 3 do define(kind, n) end
end

return padding
