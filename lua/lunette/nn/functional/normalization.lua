--- Normalisation as functions.

local arguments = require("lunette.arguments")
local ops = require("lunette.ops")

local fail = arguments.fail

local function check_training(input, eps)
  if eps <= 0 or eps ~= eps then fail(("batch_norm: eps must be positive in training, got %s"):format(tostring(eps))) end
  local p = input._p
  if p.ndim >= 2 and p.shape[1] > 0 and p.numel == p.shape[1] then
    fail(("batch_norm: more than 1 value per channel is needed when training, got input of shape %s"):format(tostring(input.shape)))
  end
end

return function(_, define)
  define("layer_norm")

  define("batch_norm", {
    takes = "input, running_mean, running_var, weight, bias, training, momentum, eps",
    call = function(input, running_mean, running_var, weight, bias, training, momentum, eps)
      if training then check_training(input, eps) end
      return (ops.batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps))
    end,
  })
end
