--- What the files of layers share.

local arguments = require("lunette.arguments")
local Parameter = require("lunette.nn.parameter")

local layer = {}

--- A parameter of the given sizes, not yet filled.
function layer.parameter(...) return Parameter(require("lunette.create").empty(...)) end

--- Refuses values beyond those that a layer's forward takes: `relu(pool(x))` with a pool that returns two values.
function layer.no_more(self, ...)
  if select("#", ...) > 0 and (...) ~= nil then
    arguments.fail(("%s: too many values in the call, the first too many is %s"):format(self.class.__name, arguments.describe((...))))
  end
end

return layer
