--- Modules in another dtype or on another device. Parameters stay the objects they are.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local create = require("lunette.create")
local define = require("lunette.define")
local internals = require("lunette.nn.internals")

local Module, fail = internals.Module, arguments.fail
local getmetatable, ipairs, type = getmetatable, ipairs, type

local method = define.methods(Module, "nn.Module")

local function is_floating(t) return t.dtype:find("float", 1, true) ~= nil end

local function convert_parameter(p, convert)
  p.data = convert(p.data)
  local grad = p.grad
  if grad ~= nil then
    p.grad = nil
    p.grad = convert(grad:detach())
  end
end

-- Puts convert(t) in the place of each parameter's and buffer's elements, each shared one once.
local function convert_all(self, convert, shallow)
  local converted = {}
  for p in self:parameters(not shallow) do convert_parameter(p, convert) end
  for _, m in ipairs(shallow and {self} or self:modules()) do
    local inner = getmetatable(m)
    for _, name in ipairs(inner.buffer) do
      local b = inner.__index[name]
      if b ~= nil then
        if not converted[b.id] then converted[b.id] = convert(b) end
        m[name] = converted[b.id]
      end
    end
    internals.renew_derived(m)
  end
  return self
end

local function to_floating(dtype)
  return function(self)
    return convert_all(self, function(t) return is_floating(t) and t:to(dtype) or t end)
  end
end

for name, dtype in each({float = "float32", double = "float64", half = "float16", bfloat16 = "bfloat16"}) do
  method(name, {doc = ("Floating parameters and buffers as %s; returns the module."):format(dtype), call = to_floating(dtype)})
end

method("type", {
  doc = "All parameters and buffers as dst_type; returns the module. (What a module is, is told by lt.isinstance and m.class.)",
  takes = "dst_type:dtype",
  call = function(self, dtype)
    return convert_all(self, function(t) return t:to(dtype) end)
  end,
})

local function to_device(self, device)
  return convert_all(self, function(t) return t:to(device) end)
end

method("cpu", {doc = "Parameters and buffers on the CPU; returns the module.", call = function(self) return to_device(self, "cpu") end})

method("cuda", {
  doc = "Parameters and buffers on a GPU; device: a number from 0 or \"cuda:1\". Returns the module.",
  takes = "device:device?",
  call = function(self, device) return to_device(self, base.device_name(base.device_id(device or "cuda"))) end,
})

method("to_empty", {
  doc = "Parameters and buffers on another device, with elements that nobody has set; recurse: of the modules below too. Returns the module.",
  takes = "*, device:device, recurse:bool=true",
  call = function(self, device, recurse)
    device = base.device_name(base.device_id(device))
    return convert_all(self, function(t) return create.empty_like(t, {device = device}) end, not recurse)
  end,
})

local parse_to_tensor = arguments.signature("to", "tensor:tensor, non_blocking:bool=false")
local parse_to_dtype = arguments.signature("to", "dtype:dtype, non_blocking:bool=false")
local parse_to_device = arguments.signature("to", "device:device|none?, dtype:dtype?, non_blocking:bool=false")

local function target_of(first, ...)
  local named = type(first) == "table" and first.tensor ~= nil
  if base.is_tensor(first) or named then
    local tensor = parse_to_tensor(first, ...)
    return tensor.device, tensor.dtype
  end
  if type(first) == "string" and first ~= "cpu" and not first:find("^cuda") then return nil, (parse_to_dtype(first, ...)) end
  local device, dtype = parse_to_device(first, ...)
  return device and base.device_name(base.device_id(device)), dtype
end

--- to(device, dtype, non_blocking), to(dtype, non_blocking), to(tensor, non_blocking), or by name: parameters and buffers on that device, the floating ones in
--- that dtype. Returns the module.
function Module:to(...)
  internals.of(self, "to")
  local device, dtype = target_of(...)
  if dtype and not dtype:find("float", 1, true) then fail(("to: a module takes only floating dtypes, not \"%s\""):format(dtype)) end
  return convert_all(self, function(t)
    if device then t = t:to(device) end
    if dtype and is_floating(t) then t = t:to(dtype) end
    return t
  end)
end

return Module
