--- Dropout as a function.

local ops = require("lunette.ops")

return function(_, define)
  define("dropout", {
    takes = "input, p[0,1], training, inplace:bool=false",
    call = function(input, p, training, inplace)
      if not training then return input end
      if inplace then return (ops.dropout_(input, p, true)) end
      return (ops.dropout(input, p, true))
    end,
  })
end
