--- As pcall, for a function whose result nobody wants. A device looks at elements (indices, divisors) later than it is asked to, so it is waited for as well.

local device = os.getenv("LUNETTE_TEST_DEVICE")

return function(f, ...)
  local ok, message = pcall(f, ...)
  if ok and device and device ~= "" then ok, message = pcall(require("lunette").cuda.synchronize) end
  return ok, message
end
