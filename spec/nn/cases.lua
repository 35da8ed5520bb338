--- The cases of spec/fixtures/layers and spec/fixtures/space: reading them, making their modules and inputs, running them.

local lt = require("lunette")
local is_packed = require("lunette.arguments").is_packed
local nn = lt.nn

local cases = {}

local folder = debug.getinfo(1, "S").source:match("^@(.*)nn/cases%.lua$") .. "fixtures/layers/"

-- Python's words as values -----------------------------------------------------------------------------------------------------------------

local words = {True = true, False = false, None = lt.None, inf = math.huge, ["-inf"] = -math.huge}
for _, dtype in ipairs{"float64", "float32", "bfloat16", "float16"} do words[dtype] = dtype end

-- Splits at commas outside of brackets.
local function split(text)
  local out = {}
  local guarded = text:gsub("%b()", function(inner) return (inner:gsub(",", "\1")) end)
  for part in guarded:gmatch("[^,]+") do out[#out + 1] = (part:gsub("\1", ","):gsub("^%s+", ""):gsub("%s+$", "")) end
  return out
end

local value, construct

local function array(text)
  local out = {}
  for i, part in ipairs(split(text)) do out[i] = value(part) end
  return out
end

function value(text)
  if words[text] ~= nil then return words[text] end
  if text:match("^'.*'$") then return text:sub(2, -2) end
  if text:match("^%(.*%)$") then return array(text:sub(2, -2)) end
  local made = text:match("^tensor(%(.*%))$")
  if made then return lt.tensor(value(made)) end
  if text:match("^%u%w*%b()$") then return construct(text) end
  return assert(tonumber(text), text)
end

-- A case -----------------------------------------------------------------------------------------------------------------------------------

--- "Conv2d(4, 2, padding=1)" as the name of the class or function, the values by position and those by name.
local function read_call(call)
  local name, inner = call:match("^([%w_.]+)%((.*)%)$")
  local values, options = {}, {}
  for _, part in ipairs(split(inner)) do
    local key, word = part:match("^([%w_]+)=(.*)$")
    if key then options[key] = value(word) else values[#values + 1] = value(part) end
  end
  return name, values, options
end

-- A module of nn made by a call in Python's words.
function construct(text)
  local name, values, options = read_call(text)
  values[#values + 1] = next(options) and options or nil
  return nn[name](unpack(values))
end

cases.construct = construct

--- A line as a table.
function cases.read(line)
  local parts = {}
  for part in (line .. " ; "):gmatch("(.-) ; ") do parts[#parts + 1] = part end
  local mode = parts[3] or ""
  local case = {line = line, inputs = parts[2], eval = mode:find("eval") ~= nil, runs = tonumber(mode:match("runs (%d+)")) or 1, own = mode:find("own") ~= nil,
    backward = not mode:find("forward"), twice = not mode:find("once"), single = mode:find("single") ~= nil, dtype = mode:match("b?float%d+") or "float32"}
  case.class, case.values, case.options = read_call(parts[1])
  case.fn = case.class:match("^F%.(.*)$")
  for name, v in pairs(case.fn and case.options or {}) do
    if lt.is_tensor(v) then case.options[name] = v:to(case.dtype) end -- a module converts its own
  end
  case.text = parts[1]
  return case
end

-- "2x3 1 2 3 ..." as {shape, numbers}, "-" as false.
local function read_tensor(text)
  if text == "-" then return false end
  local shape, numbers = {}, {}
  local first, rest = text:match("^(%S+)(.*)$")
  for size in first:gmatch("%d+") do shape[#shape + 1] = tonumber(size) end
  for number in rest:gmatch("%S+") do numbers[#numbers + 1] = tonumber(number) end
  return {shape = shape, numbers = numbers}
end

local function read_expected(line)
  if line == "own" then return nil end
  local parts = {}
  for part in (line .. " ; "):gmatch("(.-) ; ") do parts[#parts + 1] = part end
  local out = {text = (parts[1]:gsub("\\n", "\n"))}
  for i, name in ipairs{"results", "inputs", "parameters", "buffers"} do
    out[name] = {}
    for tensor in parts[i + 1]:gmatch("[^,]+") do table.insert(out[name], read_tensor((tensor:gsub("^%s+", "")))) end
  end
  return out
end

-- The cases of one family, each with what PyTorch makes of it.
local function read_family(family, list)
  local expected = io.lines(folder .. "expected/" .. family .. ".txt")
  local hint = "expected/" .. family .. ".txt does not fit: run spec/fixtures/layers/generate.py " .. family
  for line in io.lines(folder .. family .. ".txt") do
    if line ~= "" and line:sub(1, 1) ~= "#" then
      local case = cases.read(line)
      list[#list + 1] = case
      case.expected = read_expected(assert(expected(), hint))
      assert((case.expected == nil) == case.own, hint)
    end
  end
  assert(not expected(), hint)
end

--- All cases in order, each with what PyTorch makes of it as `expected` (nil: our own).
function cases.all()
  local list, files = {}, io.popen("ls " .. folder)
  for name in files:lines() do
    local family = name:match("^(%w+)%.txt$")
    if family then read_family(family, list) end
  end
  files:close()
  return list
end

-- Running ----------------------------------------------------------------------------------------------------------------------------------

--- Half types get multiples of 1/64, so that no one rounds twice.
function cases.rounded(t, dtype) return dtype:find("float16") and ((t * 64 + 0.5):floor() / 64):to(dtype) or t end

--- sin(i + phase) in the given shape; of half types in float64, not yet rounded.
function cases.wave(shape, phase, dtype)
  local n, data = 1, {}
  for _, size in ipairs(shape) do n = n * size end
  for i = 1, n do data[i] = math.sin(i - 1 + (phase or 0)) end
  dtype = dtype or "float32"
  return lt.tensor(data, {dtype = dtype:find("float16") and "float64" or dtype}):reshape(shape)
end

local function count_of(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

local function integers(shape, kind, number, letters)
  local data = {}
  for i = 1, count_of(shape) do data[i] = ((i - 1) * 7 + 3) % number end
  local whole = lt.LongTensor(data):reshape(shape)
  if kind == "!" then return whole:eq(0) end
  return letters:find("i") and whole:to("int32") or letters:find("u") and whole:to("uint8") or whole
end

local function numbers(shape, kind, number, phase, dtype)
  if kind == "^" then return lt.full(shape, -math.huge, {dtype = dtype}):triu(1) end
  local t = cases.wave(shape, phase, dtype)
  if kind == "*" then t = t * number end
  if kind == "~" then t = t:sign() end
  if kind == "?" then t = (t + 1) / 2 end
  if kind == "+" then t = t:abs() + 0.25 end
  return cases.rounded(t, dtype)
end

local function given(word, position, run, wanted, dtype)
  if word == "None" then return nil end
  if word == "True" or word == "False" then return word == "True" end
  if word:sub(1, 1) == "[" then return value("(" .. word:sub(2, -2) .. ")") end
  if word:sub(1, 1) == "#" then return lt.LongTensor(value("(" .. word:sub(2) .. ")")) end
  if word:sub(1, 1) == "(" then
    local parts = {}
    for part in word:sub(2, -2):gmatch("[^,]+") do parts[#parts + 1] = given(part, position + #parts, run, wanted, dtype) end
    return parts
  end
  local sizes, kind, number, letters = word:match("^[^@]+"):gsub("^scalar", ""):match("^([%dx]*)([+%%*~?!^]?)(%d*):?(%l*)$")
  local shape = {}
  for size in sizes:gmatch("%d+") do shape[#shape + 1] = tonumber(size) end
  if kind == "%" or kind == "!" then return integers(shape, kind, tonumber(number), letters) end
  local t = numbers(shape, kind, tonumber(number), 0.7 * position + run, dtype)
  return t:requires_grad_(wanted and kind ~= "~" and kind ~= "^" and (position == 0 or letters:find("g") ~= nil))
end

-- The same values, laid out otherwise.
local laid = {
  t = function(x) return x:transpose(0, -1):contiguous():transpose(0, -1) end,
  s = function(x) return lt.stack({x, x}, -1):select(-1, 0) end,
  o = function(x)
    local first = x:narrow(0, 0, math.min(1, x:size(0)))
    return lt.cat{first, x}:narrow(0, first:size(0), x:size(0))
  end,
  c = function(x)
    local there, back = {0}, {0, x:dim() - 1}
    for d = 2, x:dim() - 1 do there[d], back[d + 1] = d, d - 1 end
    there[x:dim()] = 1
    return x:permute(there):contiguous():permute(back)
  end,
  e = function(x) return x:narrow(0, 0, math.min(1, x:size(0))):expand(x.shape) end,
}

-- What is computed in place must be no leaf.
local function handed_over(word, x)
  if type(x) == "table" then
    local parts = {}
    for i, part in ipairs(split(word:sub(2, -2))) do parts[i] = handed_over(part, x[i]) end
    return parts
  end
  if not lt.is_tensor(x) then return x end
  if x.dtype:find("float") then x = x * 1 end
  for letter in (word:match(":(%l+)") or ""):gmatch(".") do x = laid[letter] and laid[letter](x) or x end
  local lengths = word:match("@(.*)$")
  return lengths and nn.utils.rnn.pack_padded_sequence(x, value("(" .. lengths .. ")"), {enforce_sorted = false}) or x
end

-- Results one after the other, false for nil, those in arrays and packed sequences too.
local function flat(out, ...)
  for i = 1, select("#", ...) do
    local v = select(i, ...)
    if is_packed(v) then
      flat(out, v.data, v.batch_sizes, v.sorted_indices, v.unsorted_indices)
    elseif type(v) == "table" then
      flat(out, unpack(v))
    else
      out[#out + 1] = v ~= nil and v
    end
  end
  return out
end

--- The module of a case, with other arguments when they are given, its parameters filled.
function cases.make(case, values, options)
  values, options = values or case.values, options or case.options
  local arguments = {}
  for i, v in ipairs(values) do arguments[i] = v end
  if next(options) then arguments[#arguments + 1] = options end
  local module = nn[case.class](unpack(arguments))
  if case.dtype ~= "float32" then module:to(case.dtype) end
  for i, p in ipairs(module:parameters()) do
    if p.requires_grad then p.data:copy_(cases.rounded(cases.wave({p.shape:unpack()}, 0.5 * (i - 1), case.dtype), case.dtype)) end
  end
  return module
end

-- What the call number i gets: all inputs as they were made, what is handed over by place with its count as `n`, and by name.
local function arguments_of(case, i)
  local inputs, handed, options, place = {}, {n = 0}, {}, 0
  for text in case.inputs:gmatch("%S+") do
    local name, word = text:match("^([%a_][%w_]*)=(.*)$")
    word = word or text
    local t
    if word ~= "&" then t = given(word, place, i, case.backward, case.dtype) end
    place = place + 1
    inputs[place] = t
    if name then
      options[name] = handed_over(word, t)
    else
      handed.n = handed.n + 1
      if word == "&" then handed[handed.n] = handed[1] else handed[handed.n] = handed_over(word, t) end
    end
  end
  return inputs, handed, options
end

-- A function gets the call's arguments behind its inputs.
local function add_arguments(case, handed, options)
  for i, v in ipairs(case.values) do handed[handed.n + i] = v end
  handed.n = handed.n + #case.values
  for name, v in pairs(case.options) do options[name] = v end
end

--- Calls a module or function as the case says. Returns its results in an array, the inputs, and what was handed over by place.
function cases.call(case, fn)
  local inputs, handed, options, results
  for i = 0, case.runs - 1 do
    if i == case.runs - 1 and case.eval and not case.fn then fn:eval() end
    inputs, handed, options = arguments_of(case, i)
    if case.fn then add_arguments(case, handed, options) end
    local values, n = {unpack(handed, 1, handed.n)}, handed.n
    if next(options) then
      n = n + 1
      values[n] = options
    end
    results = flat({}, fn(unpack(values, 1, n)))
  end
  return results, inputs, handed
end

--- The same for a module, and the gradient of its first result.
function cases.run(case, module)
  local results, inputs, handed = cases.call(case, module)
  if case.backward and results[1].requires_grad then (results[1] * cases.wave({results[1].shape:unpack()}, 1)):sum():backward() end
  return results, inputs, handed
end

return cases
