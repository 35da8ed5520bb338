--- Reads signatures: the text of a list of parameters as a table. What a text may say stands in arguments.lua.
--
-- A signature is read once, so the JIT leaves this file alone.

local errors = require("lunette.errors")
local kinds = require("lunette.kinds")

local assert, ipairs, tonumber = assert, ipairs, tonumber
local floor, min, max, huge, concat = math.floor, math.min, math.max, math.huge, table.concat
local EXACT = kinds.EXACT

require("lunette.interpreted")()

local signature = {}

-- Kinds ----------------------------------------------------------------------------------------------------------------------------------

-- ">0", "[0,1)" as {low, high, low_open, high_open}; nil for "".
local function read_range(text)
  if text == "" then return nil end
  local open, low, high, close = text:match("^([%[%(])([^,]+),([^,]+)([%]%)])$")
  if open then return {low = assert(tonumber(low)), high = assert(tonumber(high)), low_open = open == "(", high_open = close == ")"} end
  local sign, bound = text:match("^([<>]=?)(.+)$")
  bound = assert(tonumber(bound), text)
  if sign:sub(1, 1) == ">" then return {low = bound, high = huge, low_open = sign == ">"} end
  return {low = -huge, high = bound, high_open = sign == "<"}
end

local function range_words(range)
  local low, high = range.low, range.high
  if high == huge then return (range.low_open and "above %s" or "of at least %s"):format(low) end
  if low == -huge then return (range.high_open and "below %s" or "of at most %s"):format(high) end
  return ((range.low_open or range.high_open) and "between %s and %s" or "from %s to %s"):format(low, high)
end

-- "a RANGE whole number" with its range: "a whole number above 0".
local function with_range(words, range)
  local inserted = range and " " .. range_words(range) or ""
  return (words:gsub("RANGE (%a*%s?numbers?)", function(noun) return noun .. inserted end))
end

-- Conditions on VAR beyond its type, for numbers.
local function bounds(range)
  if not range then return "" end
  local out = ""
  if range.low > -huge then out = out .. (" and VAR %s %.17g"):format(range.low_open and ">" or ">=", range.low) end
  if range.high < huge then out = out .. (" and VAR %s %.17g"):format(range.high_open and "<" or "<=", range.high) end
  return out
end

-- A range for is_numbers: its ends, and whether they are left out.
local function edges(range)
  range = range or {low = -huge, high = huge}
  local function text(x) return x == huge and "1e999" or x == -huge and "-1e999" or ("%.17g"):format(x) end
  return ("%s, %s, %s, %s"):format(text(range.low), text(range.high), range.low_open == true, range.high_open == true)
end

-- The least and the largest whole number of a range.
local function whole_limits(range)
  if not range then return -EXACT, EXACT end
  local low, high = max(range.low, -EXACT), min(range.high, EXACT)
  if range.low_open and low > -EXACT then low = floor(low) + 1 end
  if range.high_open and high < EXACT then high = -floor(-high) - 1 end
  return low, high
end

local function enum_kind(list)
  local set, words, n = {}, {}, 0
  for word in list:gmatch("[^|]+") do
    set[word], words[n + 1] = n, ("%q"):format(word)
    n = n + 1
  end
  return {words = "one of " .. concat(words, ", "), text = "ENUM[VAR] ~= nil", enum = set}
end

local function read_kind(word)
  local list = word:match("^enum%((.*)%)$")
  if list then return enum_kind(list) end
  local name, count, range_text = word:match("^([%a_]+)(%d*)(.*)$")
  if name == "size" and count ~= "" then name = "shape" end
  local base = assert(kinds.table[name], "there is no kind of argument " .. word)
  local range = read_range(range_text)
  assert(not range or base.range, word .. " takes no range")
  local low, high = whole_limits(range)
  local fillings = {
    BOUNDS = bounds(range), EDGES = edges(range), LOW = ("%.17g"):format(low), HIGH = ("%.17g"):format(high), COUNT = count == "" and "nil" or count,
  }
  local words = base.words:gsub("an array of RANGE numbers", count == "" and "%0" or "an array of " .. count .. " RANGE numbers")
  local function fill(text) return text and (text:gsub("%u+", fillings)) end
  return {
    words = with_range(words, range):gsub("AMOUNT", count == "" and "an array" or count), text = fill(base.text), fast = fill(base.fast),
    convert = fill(base.convert), array = base.array, map = base.map,
  }
end

local known = {}

--- The kind that a word of a signature names: "int", "number[0,1]", "sizes2>=1", "enum(a|b)".
local function kind_of(word)
  local kind = known[word]
  if not kind then
    kind = read_kind(word)
    known[word] = kind
  end
  return kind
end

-- Parameters -----------------------------------------------------------------------------------------------------------------------------

local constants = {["true"] = true, ["false"] = false, inf = math.huge, ["-inf"] = -math.huge, ["{}"] = {}}

local function read_default(text)
  local value = constants[text]
  if value ~= nil then return value end
  if text == "nil" then return nil end
  if text:sub(1, 1) == "{" then
    local list = {}
    for number in text:gmatch("[^{},]+") do list[#list + 1] = assert(tonumber(number), text) end
    return list
  end
  return tonumber(text) or text:match("^\"(.*)\"$") or text
end

--- Splits at a separator outside brackets.
function signature.split(text, separator)
  local parts = {}
  local guarded = text:gsub("[%(%[{][^%)%]}]*[%)%]}]", function(inner) return (inner:gsub("%" .. separator, "\1")) end)
  for part in guarded:gmatch("[^" .. separator .. "]+") do parts[#parts + 1] = (part:gsub("\1", separator)) end
  return parts
end
local split = signature.split

-- "stride:sizes2>=1=1" as name, kinds and default: the default stands behind an = that is no part of a range.
local function split_param(text)
  local name, rest = text:match("^([%w_]+):?(.*)$")
  assert(name, text)
  local marked = rest:gsub("([<>])=", "%1\1")
  local word, default = marked:match("^([^=]*)=(.*)$")
  word = (word or marked):gsub("\1", "=")
  return name, word, default
end

local function read_kinds(param, word)
  param.kinds = {}
  for i, name in ipairs(split(word == "" and "tensor" or word, "|")) do
    local kind = kind_of(name)
    param.kinds[i] = kind
    param.array, param.map = param.array or kind.array, param.map or kind.map
    param.convert, param.enum = param.convert or kind.convert, param.enum or kind.enum
  end
end

--- What a parameter takes, in words.
function signature.words(param)
  local words = {}
  for i, kind in ipairs(param.kinds) do words[i] = kind.words end
  return concat(words, " or ")
end

local function read_param(text)
  local name, word, default = split_param(text)
  local param = {name = name, required = not default, default = default and read_default(default)}
  if word:sub(-1) == "?" then word, param.required = word:sub(1, -2), false end
  if word:sub(-3) == "..." then word, param.variadic = word:sub(1, -4), true end
  read_kinds(param, word)
  return param
end

--- What a signature says: params in order, index by name, names, places (how many are given by position), variadic (the index of the gathering one).
function signature.read(name, text)
  local spec = {name = name, text = text, params = {}, index = {}, names = {}, raise = errors.fail}
  for _, part in ipairs(split((text:gsub("%s+", "")), ",")) do
    if part == "*" then
      spec.places = #spec.params
    elseif part ~= "" then
      local param = read_param(part)
      local i = #spec.params + 1
      spec.params[i], spec.index[param.name], spec.names[i] = param, i, param.name
      if param.variadic then spec.places, spec.variadic = i, i end
    end
  end
  spec.places = spec.places or #spec.params
  return spec
end

return signature
