--- The cases of spec/fixtures/layers: reading them, making their modules and inputs, running them.

local lt = require("lunette")
local is_packed = require("lunette.arguments").is_packed
local nn = lt.nn

local cases = {}

local folder = debug.getinfo(1, "S").source:match("^@(.*)nn/cases%.lua$") .. "fixtures/layers/"

-- Python's words as values -----------------------------------------------------------------------------------------------------------------

local words = {True = true, False = false, None = lt.None, inf = math.huge}

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

--- "Conv2d(4, 2, padding=1)" as the class's name, the values by position and those by name.
local function read_call(call)
  local name, inner = call:match("^(%w+)%((.*)%)$")
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

local function read_case(line)
  local parts = {}
  for part in (line .. " ; "):gmatch("(.-) ; ") do parts[#parts + 1] = part end
  local mode = parts[3] or ""
  local case = {line = line, inputs = parts[2], eval = mode:find("eval") ~= nil, runs = tonumber(mode:match("runs (%d+)")) or 1, own = mode:find("own") ~= nil,
    backward = not mode:find("forward")}
  case.class, case.values, case.options = read_call(parts[1])
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
      local case = read_case(line)
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

--- sin(i + phase) in the given shape.
function cases.wave(shape, phase)
  local n, data = 1, {}
  for _, size in ipairs(shape) do n = n * size end
  for i = 1, n do data[i] = math.sin(i - 1 + (phase or 0)) end
  return lt.tensor(data):reshape(shape)
end

local function given(word, position, run, wanted)
  if word == "None" then return nil end
  if word == "True" or word == "False" then return word == "True" end
  if word:sub(1, 1) == "(" then
    local parts = {}
    for part in word:sub(2, -2):gmatch("[^,]+") do parts[#parts + 1] = given(part, position + #parts, run, wanted) end
    return parts
  end
  if word:sub(1, 1) == "[" then
    local list = {}
    for number in word:gmatch("%-?%d+") do list[#list + 1] = tonumber(number) end
    return lt.LongTensor(list)
  end
  word = word:match("^[^@]+")
  local sizes, kind, number = word:match("^([%dx]+)([+%%*~?!^]?)(%d*)$")
  local shape, n = {}, 1
  for size in sizes:gmatch("%d+") do
    shape[#shape + 1] = tonumber(size)
    n = n * tonumber(size)
  end
  if kind == "%" or kind == "!" then
    local data = {}
    for i = 1, n do data[i] = ((i - 1) * 7 + 3) % tonumber(number) end
    local whole = lt.LongTensor(data):reshape(shape)
    return kind == "!" and whole:eq(0) or whole
  end
  if kind == "^" then return lt.full(shape, -math.huge):triu(1) end
  local t = cases.wave(shape, 0.7 * position + run)
  if kind == "*" then t = t * tonumber(number) end
  if kind == "~" then return t:sign() end
  if kind == "?" then t = (t + 1) / 2 end
  return (kind == "+" and t:abs() + 0.25 or t):requires_grad_(position == 0 and wanted)
end

-- What is computed in place must be no leaf.
local function handed_over(word, x)
  if type(x) == "table" then
    local parts = {}
    for i, part in ipairs(x) do parts[i] = handed_over(word, part) end
    return parts
  end
  if x == nil or type(x) == "boolean" or x.dtype ~= "float32" then return x end
  local lengths = word:match("@(.*)$")
  return lengths and nn.utils.rnn.pack_padded_sequence(x * 1, value("(" .. lengths .. ")"), {enforce_sorted = false}) or x * 1
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
  for i, p in ipairs(module:parameters()) do
    if p.requires_grad then p.data:copy_(cases.wave({p.shape:unpack()}, 0.5 * (i - 1))) end
  end
  return module
end

--- Runs the module as the case says. Returns its results in an array, the inputs, and what was handed to forward.
function cases.run(case, module)
  local inputs, handed, results
  for i = 0, case.runs - 1 do
    if i == case.runs - 1 and case.eval then module:eval() end
    inputs, handed = {}, {}
    local n = 0
    local options
    for text in case.inputs:gmatch("%S+") do
      local name, word = text:match("^([%a_]+)=(.*)$")
      word = word or text
      local t
      if word ~= "&" then t = given(word, n, i, case.backward) end
      if name then
        options = options or {}
        options[name] = handed_over(word, t)
      else
        inputs[n + 1], handed[n + 1] = t, word == "&" and handed[1] or handed_over(word, t)
      end
      n = n + 1
    end
    local values = {unpack(handed, 1, n)}
    if options then values[#values + 1] = options end
    results = flat({}, module(unpack(values, 1, math.max(n, #values))))
  end
  if case.backward and results[1].requires_grad then (results[1] * cases.wave({results[1].shape:unpack()}, 1)):sum():backward() end
  return results, inputs, handed
end

return cases
