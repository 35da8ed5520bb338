--- luajit random.lua SEED CALLS FOLDER: that many calls of the whole API by chance, over a pool of tensors and modules to which results return. A
-- line of output for each result that contradicts itself and each error that a user cannot read.

local seed, calls, folder = tonumber(arg[1]), tonumber(arg[2]), arg[3]
local guard = require("spec.stress.guard")
local values = require("spec.stress.values")
local api = require("spec.stress.api")
local faults = require("spec.stress.faults")
local choice = require("spec.stress.choice")
local lt = require("lunette")

local any, random = choice.any, math.random
local TENSORS, MODULES, LARGEST = 16, 6, 20000 -- how many are kept; most elements of a tensor that is kept
local DTYPES = {"float32", "float32", "float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"}

local tensors, modules = {}, {}
local reshaped = false -- did x.data = y give a tensor another shape? Then gradients, also those that it is, may have the former one.

-- Tensors of every dtype and layout --------------------------------------------------------------------------------------------------------

local function some_shape()
  local shape = {}
  for i = 1, random(0, 4) do shape[i] = any{0, 1, 2, 2, 3, 3, 4, 5} end
  if random(40) == 1 then shape = {any{300, 4097, 20000}} end
  return shape
end

local layouts = {
  function(t) return t end,
  function(t) return t:dim() > 1 and t:transpose(0, -1):contiguous():transpose(0, -1) or t end,
  function(t) return t:dim() > 0 and lt.cat({t, t, t}, -1):slice(-1, 1, nil, 2) or t end,
  function(t) return t:dim() > 0 and t:narrow(0, 0, math.min(1, t:size(0))):expand(t.shape) or t end,
  function(t) return t:dim() > 0 and t:size(0) > 1 and t:narrow(0, 1, t:size(0) - 1) or t end,
}

local function some_tensor()
  local dtype = any(DTYPES)
  local t = (lt.rand(some_shape()) * any{1, 3, 100}):to(dtype)
  local ok, laid = pcall(any(layouts), t)
  if ok then t = laid end
  if random(4) == 1 and t:is_floating_point() then t = t:detach():requires_grad_() end
  return t
end

-- Calls: each returns the text of the call and a function that makes it ----------------------------------------------------------------------

local function argument(text)
  if random(12) == 1 then return any(values.nonsense) end
  return text
end

local function is_tensor_text(text) return lt.is_tensor(values.make(text)) end

