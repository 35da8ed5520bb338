--- Gradients as Lua sees them: backward and grad, modes, hooks, custom Functions, scopes.

local engine_calls = require("lunette.autograd.engine")
local modes = require("lunette.autograd.modes")
require("lunette.autograd.tensor")

return {
  backward = engine_calls.backward,
  grad = engine_calls.grad,
  no_grad = modes.no_grad,
  enable_grad = modes.enable_grad,
  set_grad_enabled = modes.set_grad_enabled,
  is_grad_enabled = modes.is_grad_enabled,
  detect_anomaly = modes.detect_anomaly,
  Function = require("lunette.autograd.custom"),
  scope = require("lunette.autograd.scope"),
}
