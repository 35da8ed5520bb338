--- lt.cuda: what CUDA devices there are, their memory, and the libraries that compute on them.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local catalog = require("lunette.catalog")
local devices = require("lunette.kinds").devices
local ffi = require("ffi")

local C, fail = base.C, arguments.fail
local cuda = {}
local counters = {ffi.new("int64_t[1]"), ffi.new("int64_t[1]"), ffi.new("int64_t[1]")}
local length, flag = ffi.new("int[1]"), ffi.new("bool[1]")

-- cuda[name](...) returns run(values of the parameters).
local function define(name, doc, signature, run)
  local parse = arguments.signature(name, signature)
  cuda[name] = catalog.add(function(...) return run(parse(...)) end, {name = "lt.cuda." .. name, signature = signature, doc = doc})
end

-- The same for a function of one device, the first where none is named; run gets its number.
local function of_device(name, doc, run)
  define(name, doc, "device:device=cuda", function(device)
    if device == "cpu" then fail(("%s: a CUDA device such as \"cuda:0\" is expected, got \"cpu\""):format(name)) end
    return run(devices[device])
  end)
end

local function counter(which)
  return function(device)
    base.check(C.ln_cuda_memory(device, counters[1], counters[2], counters[3]))
    return tonumber(counters[which][0])
  end
end

define("is_available", "Can a CUDA device be used?", "", function() return C.ln_cuda_is_available() end)
define("device_count", "How many CUDA devices there are.", "", function() return C.ln_cuda_device_count() end)
define("why_not", "Why is_available is false; \"\" when it is true.", "", function() return ffi.string(C.ln_cuda_why_not()) end)

of_device("synchronize", "Waits until the device has done what was asked of it. An index outside its range, or a whole number divided by zero, is "
  .. "found there and raised here, or where a number is next read.", function(device) base.check(C.ln_cuda_synchronize(device)) end)
of_device("memory_allocated", "Bytes of the tensors on the device.", counter(1))
of_device("memory_reserved", "Bytes of the tensors on the device and of what is kept for reuse.", counter(2))
of_device("max_memory_allocated", "The most bytes that tensors on the device have had at once.", counter(3))
of_device("empty_cache", "Gives back to the device what is kept for reuse.", function(device) base.check(C.ln_cuda_empty_cache(device)) end)

of_device("get_device_name", "The name of the device.", function(device)
  local text = ffi.new("char[256]")
  base.check(C.ln_cuda_name(device, text, 256))
  return ffi.string(text)
end)

define("libraries", "What is known of NVIDIA's libraries, a line each: the version in use or why there is none, and the work that they did not "
  .. "take. Each is also printed once, when it happens.", "", function()
  local size = 4096
  while true do
    local text = ffi.new("char[?]", size)
    base.check(C.ln_cuda_libraries(text, size, length))
    if length[0] < size then return ffi.string(text) end
    size = length[0] + 1
  end
end)

define("allow_tf32", "May products and convolutions of float32 round their factors to TF32, of 10 bits? allow_tf32(true) says so, from now on; "
  .. "without an argument it only asks. Not at first.", "allowed:bool?", function(allowed)
  base.check(C.ln_cuda_allow_tf32(allowed == nil and -1 or allowed and 1 or 0, flag))
  return flag[0]
end)

return cuda
