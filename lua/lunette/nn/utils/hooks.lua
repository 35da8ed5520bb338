--- nn.utils.hooks: what registering a hook returns.

local arguments = require("lunette.arguments")

return arguments.strict({RemovableHandle = require("lunette.handle")}, "nn.utils.hooks")
