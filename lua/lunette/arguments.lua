--- The argument checker that every public function shares.
--
--     local parse = arguments.signature("Conv2d", "in_channels:int>0, out_channels:int>0, kernel_size:size2>=1, stride:size2>=1=1, bias:bool=true")
--     local function conv2d(...)
--       local in_channels, out_channels, kernel_size, stride, bias = parse(...)
--
-- takes the arguments by position, the rest in a last table of names, or all by name in one table, and returns them in the order of the
-- signature, defaults filled in and in their final form. Signatures are read and compiled at their first call.
--
-- A signature is a list of parameters separated by commas:
--
--     name:kinds            required
--     name:kinds?           nil when left out
--     name:kinds=default    a number, true, false, inf, -inf, {}, nil or a word, which is a string
--     name  name?           a tensor
--     name:kinds...         the last one by position: gathers all remaining values in an array; one array is taken as it is
--     *                     what follows is given by name only
--
-- kinds are one kind or several, `a|b`. A kind of numbers may carry a range: >0, >=1, <8, <=1, [0,1], (0,1), [0,1) ..., which holds for each entry
-- (kinds.lua has their tests and words):
--
--     int, number (float)   a whole number that a Lua number holds exactly; any number
--     scalar                a number, a boolean or an int64_t
--     ints                  a whole number, or an array or Size of them; an array has at most 32 entries
--     size                  an array or Size of whole numbers
--     sizes, sizes2 ...     as ints, the array with that many entries; an array becomes a Size
--     shape, size2, size3 ...  the same, and a number becomes a Size too: {3}, {3, 3}, {3, 3, 3} from 3
--     ints_or_none          as ints, entries may be lt.None
--     bool string function table tensor tensors (an array) module generator dtype device any
--     map                   a table of names that is never read as options
--     enum(a|b|c)           one of these strings
--     none                  lt.None, where nil would mean another default; a parameter that is nil by default takes lt.None as nil anyway
--
-- A call goes one of three ways, all of them through the same tests: straight code for arguments by position, straight code for arguments with a
-- table of names, both compiled by the JIT, and the slow path, which words the errors.
--
-- Nothing here knows an operator or a module.

local errors = require("lunette.errors")
local kinds = require("lunette.kinds")

local getmetatable, loadstring, rawequal, ipairs, pairs = getmetatable, loadstring, rawequal, ipairs, pairs
local type, select, tostring, tonumber, assert, unpack = type, select, tostring, tonumber, assert, unpack
local concat, sort, next = table.concat, table.sort, next

local arguments = {
  fail = errors.fail, nearest = errors.nearest, hint = errors.hint, strict = errors.strict, None = kinds.None, describe = kinds.describe,
  is_tensor = kinds.is_tensor, is_size = kinds.is_size, is_module = kinds.is_module, is_int = kinds.is_int,
}
local fail, literal, None = errors.fail, kinds.literal, kinds.None

-- Reading a signature --------------------------------------------------------------------------------------------------------------------

local constants = {["true"] = true, ["false"] = false, inf = math.huge, ["-inf"] = -math.huge, ["{}"] = {}}

local function read_default(text)
  local value = constants[text]
  if value ~= nil then return value end
  if text == "nil" then return nil end
  return tonumber(text) or text:match("^\"(.*)\"$") or text
end

