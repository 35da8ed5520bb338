--- What specs of functions and layers ask beyond the cases of fixtures.

local assert = require("luassert")
local lt = require("lunette")
local waited = require("spec.waited")

local checks = {}

--- The sizes of a tensor as an array.
function checks.shape(t) return {t.shape:unpack()} end

--- A float64 leaf of the given sizes whose elements differ.
function checks.double(...)
  local x = lt.arange(lt.Size{...}:numel(), {dtype = "float64"})
  return (x * 0.7):sin():add(x * 1e-3):reshape(...):requires_grad_()
end

--- Finite differences agree with the first and the second derivatives of `fn` at the given tensors.
function checks.differentiable(fn, ...)
  assert.is_true(lt.autograd.gradcheck(fn, {...}))
  assert.is_true(lt.autograd.gradgradcheck(fn, {...}))
end

--- `fn` raises an error that holds `text`, at the latest when a device is waited for.
function checks.refuses(text, fn)
  local ok, message = waited(fn)
  assert.is_false(ok)
  assert.is_truthy(tostring(message):find(text, 1, true), message)
end

return checks
