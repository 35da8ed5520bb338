--- For specs that no device touches: `if require("spec.once").done then return end`. They run with tensors on the cpu, and not again elsewhere.

return {done = (os.getenv("LUNETTE_TEST_DEVICE") or "") ~= ""}
