--- lt.cuda: what CUDA devices there are, their memory, and the libraries that compute on them.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local ffi = require("ffi")

local C = base.C
local cuda = {}
local counters = {ffi.new("int64_t[1]"), ffi.new("int64_t[1]"), ffi.new("int64_t[1]")}
local length, flag = ffi.new("int[1]"), ffi.new("bool[1]")

-- A function of a device, the first one when none is named; `call` gets its number.
local function of_device(name, call)
  local parse = arguments.signature(name, "device:device?")
  return function(...)
    local device = parse(...)
    local id = device == nil and 0 or base.device_id(device)
    if id < 0 then arguments.fail(("%s: a CUDA device such as \"cuda:0\" is expected, got \"cpu\""):format(name)) end
    return call(id)
  end
end

-- A function that gives one of the counters of a device's memory.
local function counter(name, which)
  return of_device(name, function(id)
    base.check(C.ln_cuda_memory(id, counters[1], counters[2], counters[3]))
    return tonumber(counters[which][0])
  end)
end

function cuda.is_available() return C.ln_cuda_is_available() end
function cuda.device_count() return C.ln_cuda_device_count() end
--- Why is_available is false; "" when it is true.
function cuda.why_not() return ffi.string(C.ln_cuda_why_not()) end
--- Waits until the device has done what was asked of it. An index outside its range, or a whole number divided by zero, is found there and raised here, or where a number is
--- next read.
cuda.synchronize = of_device("synchronize", function(id) base.check(C.ln_cuda_synchronize(id)) end)
cuda.memory_allocated = counter("memory_allocated", 1)
cuda.memory_reserved = counter("memory_reserved", 2)
cuda.max_memory_allocated = counter("max_memory_allocated", 3)
cuda.empty_cache = of_device("empty_cache", function(id) base.check(C.ln_cuda_empty_cache(id)) end)

cuda.get_device_name = of_device("get_device_name", function(id)
  local text = ffi.new("char[256]")
  base.check(C.ln_cuda_name(id, text, 256))
  return ffi.string(text)
end)

--- What is known of NVIDIA's libraries, a line each: the version in use or why there is none, and the work that they did not take. Each is also printed once, when it happens.
function cuda.libraries()
  local text = ffi.new("char[16384]")
  base.check(C.ln_cuda_libraries(text, 16384, length))
  return ffi.string(text)
end

--- May products and convolutions of float32 round their factors to TF32, of 10 bits? allow_tf32(true) says so, from now on; without an argument it only asks. Not at first.
function cuda.allow_tf32(allowed)
  if allowed ~= nil and type(allowed) ~= "boolean" then base.fail("allow_tf32: argument 'allowed' must be true or false, not " .. type(allowed)) end
  base.check(C.ln_cuda_allow_tf32(allowed == nil and -1 or allowed and 1 or 0, flag))
  return flag[0]
end

return cuda
