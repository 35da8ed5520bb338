--- Every operator and dtype against what PyTorch makes of the same inputs, in three layouts; and the calls that PyTorch refuses. The cases are
--- written by fixtures/operators.

local lt = require("lunette")
local ops = require("lunette.ops")
local waited = require("spec.waited")
local FAMILIES = {"elementwise", "reductions", "moments", "selection", "matrices", "products", "linalg", "views", "shapes", "creation", "moving", "network", "images"}
local here = debug.getinfo(1, "S").source:match("^@(.*)parity_spec%.lua$")

-- Inputs ---------------------------------------------------------------------------------------------------------------------------------

local function words_of(text)
  local words = {}
  for word in text:gmatch("%S+") do words[#words + 1] = word end
  return words
end

local function shape_of(word)
  local shape, n = {}, 1
  for size in word:gmatch("%d+") do
    shape[#shape + 1] = tonumber(size)
    n = n * tonumber(size)
  end
  return shape, n
end

local WORDS = {inf = math.huge, ["-inf"] = -math.huge, nan = 0 / 0, ["-nan"] = 0 / 0, ["-0"] = -1 / math.huge}
local function number(word) return WORDS[word] or tonumber(word) end

local makers = {}
local SPECIAL = {0, -1 / math.huge, 800, -800, math.huge, -math.huge, 0 / 0, 1, -1, 0.5, -2.5, 3}

function makers.special(i) return SPECIAL[i + 1] end

function makers.wave(i, dtype, phase, scale, shift)
  local value = math.sin(i + phase) * scale + shift
  return dtype:find("float16") and math.floor(value * 64 + 0.5) / 64 or value
end

function makers.ints(i, _, low, high) return low + i * 7 % (high - low + 1) end

function makers.bools(i, _, phase) return (i + phase) % 3 ~= 1 and 1 or 0 end

--- "wave float32 2x3 0.5 1 0" or "data int64 2 5 7" as a tensor.
local function build(text)
  local words = words_of(text)
  local kind, dtype, values = words[1], words[2], {}
  local shape, n = shape_of(words[3])
  local a, b, c = number(words[4] or ""), number(words[5] or ""), number(words[6] or "")
  for i = 0, n - 1 do
    local word = words[4 + i]
    if kind ~= "data" then
      values[i + 1] = makers[kind](i, dtype, a, b, c)
    else
      values[i + 1] = dtype:find("float") and number(word) or word
    end
  end
  return lt.tensor(values, {dtype = dtype}):reshape(shape)
end

local function build_all(text)
  local list = {}
  for part in text:gmatch("[^;]+") do list[#list + 1] = build(part) end
  return list
end

--- The same values, laid out otherwise; only for tensors of two dimensions and more.
local layouts = {
  {"contiguous", function(t) return t end},
  {"transposed", function(t) return t:transpose(0, -1):contiguous():transpose(0, -1) end},
  {"channels last", function(t) return t:dim() > 2 and t:transpose(1, -1):contiguous():transpose(1, -1) or t end},
  {"sliced", function(t)
    local shape = t.shape:totable()
    shape[1], shape[#shape] = shape[1] + 1, shape[#shape] * 2 + 3
    local view = lt.ones(shape, {dtype = t.dtype}):narrow(0, 1, t:size(0)):slice(-1, 3, nil, 2)
    view:copy_(t)
    return view
  end},
}

local function laid(list, lay)
  local changed = {}
  for i, t in ipairs(list) do changed[i] = t:dim() >= 2 and lay(t:clone()) or t:clone() end
  return changed
end

-- Calls ----------------------------------------------------------------------------------------------------------------------------------

local environment = setmetatable({
  lt = lt,
  F = lt.nn.functional,
  put = function(t, key, value)
    t[key] = value
    return t
  end,
  count = function(list) return lt.tensor(#list, {dtype = "int64"}) end,
  flat = function(list)
    for i, t in ipairs(list) do list[i] = t:reshape(-1) end
    return lt.cat(list)
  end,
}, {__index = _G})

local compiled = {}
local function call(text, inputs)
  local fn = compiled[text]
  if not fn then
    fn = setfenv(assert(loadstring("local x, y, z = ... return " .. text)), environment)
    compiled[text] = fn
  end
  return (fn(unpack(inputs)))
end

-- Comparison -----------------------------------------------------------------------------------------------------------------------------

--- name -> relative tolerance, and what a sum of numbers around 1 may lose by cancellation.
local TOLERANCE = {float32 = {1e-5, 1e-6}, float64 = {1e-12, 1e-14}}
local MANTISSA = {float16 = {10, -24}, bfloat16 = {7, -133}} -- bits, and the exponent of the smallest number

local function close(got, want, dtype, signed)
  if want ~= want then return got ~= got end
  if got == want then return want ~= 0 or not signed or 1 / got == 1 / want end
  if math.abs(want) == math.huge or math.abs(got) == math.huge then return false end
  local half = MANTISSA[dtype]
  if half then
    local _, exponent = math.frexp(want)
    return math.abs(got - want) <= 2 ^ math.max(exponent - 1 - half[1], half[2])
  end
  local tolerance = TOLERANCE[dtype]
  return math.abs(got - want) <= math.max(tolerance[1] * math.abs(want), tolerance[2])
end

local function texts(t)
  local list = t:reshape(-1):tolist()
  for i, v in ipairs(list) do
    local text = type(v) == "boolean" and (v and "1" or "0") or type(v) == "number" and ("%.17g"):format(v) or tostring(v):gsub("LL", "")
    list[i] = text
  end
  return list
end

--- Is the text of an element that of the fixture, or one of its alternatives?
local function matches(got, want, dtype, signed)
  for text in want:gmatch("[^|]+") do
    if got == text or dtype:find("float") and close(number(got), number(text), dtype, signed) then return true end
  end
  return false
end

--- What is wrong with the result, or nil. Of a sum the sign of a zero does not count: signed is for elementwise operators.
local function difference(got, text, signed)
  if not lt.is_tensor(got) then got = lt.tensor(got) end
  local words = words_of(text)
  local shape = table.concat(got.shape:totable(), "x")
  if shape == "" then shape = "-" end
  if got.dtype ~= words[1] or shape ~= words[2] then return ("%s %s instead of %s %s"):format(got.dtype, shape, words[1], words[2]) end
  local list = texts(got)
  for i, v in ipairs(list) do
    local want = words[i + 2]
    if not matches(v, want, got.dtype, signed) then return ("element %d is %s instead of %s"):format(i - 1, v, want) end
  end
end

-- The files ----------------------------------------------------------------------------------------------------------------------------------

local function fields_of(line)
  local fields = {}
  for field in (line .. "\t"):gmatch("([^\t]*)\t") do fields[#fields + 1] = field end
  return fields
end

local function lines_of(name)
  local lines = io.lines(here .. "fixtures/operators/" .. name .. ".txt")
  lines() -- what wrote it
  return lines
end

--- The calls of a family in order: {operator, text, pairs of inputs and result, plain or nil}.
local function calls_of(family)
  local calls = {}
  for line in lines_of(family) do
    local fields = fields_of(line)
    if line:sub(1, 1) == "\t" then
      local results = calls[#calls][3]
      results[#results + 1], results[#results + 2] = fields[2], fields[3]
    else
      calls[#calls + 1] = {fields[1], fields[2], {}, fields[3]}
    end
  end
  return calls
end

-- The specs ------------------------------------------------------------------------------------------------------------------------------

local function by_operator(rows)
  local names, groups = {}, {}
  for _, row in ipairs(rows) do
    if not groups[row[1]] then
      names[#names + 1], groups[row[1]] = row[1], {}
    end
    table.insert(groups[row[1]], row)
  end
  return names, groups
end

local function check(row, inputs, want, problems)
  local op, text, plain = row[1], row[2], row[4]
  local list, signed = build_all(inputs), ops.info[op] and ops.info[op].forward ~= nil
  for i, layout in ipairs(layouts) do
    if i == 1 or not plain then
      local ok, got = pcall(call, text, laid(list, layout[2]))
      local problem = not ok and tostring(got) or difference(got, want, signed)
      if problem then
        problems[#problems + 1] = ("%s  of %s, %s: %s"):format(text, inputs, layout[1], problem)
        return
      end
    end
  end
end

describe("as in PyTorch", function()
  for _, family in ipairs(FAMILIES) do
    local names, groups = by_operator(calls_of(family))
    for _, name in ipairs(names) do
      it(name .. " gives the dtype, shape and values, in every layout", function()
        local problems = {}
        for _, row in ipairs(groups[name]) do
          local results = row[3]
          for i = 1, #results, 2 do check(row, results[i], results[i + 1], problems) end
        end
        assert(#problems == 0, table.concat(problems, "\n"))
      end)
    end
  end
end)

describe("what PyTorch refuses", function()
  local refused = {}
  for line in lines_of("refused") do refused[#refused + 1] = fields_of(line) end
  local names, groups = by_operator(refused)
  for _, name in ipairs(names) do
    it(name .. " refuses too, and says why", function()
      local problems = {}
      for _, row in ipairs(groups[name]) do
        local ok, message = waited(call, row[2], build_all(row[3]))
        if ok then
          problems[#problems + 1] = ("%s  of %s raises nothing"):format(row[2], row[3])
        elseif not tostring(message):find(row[4], 1, true) then
          problems[#problems + 1] = ("%s  of %s does not mention %q: %s"):format(row[2], row[3], row[4], tostring(message))
        end
      end
      assert(#problems == 0, table.concat(problems, "\n"))
    end)
  end
end)