-- Splits at a separator outside brackets.
local function split(text, separator)
  local parts, depth, from = {}, 0, 1
  for i = 1, #text do
    local c = text:sub(i, i)
    if c:find("[%(%[{]") then depth = depth + 1 elseif c:find("[%)%]}]") then depth = depth - 1 end
    if c == separator and depth == 0 then
      parts[#parts + 1] = text:sub(from, i - 1)
      from = i + 1
    end
  end
  parts[#parts + 1] = text:sub(from)
  return parts
end

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
  local words = {}
  for i, name in ipairs(split(word == "" and "tensor" or word, "|")) do
    local kind = kinds.read(name)
    param.kinds[i], words[i] = kind, kind.words
    param.array, param.map = param.array or kind.array, param.map or kind.map
    param.convert, param.enum = param.convert or kind.convert, param.enum or kind.enum
  end
  param.words = concat(words, " or ")
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
function arguments.read(name, text)
  local spec = {name = name, text = text, params = {}, index = {}, names = {}, raise = fail}
  for _, part in ipairs(split(text:gsub("%s+", ""), ",")) do
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

-- The slow path ----------------------------------------------------------------------------------------------------------------------------

-- "value": no table of options; "empty", "array", "names", "mixed": what a plain table holds.
local function form_of(value)
  if type(value) ~= "table" or getmetatable(value) then return "value" end
  local array, names = false, false
  for key in pairs(value) do
    if type(key) == "string" then names = true else array = true end
  end
  return names and (array and "mixed" or "names") or (array and "array" or "empty")
end
arguments.form_of = form_of

local function named_literals(options)
  local keys = {}
  for key in pairs(options) do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  sort(keys)
  for i, key in ipairs(keys) do keys[i] = ("%s = %s"):format(key, literal(options[key])) end
  return concat(keys, ", ")
end

local function fail_mixed(spec, args, last)
  local mixed = args[last]
  local values, by_position, by_name = {}, {}, {}
  for i = 1, last - 1 do values[i] = args[i] end
  local param = spec.params[last]
  if param and param.array and #mixed > 1 then
    values[last] = mixed
  else
    for i = 1, #mixed do values[last - 1 + i] = mixed[i] end
  end
  for i = 1, #values do
    local value = values[i]
    if rawequal(value, mixed) then
      value = {}
      for k = 1, #mixed do value[k] = mixed[k] end
    end
    by_position[i] = literal(value)
    by_name[i] = ("%s = %s"):format(spec.names[i] or "?", by_position[i])
  end
  local names = named_literals(mixed)
  spec.raise(("%s: a table holds values or names, not both; write %s(%s, {%s}) or %s{%s, %s}"):format(
    spec.name, spec.name, concat(by_position, ", "), names, spec.name, concat(by_name, ", "), names))
end

-- Takes the options off the end of args: returns them (or nil) and how many positions remain.
local function split_options(spec, args, n)
  local last = n
  while last > 0 and args[last] == nil do last = last - 1 end
  if last == 0 then return nil, 0 end
  local param = spec.params[spec.variadic and last > spec.variadic and spec.variadic or last]
  local form = form_of(args[last])
  local by_name_only = last > spec.places
  if param and param.map and not by_name_only then return nil, last end
  if form == "mixed" then fail_mixed(spec, args, last) end
  if form == "names" then return args[last], last - 1 end
  if form == "empty" and (by_name_only or not (param and param.array)) then return args[last], last - 1 end
  return nil, last
end

local function check_count(spec, args, last)
  local first = args[1]
  local meta = type(first) == "table" and getmetatable(first)
  if meta and meta.__package then
    fail(("%s is a function, called with a dot: %s.%s(...)"):format(spec.name, meta.__package, spec.name))
  end
  if spec.variadic or last <= spec.places then return end
  local by_name = spec.params[last] and (", %s is given by name: {%s = ...}"):format(spec.names[spec.places + 1], spec.names[spec.places + 1]) or ""
  spec.raise(("%s takes at most %d argument%s (%s), %d given%s"):format(
    spec.name, spec.places, spec.places == 1 and "" or "s", concat(spec.names, ", ", 1, spec.places), last, by_name))
end

local function gather(spec, values, args, last)
  local at = spec.variadic
  local param = spec.params[at]
  local first = args[at]
  if last < at or last == at and (first == nil or param.array and type(first) ~= "number") then return end
  local list = {}
  for i = at, last do list[i - at + 1] = args[i] end
  values[at] = list
end

local function take_options(spec, values, options)
  for name, value in pairs(options) do
    local i = spec.index[name]
    if not i then spec.raise(("%s has no argument '%s'%s"):format(spec.name, tostring(name), errors.hint(name, spec.names))) end
    if values[i] ~= nil then spec.raise(("%s: argument '%s' is given twice, by position and by name"):format(spec.name, name)) end
    values[i] = value
  end
end

local function fits_all(param, list)
  if type(list) ~= "table" or param.fits(list) then return param.fits(list) end
  for i = 1, #list do
    if not param.fits(list[i]) then return false end
  end
  return not param.array
end

local function refuse(spec, param, value)
  if type(value) == "table" and param.array and #value > kinds.MOST and type(value[1]) == "number" then
    spec.raise(("%s: argument '%s' has at most %d entries, got %d"):format(spec.name, param.name, kinds.MOST, #value))
  end
  spec.raise(("%s: argument '%s' must be %s, got %s"):format(spec.name, param.name, param.words, kinds.describe(value)))
end

local function checked(spec, i, value)
  local param = spec.params[i]
  if rawequal(value, None) and not param.required and param.default == nil then value = nil end
  if value == nil then
    if param.required then spec.raise(("%s: argument '%s' is missing; it takes (%s)"):format(spec.name, param.name, concat(spec.names, ", "))) end
    return nil
  end
  local good
  if param.variadic then good = fits_all(param, value) else good = param.fits(value) end
  if not good then refuse(spec, param, value) end
  return value
end

-- The values of the parameters, nil where the default stands. `spec.reached` is the parameter that is looked at, for errors of overloads.
local function slow(spec, ...)
  local args, values = {...}, {}
  local options, last = split_options(spec, args, select("#", ...))
  check_count(spec, args, last)
  for i = 1, last < spec.places and last or spec.places do values[i] = args[i] end
  if spec.variadic then gather(spec, values, args, last) end
  if options then take_options(spec, values, options) end
  for i = 1, #spec.params do
    spec.reached = i
    values[i] = checked(spec, i, values[i])
  end
  return unpack(values, 1, #spec.params)
end

-- Straight code --------------------------------------------------------------------------------------------------------------------------

local function list_of(n, prefix)
  local out = {}
  for i = 1, n do out[i] = prefix .. i end
  return out
end

-- The texts of a parameter's tests as one expression in `var`. `fast`: of the paths where a table of options may stand for the value.
local function test_text(param, i, var, fast)
  local tests = {}
  for k, kind in ipairs(param.kinds) do
    if fast and kind.map then return "false" end
    tests[k] = "(" .. (fast and kind.fast or kind.text) .. ")"
  end
  return "(" .. concat(tests, " or "):gsub("ENUM", "enum" .. i):gsub("VAR", var) .. ")"
end

-- The condition that every parameter fits or is absent where it may be; those behind the last position are absent.
local function fits_text(spec, n)
  local conditions = {}
  for i = 1, n do
    local param = spec.params[i]
    local test = test_text(param, i, "a" .. i, true)
    conditions[i] = param.required and test or ("(a%d == nil or %s)"):format(i, test)
  end
  return #conditions > 0 and concat(conditions, " and ") or "true"
end

local header = {}
for name in pairs(kinds.tools) do header[#header + 1] = name end
sort(header)
header = ("local %s = kit.%s"):format(concat(header, ", "), concat(header, ", kit."))

local function enum_locals(spec)
  local out = {}
  for i, param in ipairs(spec.params) do
    if param.enum then out[#out + 1] = ("local enum%d = spec.params[%d].enum"):format(i, i) end
  end
  return concat(out, "\n")
end

-- Moves the options of the table `o` to the parameters; only when it holds nothing else they are final.
local function options_text(spec, otherwise)
  local lines = {"local count, v = 0"}
  for i, param in ipairs(spec.params) do
    lines[#lines + 1] = ("v = o[%q] if v ~= nil then if a%d ~= nil then return %s end a%d, count = v, count + 1 end"):format(param.name, i, otherwise, i)
  end
  return concat(lines, "\n")
end

-- Are there `count` names in the table, which holds at least these?
local function holds(o, count)
  local key
  for _ = 1, count do key = next(o, key) end
  return next(o, key) == nil
end

-- The way of a call with a table of names: straight code, and the slow path when that is not enough.
local function named_text(spec)
  local n, places = #spec.params, spec.places
  local a, p = list_of(n, "a"), list_of(places, "p")
  local given = concat(p, ", ") .. (places > 0 and ", " or "")
  local otherwise = ("slow(spec, %sextra, more, ...)"):format(given)
  local find = {"local o", "if extra ~= nil then o = extra"}
  for i = places, 1, -1 do find[#find + 1] = ("elseif a%d ~= nil then o, a%d = a%d, nil"):format(i, i, i) end
  return concat({
    ("return function(%sextra, more, ...)"):format(given),
    n > 0 and ("local %s%s"):format(concat(a, ", "), places > 0 and " = " .. concat(p, ", ") or "") or "",
    ("if more ~= nil or select('#', ...) > 0 then return %s end"):format(otherwise),
    concat(find, "\n") .. " end",
    ("if type(o) ~= 'table' or getmetatable(o) ~= nil then return %s end"):format(otherwise),
    options_text(spec, otherwise),
    ("if count > 0 and holds(o, count) and %s then return %s end"):format(fits_text(spec, n), n > 0 and concat(a, ", ") or "nil"),
    ("return %s"):format(otherwise),
    "end",
  }, "\n")
end

-- The same where the last parameter by position gathers several values.
local function gathered_text(spec)
  local n, at = #spec.params, spec.variadic
  local a, p = list_of(n, "a"), list_of(at - 1, "p")
  local given = concat(p, ", ") .. (at > 1 and ", " or "")
  local otherwise = ("slow(spec, %s...)"):format(given)
  return concat({
    ("return function(%s...)"):format(given),
    ("local %s%s"):format(concat(a, ", "), at > 1 and " = " .. concat(p, ", ") or ""),
    "local list, last, o = {...}, select('#', ...)",
    "while last > 0 and list[last] == nil do last = last - 1 end",
    ("if last == 0 then return %s end"):format(otherwise),
    "o = list[last]",
    ("if type(o) == 'table' and getmetatable(o) == nil and o[1] == nil and next(o) ~= nil then list[last], last = nil, last - 1 else o = nil end"):format(),
    ("if last == 1 and type(list[1]) ~= 'number' then a%d = list[1] elseif last > 0 then a%d = list end"):format(at, at),
    "if o then",
    options_text(spec, otherwise),
    ("if not holds(o, count) then return %s end"):format(otherwise),
    "end",
    ("if %s then return %s end"):format(fits_text(spec, n), concat(a, ", ")),
    ("return %s"):format(otherwise),
    "end",
  }, "\n")
end

local function conversions(spec)
  local lines = {}
  for i, param in ipairs(spec.params) do
    if param.default ~= nil then lines[#lines + 1] = ("if a%d == nil then a%d = default.%s end"):format(i, i, param.name) end
    if param.convert then lines[#lines + 1] = ("if a%d ~= nil then a%d = %s end"):format(i, i, (param.convert:gsub("VAR", "a" .. i))) end
  end
  return concat(lines, "\n")
end

-- The function itself: arguments by position pass straight through; `tail` is what is done with a1, a2 ..., the values of the parameters.
local function main_text(spec, tail)
  local n, places = #spec.params, spec.places
  local a, p = list_of(n, "a"), list_of(places, "a")
  local given = concat(p, ", ") .. (places > 0 and ", " or "")
  local behind = {}
  for i = places + 1, n do behind[#behind + 1] = "a" .. i end
  local required = false
  for i = places + 1, n do required = required or spec.params[i].required end
  return concat({
    ("return function(%sextra, more, ...)"):format(given),
    #behind > 0 and "local " .. concat(behind, ", ") or "",
    ("if not (select('#', ...) == 0 and extra == nil and more == nil and %s) then"):format(required and "false" or fits_text(spec, places)),
    n > 0 and ("%s = other(%sextra, more, ...)"):format(concat(a, ", "), given) or "other(extra, more, ...)",
    "end",
    conversions(spec),
    tail,
    "end",
  }, "\n")
end

local function load_text(spec, text, env)
  local chunk = assert(loadstring(text, "=lunette.signature." .. spec.name))
  return chunk(spec, kinds.tools, env)
end

-- A stand-in for the second way that is compiled at its first call.
local function other_way(spec, prelude)
  local fn
  return function(...)
    if not fn then
      fn = load_text(spec, prelude .. (spec.variadic and gathered_text(spec) or named_text(spec)), {slow = slow, holds = holds})
    end
    return fn(...)
  end
end

-- The tests of the slow path, from the same texts.
local function add_fits(spec, prelude)
  for i, param in ipairs(spec.params) do
    param.fits = load_text(spec, prelude .. "return function(a) return " .. test_text(param, i, "a", false) .. " end")
    assert(param.default == nil or param.fits(param.default), "the default of " .. param.name .. " is none of its kinds")
  end
end

--- A function of the signature `spec` (from `read`) that checks its arguments and then runs `tail`, Lua text in which a1, a2 ... are the values of the
-- parameters and `env` a table of the caller's.
function arguments.compile(spec, tail, env)
  kinds.tools.is_tensor = require("lunette.ffi").is_tensor
  kinds.tools.is_size = require("lunette.size").is_size
  local prelude = "local spec, kit, env = ...\n" .. header .. "\nlocal select, slow, holds = select, env and env.slow, env and env.holds\n" .. enum_locals(spec) .. "\n"
  add_fits(spec, prelude)
  local default = {}
  for _, param in ipairs(spec.params) do default[param.name] = param.default end
  local inner = {other = other_way(spec, prelude), default = default, env = env}
  return load_text(spec, prelude .. "local other, default, env = env.other, env.default, env.env\n" .. main_text(spec, tail), inner)
end

--- The texts of all signatures by name: what `help` knows of modules and functions.
arguments.signatures = {}

--- A function that takes `...` and returns the values of the parameters in the order of `text` (see the head of this file).
function arguments.signature(name, text)
  arguments.signatures[name] = text
  local fn
  return function(...)
    if not fn then
      local spec = arguments.read(name, text)
      fn = arguments.compile(spec, #spec.params > 0 and "return " .. concat(list_of(#spec.params, "a"), ", ") or "return")
    end
    return fn(...)
  end
end

return arguments
