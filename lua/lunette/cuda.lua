--- lt.cuda: what CUDA devices there are, their memory, and the libraries that compute on them.

local base = require("lunette.ffi")
local ffi = require("ffi")

local C = base.C
local cuda = {}
local counters = {ffi.new("int64_t[1]"), ffi.new("int64_t[1]"), ffi.new("int64_t[1]")}
local length, flag = ffi.new("int[1]"), ffi.new("bool[1]")

local function device_of(device) return device == nil and 0 or base.device_id(device) end

local function memory(device, which)
  base.check(C.ln_cuda_memory(device_of(device), counters[1], counters[2], counters[3]))
  return tonumber(counters[which][0])
end

function cuda.is_available() return C.ln_cuda_is_available() end
function cuda.device_count() return C.ln_cuda_device_count() end
--- Why is_available is false; "" when it is true.
function cuda.why_not() return ffi.string(C.ln_cuda_why_not()) end
--- Waits until the device has done what was asked of it. An index outside its range, or a whole number divided by zero, is found there and raised here, or where a number is
--- next read.
function cuda.synchronize(device) base.check(C.ln_cuda_synchronize(device_of(device))) end
function cuda.memory_allocated(device) return memory(device, 1) end
function cuda.memory_reserved(device) return memory(device, 2) end
function cuda.max_memory_allocated(device) return memory(device, 3) end
function cuda.empty_cache(device) base.check(C.ln_cuda_empty_cache(device_of(device))) end

function cuda.get_device_name(device)
  local text = ffi.new("char[256]")
  base.check(C.ln_cuda_name(device_of(device), text, 256))
  return ffi.string(text)
end

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
