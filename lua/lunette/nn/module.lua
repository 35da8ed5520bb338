--- nn.Module: what every module can do. How a module is built stands in class.lua, hooks in hooks.lua, state dicts in state.lua.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local class = require("lunette.nn.class")
local list = require("lunette.nn.list")
local ffi = require("ffi")

local Module, record_of, fail = class.Module, class.record_of, arguments.fail
local describe, is_module = arguments.describe, arguments.is_module

Module._version = 1
Module.dump_patches = false

--- Subclasses put theirs in its place; calling it is allowed and does nothing.
function Module.__init() end

function Module:forward() fail(("%s has no forward; write function %s:forward(x)"):format(self.class.__name, self.class.__name)) end

-- Walking the tree -----------------------------------------------------------------------------------------------------------------------

local parse_recurse = arguments.signature("parameters", "recurse:bool=true")
local parse_named = arguments.signature("named_parameters", "prefix:string=, recurse:bool=true")
local parse_modules = arguments.signature("named_modules", "memo:any?, prefix:string=")

local function walk(self, seen, prefix, out)
  if seen[self] then return out end
  seen[self] = true
  out[#out + 1] = {prefix, self}
  local record = getmetatable(self)
  for _, name in ipairs(record.module) do
    local child = record.__index[name]
    if child then walk(child, seen, prefix == "" and name or prefix .. "." .. name, out) end
  end
  return out
end

-- {name, tensor} pairs of one kind, each tensor once.
local function tensors_of(self, kind, prefix, recurse)
  local out, seen = {}, {}
  for _, pair in ipairs(recurse and walk(self, {}, prefix, {}) or {{prefix, self}}) do
    local path, record = pair[1], getmetatable(pair[2])
    for _, name in ipairs(record[kind]) do
      local t = record.__index[name]
      if t ~= nil and not seen[t.id] then
        seen[t.id] = true
        out[#out + 1] = {path == "" and name or path .. "." .. name, t}
      end
    end
  end
  return out
end

local function seconds(pairs_array)
  local out = {}
  for i, pair in ipairs(pairs_array) do out[i] = pair[2] end
  return list.of(out)
end

function Module:parameters(...)
  record_of(self, "parameters")
  return seconds(tensors_of(self, "parameter", "", parse_recurse(...)))
end

function Module:named_parameters(...)
  record_of(self, "named_parameters")
  return list.of(tensors_of(self, "parameter", parse_named(...)), true)
end

function Module:buffers(...)
  record_of(self, "buffers")
  return seconds(tensors_of(self, "buffer", "", parse_recurse(...)))
end

function Module:named_buffers(...)
  record_of(self, "named_buffers")
  return list.of(tensors_of(self, "buffer", parse_named(...)), true)
end

function Module:named_children()
  local record = record_of(self, "named_children")
  local out, seen = {}, {}
  for _, name in ipairs(record.module) do
    local child = record.__index[name]
    if child and not seen[child] then
      seen[child] = true
      out[#out + 1] = {name, child}
    end
  end
  return list.of(out, true)
end

function Module:children() return seconds(record_of(self, "children").class.named_children(self)) end

function Module:modules()
  record_of(self, "modules")
  return seconds(walk(self, {}, "", {}))
end

--- memo: a table whose keys are modules to be left out; the modules found are added to it.
function Module:named_modules(...)
  record_of(self, "named_modules")
  local memo, prefix = parse_modules(...)
  if memo ~= nil and type(memo) ~= "table" then fail("named_modules: memo must be a table, not " .. describe(memo)) end
  return list.of(walk(self, memo or {}, prefix, {}), true)
end

function Module:apply(fn)
  record_of(self, "apply")
  if type(fn) ~= "function" then fail("apply: a function is needed, not " .. describe(fn)) end
  for child in self:children() do child:apply(fn) end
  fn(self)
  return self
end

-- Registration ---------------------------------------------------------------------------------------------------------------------------

function Module:add_module(name, module)
  local record = record_of(self, "add_module")
  if module ~= nil and not is_module(module) then
    fail(("add_module: '%s' must be a module or nil, not %s"):format(tostring(name), describe(module)))
  end
  class.register_new(record, "module", name, module)
end

function Module:register_parameter(name, param)
  local record = record_of(self, "register_parameter")
  if param ~= nil and not class.is_parameter(param) then
    fail(("register_parameter: '%s' must be an nn.Parameter or nil, not %s"):format(tostring(name), describe(param)))
  end
  if param ~= nil and not param.is_leaf then
    fail(("register_parameter: '%s' must be a leaf, but it was computed by %s"):format(name, tostring(param.grad_fn)))
  end
  class.register_new(record, "parameter", name, param)
end

function Module:register_buffer(name, tensor)
  local record = record_of(self, "register_buffer")
  if tensor ~= nil and not base.is_tensor(tensor) then
    fail(("register_buffer: '%s' must be a tensor or nil, not %s"):format(tostring(name), describe(tensor)))
  end
  class.register_new(record, "buffer", name, tensor)
end

-- Modes and gradients --------------------------------------------------------------------------------------------------------------------

local parse_train = arguments.signature("train", "mode:bool=true")
local parse_requires = arguments.signature("requires_grad_", "requires_grad:bool=true")
local parse_zero = arguments.signature("zero_grad", "set_to_none:bool=false")

local function set_mode(self, mode)
  self.training = mode
  for child in self:children() do child:train(mode) end
  return self
end

function Module:train(...)
  record_of(self, "train")
  return set_mode(self, parse_train(...))
end

function Module:eval()
  record_of(self, "eval")
  return self:train(false)
end

function Module:requires_grad_(...)
  record_of(self, "requires_grad_")
  local on = parse_requires(...)
  for p in self:parameters() do p:requires_grad_(on) end
  return self
end

-- The parameters of the tree as a C array, made anew when any module anywhere was changed since.
local function pointers_of(self, record)
  local cache = record.pointers
  if cache and cache.changes == class.changes then return cache end
  local params = self:parameters()
  cache = {changes = class.changes, params = params, n = #params, array = ffi.new("ln_tensor *[?]", math.max(#params, 1))}
  for i = 1, #params do cache.array[i - 1] = base.pointer(params[i]) end
  record.pointers = cache
  return cache
end

function Module:zero_grad(...)
  local record = record_of(self, "zero_grad")
  local cache = pointers_of(self, record)
  base.check(base.C.ln_zero_grad(cache.array, cache.n, parse_zero(...)))
end

-- Conversion -----------------------------------------------------------------------------------------------------------------------------

local function is_floating(t) return t.dtype:find("float", 1, true) ~= nil end

local function convert_parameter(p, convert)
  p.data = convert(p.data)
  local grad = p.grad
  if grad ~= nil then
    p.grad = nil
    p.grad = convert(grad:detach())
  end
end

-- Puts convert(t) in the place of each parameter's and buffer's elements; parameters stay the objects they are.
local function convert_all(self, convert)
  for child in self:children() do convert_all(child, convert) end
  local record = getmetatable(self)
  for _, name in ipairs(record.parameter) do
    local p = record.__index[name]
    if p ~= nil then convert_parameter(p, convert) end
  end
  for _, name in ipairs(record.buffer) do
    local b = record.__index[name]
    if b ~= nil then self[name] = convert(b) end
  end
  return self
end

local function convert_floating(self, method, dtype)
  record_of(self, method)
  return convert_all(self, function(t) return is_floating(t) and t:to(dtype) or t end)
end

function Module:float() return convert_floating(self, "float", "float32") end

function Module:double() return convert_floating(self, "double", "float64") end

function Module:half() return convert_floating(self, "half", "float16") end

function Module:bfloat16() return convert_floating(self, "bfloat16", "bfloat16") end

function Module:type(dst_type)
  record_of(self, "type")
  if type(dst_type) ~= "string" then fail("type: a dtype is needed, not " .. describe(dst_type)) end
  return convert_all(self, function(t) return t:to(dst_type) end)
end

function Module:cpu()
  record_of(self, "cpu")
  return convert_all(self, function(t) return t:to("cpu") end)
end

--- device: nil, a number from 0, or "cuda:1".
function Module:cuda(device)
  record_of(self, "cuda")
  if type(device) == "table" then device = device.device end
  local name = type(device) == "number" and "cuda:" .. device or device or "cuda"
  return convert_all(self, function(t) return t:to(name) end)
end

local parse_to_tensor = arguments.signature("to", "tensor:tensor, non_blocking:bool=false")
local parse_to_dtype = arguments.signature("to", "dtype:dtype, non_blocking:bool=false")
local parse_to_device = arguments.signature("to", "device:device|int|none?, dtype:dtype?, non_blocking:bool=false")

local function target_of(first, ...)
  local named = type(first) == "table" and first.tensor ~= nil
  if base.is_tensor(first) or named then
    local tensor = parse_to_tensor(first, ...)
    return tensor.device, tensor.dtype
  end
  if type(first) == "string" and first ~= "cpu" and not first:find("^cuda") then return nil, (parse_to_dtype(first, ...)) end
  local device, dtype = parse_to_device(first, ...)
  return type(device) == "number" and "cuda:" .. device or device, dtype
end

--- to(device, dtype, non_blocking), to(dtype, non_blocking), to(tensor, non_blocking), or by name.
function Module:to(...)
  record_of(self, "to")
  local device, dtype = target_of(...)
  if dtype and not dtype:find("float", 1, true) then
    fail(("to: a module takes only floating dtypes, not \"%s\""):format(dtype))
  end
  return convert_all(self, function(t)
    if device then t = t:to(device) end
    if dtype and is_floating(t) then t = t:to(dtype) end
    return t
  end)
end

-- Text -----------------------------------------------------------------------------------------------------------------------------------

--- Override: what stands in the brackets of the text, one or several lines.
function Module.extra_repr() return "" end

function Module:_get_name() return self.class.__name end

function Module:__repr()
  local record = getmetatable(self)
  local extra = self:extra_repr()
  local lines = {}
  for line in (extra ~= "" and extra .. "\n" or ""):gmatch("(.-)\n") do lines[#lines + 1] = line end
  local children = 0
  for _, name in ipairs(record.module) do
    local child = record.__index[name]
    children = children + 1
    lines[#lines + 1] = ("(%s): %s"):format(name, (tostring(child ~= nil and child or "None"):gsub("\n", "\n  ")))
  end
  if #lines == 0 then return self:_get_name() .. "()" end
  if #lines == 1 and children == 0 then return ("%s(%s)"):format(self:_get_name(), lines[1]) end
  return ("%s(\n  %s\n)"):format(self:_get_name(), table.concat(lines, "\n  "))
end

return Module
