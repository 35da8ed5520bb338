--- Gradients as Lua sees them: backward and grad, modes, hooks, custom Functions, scopes.

local base = require("lunette.ffi")
local lazily = require("lunette.lazily")
local T = base.T
require("lunette.autograd.tensor")

local autograd = {}
lazily.from("lunette.autograd.engine", autograd, "backward grad")
lazily.from("lunette.autograd.modes", autograd, "no_grad enable_grad set_grad_enabled is_grad_enabled detect_anomaly")
lazily.from("lunette.autograd.scope", autograd, "scope")

lazily.defined("lunette.autograd.engine", T, "backward")

return setmetatable(autograd, {
  __index = function(_, name)
    if name == "Function" then return require("lunette.autograd.custom") end
    if name == "gradcheck" or name == "gradgradcheck" then return require("lunette.gradcheck")[name] end
    base.fail("lt.autograd has no '" .. tostring(name) .. "'")
  end,
})
