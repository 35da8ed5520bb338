--- nn.parallel: modules on several devices.

local arguments = require("lunette.arguments")
local data_parallel = require("lunette.nn.parallel.data_parallel")
local scatter = require("lunette.nn.parallel.scatter")

return arguments.strict({
  DataParallel = data_parallel.DataParallel, data_parallel = data_parallel.data_parallel, scatter = scatter.public.scatter, gather = scatter.public.gather,
}, "nn.parallel")