--- The value of an argument, and its text; tensors mostly come from the pool.
local function value_of(text)
  text = argument(text)
  if #tensors > 0 and random(4) > 1 and is_tensor_text(text) then
    local i = random(#tensors)
    return tensors[i], "t" .. i
  end
  return values.make(text), text
end

local function arguments_for(entry)
  local list = choice.arguments(entry)
  local made, texts = {n = #list}, {}
  for i, text in ipairs(list) do made[i], texts[i] = value_of(text) end
  return made, texts
end

local function self_for(entry)
  if entry.self ~= "tensor" or #tensors == 0 then return values.make(entry.self == "tensor" and "y" or entry.self), entry.self end
  local i = random(#tensors)
  return tensors[i], "t" .. i
end

local function api_call()
  local entry = any(api.entries)
  local made, texts = arguments_for(entry)
  local list = table.concat(texts, ", ")
  if not entry.self then return ("%s(%s)"):format(entry.name, list), function() return entry.fn(unpack(made, 1, made.n)) end end
  local self, name = self_for(entry)
  return ("%s:%s(%s)"):format(name, entry.method, list), function() return api.method(entry, self)(self, unpack(made, 1, made.n)) end
end

local OPERATORS = {
  ["+"] = function(a, b) return a + b end, ["-"] = function(a, b) return a - b end, ["*"] = function(a, b) return a * b end,
  ["/"] = function(a, b) return a / b end, ["%"] = function(a, b) return a % b end, ["^"] = function(a, b) return a ^ b end,
}
local OPERATOR_NAMES = {"+", "-", "*", "/", "%", "^"}
local INDEXES = {"0", "-1", "'1:'", "'..., 0'", "':, None'", "'::2'", "{0, 1}", "{{0, 0, 1}}", "mask", "ids", "{ids, 0}", "'0, 0'", "{lt.slice(0, 1), 0}", "lt.None"}

local others = {
  function(t, i) return ("t%d, printed"):format(i), function() return tostring(t) end end,
  function(t, i) return ("t%d:sum():backward()"):format(i), function() t:sum():backward() end end,
  function(t, i)
    local options = {retain_graph = random(2) == 1, create_graph = random(3) == 1}
    return ("t%d:backward(t%d, {retain_graph = %s, create_graph = %s})"):format(i, i, tostring(options.retain_graph), tostring(options.create_graph)),
      function() t:backward(t:detach(), options) end
  end,
  function(t, i)
    local k = random(#tensors)
    local other = tensors[k]
    return ("t%d.data = t%d"):format(i, k), function()
      reshaped = reshaped or t.shape ~= other.shape or t.dtype ~= other.dtype
      t.data = other
    end
  end,
  function(t, i)
    local k, key = random(#tensors), any{"grad", "requires_grad"}
    local value = key == "grad" and any{tensors[k], false} or random(2) == 1
    return ("t%d.%s = %s"):format(i, key, lt.is_tensor(value) and "t" .. k or tostring(value)), function() t[key] = value or nil end
  end,
  function(t, i)
    local index = argument(any(INDEXES))
    return ("t%d[%s]"):format(i, index), function() return t[values.make(index)] end
  end,
  function(t, i)
    local index, value, text = argument(any(INDEXES)), value_of(any{"1", "0.5", "y", "number", "x"})
    return ("t%d[%s] = %s"):format(i, index, text or "a value"), function() t[values.make(index)] = value end
  end,
  function(t, i)
    local sign = any(OPERATOR_NAMES)
    local other, text = value_of(any{"2", "0.5", "y", "x", "number", "-1"})
    return ("t%d %s %s"):format(i, sign, text), function() return OPERATORS[sign](t, other) end
  end,
  function(t, i)
    local path = any{"a.npy", "a.safetensors", "b.safetensors", "c.pt"}
    return ("lt.save(t%d, %q), loaded"):format(i, path), function()
      lt.save(path == "a.npy" and t or {a = t, b = {t, tensors[1]}}, path)
      return lt.load(path)
    end
  end,
  function(t, i)
    return ("lt.scope over t%d"):format(i), function()
      return lt.scope(function()
        local inner = t * 2
        return random(2) == 1 and inner + 1 or t
      end)
    end
  end,
  function(t, i)
    local hook = any{"fn", "raising", "reentrant"}
    return ("t%d:register_hook(%s)"):format(i, hook), function() t:register_hook(values.make(hook)) end
  end,
  function(t, i)
    if #modules == 0 then return "no module", function() end end
    local k = random(#modules)
    local m = modules[k]
    return ("%s(t%d)"):format(m.class.__name, i), function() return m(t) end
  end,
  function()
    if #modules == 0 then return "no module", function() end end
    local m = any(modules)
    return "a step for a " .. m.class.__name, function()
      local optimizer = any{lt.optim.SGD, lt.optim.Adam, lt.optim.AdamW}(m:parameters(), {lr = 0.1})
      optimizer:step()
      optimizer:zero_grad()
    end
  end,
  function() return "collectgarbage()", function() collectgarbage() end end,
  function() return "another tensor", some_tensor end,
}

local function some_call()
  if random(3) > 1 or #tensors == 0 then return api_call() end
  local i = random(#tensors)
  return any(others)(tensors[i], i)
end

-- Results ----------------------------------------------------------------------------------------------------------------------------------

local function product(shape)
  local n = 1
  for i = 0, #shape - 1 do n = n * shape[i] end
  return n
end

-- At least how many entries the arrays of its list have.
local function entries(shape)
  local n = 1
  for i = 0, #shape - 1 do n = n * math.max(1, shape[i]) end
  return n
end

--- Raises what is contradictory in a tensor; reads every element.
local function examine(t)
  local shape, stride = t.shape, t:stride()
  assert(product(shape) == t:numel(), "its number of elements is not that of its shape")
  assert(#shape == t:dim() and #stride == t:dim(), "shape and strides do not have its number of dimensions")
  assert(t:type() == t.dtype and t:element_size() > 0, "it has no dtype")
  if entries(shape) <= LARGEST then assert(t:dim() == 0 or #t:tolist() == t:size(0), "its list has another length") end
  local grad = not reshaped and t.is_leaf and t.grad
  if grad then assert(grad.shape == shape and grad.dtype == t.dtype, "its gradient has another shape or dtype") end
end

local function put(pool, most, value) pool[#pool < most and #pool + 1 or random(most)] = value end

local function keep(text, value, depth)
  if lt.is_tensor(value) then
    local ok, problem = guard.call(text .. ", examined", examine, value)
    if not ok and not tostring(problem):find("was released", 1, true) then faults.complain(text, "gives a tensor of which " .. tostring(problem)) end
    if ok and value:numel() <= LARGEST then put(tensors, TENSORS, value) end
  elseif type(value) == "userdata" and lt.isinstance(value, lt.nn.Module) then
    put(modules, MODULES, value)
  elseif type(value) == "table" and depth == 0 then
    for _, inner in pairs(value) do keep(text, inner, 1) end
  end
end

local function step(i)
  guard.at = i
  local text, fn = some_call()
  local results = {guard.call(text, fn)}
  if not results[1] then
    local problem = faults.of(results[2])
    if problem then faults.complain(text, problem) end
    return
  end
  for k = 2, math.min(table.maxn(results), 4) do keep(text, results[k], 0) end
end

math.randomseed(seed)
lt.manual_seed(seed)
if seed % 4 == 0 then jit.off() end
guard.start(folder)
local threads = lt.get_num_threads()
for i = 1, calls do
  step(i)
  if random(60) == 1 then
    api.restore(threads)
    put(tensors, TENSORS, some_tensor())
  end
end
