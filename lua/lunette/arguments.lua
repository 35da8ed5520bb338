--- The argument checker that every public function shares, and the errors that blame the caller's line.
--
--     local parse = arguments.signature("Conv2d", "in_channels:int, out_channels:int, kernel_size:ints, stride:ints=1, bias:bool=true")
--     local function conv2d(...)
--       local in_channels, out_channels, kernel_size, stride, bias = parse(...)
--
-- takes the arguments by place, the rest in a last table of names, or all by name in one table, and returns them in the order of the
-- signature, defaults filled in. The usual call (right types, by place) passes through generated straight code that the JIT compiles;
-- everything else goes through `slow`, which also words the errors.
--
-- A parameter is `name:kind`, required; `name:kind?`, nil when left out; `name:kind=default`. `a|b` takes either kind. A bare `name` is a tensor.
-- `*` alone: what follows is given by name only. `name:kind...`, the last one by place, gathers all remaining values in a Lua array.
-- Kinds: int number bool string ints size tensor module table map function dtype device scalar none any enum(a|b|c), and `float`, the same as number.
-- ints is a whole number or an array of them, size an array or Size; map is a table of names that is never read as options.
-- sizes2 is a whole number or 2 of them (any count), an array becoming a Size; size2 makes a Size of a single number too; shape is a Size of any
-- length. int, number and these take a range: `int>0`, `number>=0`, `number[0,1]`, `number(0,1)`, `sizes2>=1`, which holds for each entry.
-- A parameter that is nil by default takes lt.None as nil; another one takes it only when `none` is among its kinds, and then gets lt.None.
--
-- Nothing here knows an operator or a module.

local getinfo, getmetatable, floor = debug.getinfo, getmetatable, math.floor
local type, select, pairs, tostring, concat, sort = type, select, pairs, tostring, table.concat, table.sort
local unpack = unpack

local arguments = {}
local root = getinfo(1, "S").source:match("^(.*)arguments%.lua$")

local None = newproxy(true)
getmetatable(None).__tostring = function() return "lt.None" end
arguments.None = None

-- Errors ---------------------------------------------------------------------------------------------------------------------------------

-- Lunette's own files, and the code it writes for itself, which is named "=lunette...".
local function is_own(source) return source:sub(1, #root) == root or source:sub(1, 8) == "=lunette" end

--- Raises `message` at the innermost line outside Lunette's own files.
function arguments.fail(message)
  local level = 2
  local info = getinfo(level, "S")
  while info and (info.what == "C" or is_own(info.source)) do
    level = level + 1
    info = getinfo(level, "S")
  end
  error(message, info and level or 0)
end

local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local corner = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = corner + (a:byte(i) == b:byte(j) and 0 or 1)
      corner = row[j]
      row[j] = math.min(cost, row[j] + 1, row[j - 1] + 1)
    end
  end
  return row[#b]
end

--- The string among `names` (an array) that is nearest to `name`, nil when none is near.
function arguments.nearest(name, names)
  local best, least = nil, floor(#name / 2) + 1
  for _, candidate in ipairs(names) do
    local d = distance(name:lower(), candidate:lower())
    if d < least then best, least = candidate, d end
  end
  return best
end

--- "; did you mean 'x'?" or "".
function arguments.hint(name, names)
  local near = type(name) == "string" and arguments.nearest(name, names)
  return near and ("; did you mean '%s'?"):format(near) or ""
end

--- Makes a missing name of `package` an error that shows the nearest one; `title` is what scripts call it.
function arguments.strict(package, title)
  local meta = {__package = title}
  function meta.__index(_, name)
    local names = {}
    for known in pairs(package) do names[#names + 1] = known end
    sort(names)
    arguments.fail(("%s.%s does not exist%s"):format(title, tostring(name), arguments.hint(name, names)))
  end
  return setmetatable(package, meta)
end

-- Kinds ----------------------------------------------------------------------------------------------------------------------------------

-- The modules that know tensors and sizes stand above this one, so they are asked for when the first value has to be told.
local tensor_test, size_test

local function is_tensor(x)
  if type(x) ~= "cdata" then return false end
  if not tensor_test then tensor_test = require("lunette.ffi").is_tensor end
  return tensor_test(x)
end

local function is_size(x)
  if type(x) ~= "cdata" then return false end
  if not size_test then size_test = require("lunette.size").is_size end
  return size_test(x)
end

local function is_module(x)
  if type(x) ~= "userdata" then return false end
  local meta = getmetatable(x)
  return meta ~= nil and meta.is_lunette_module == true
end

local function is_int(x) return type(x) == "number" and x == floor(x) end

local function is_int_array(x)
  if is_size(x) then return true end
  if type(x) ~= "table" then return false end
  for i = 1, #x do
    if not is_int(x[i]) and not rawequal(x[i], None) then return false end
  end
  return true
end

local dtypes = {}
for name in ("float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 bool"):gmatch("%S+") do dtypes[name] = true end

local function is_device(x) return type(x) == "string" and (x == "cpu" or x == "cuda" or x:match("^cuda:%d+$") ~= nil) end

local kinds = {
  int = {words = "a whole number", test = is_int},
  number = {words = "a number", test = function(x) return type(x) == "number" end, inline = "type(VALUE) == 'number'"},
  bool = {words = "true or false", test = function(x) return type(x) == "boolean" end, inline = "type(VALUE) == 'boolean'"},
  string = {words = "a string", test = function(x) return type(x) == "string" end, inline = "type(VALUE) == 'string'"},
  ["function"] = {words = "a function", test = function(x) return type(x) == "function" end, inline = "type(VALUE) == 'function'"},
  ints = {words = "a whole number or an array of them", array = true, test = function(x) return is_int(x) or is_int_array(x) end},
  size = {words = "an array of whole numbers", array = true, test = is_int_array},
  tensor = {words = "a tensor", test = is_tensor},
  module = {words = "a module", test = is_module},
  table = {words = "a table", array = true, test = function(x) return type(x) == "table" end},
  map = {words = "a table of names", array = true, map = true, test = function(x) return type(x) == "table" end},
  dtype = {words = "a dtype such as \"float32\"", test = function(x) return dtypes[x] == true end},
  device = {words = "a device such as \"cpu\" or \"cuda:0\"", test = is_device},
  scalar = {words = "a number", test = function(x)
    return type(x) == "number" or type(x) == "boolean" or type(x) == "cdata" and not is_tensor(x) and tonumber(x) ~= nil
  end},
  none = {words = "lt.None", test = function(x) return rawequal(x, None) end},
  any = {words = "a value", array = true, test = function() return true end},
}
kinds.float = kinds.number

arguments.is_tensor, arguments.is_size, arguments.is_module, arguments.is_int = is_tensor, is_size, is_module, is_int

-- A value as it is written in Lua, as far as that is short.
local function spell(value)
  if type(value) ~= "table" or getmetatable(value) then
    return type(value) == "string" and ("%q"):format(value) or (is_tensor(value) or is_module(value)) and "..." or tostring(value)
  end
  local out = {}
  for i = 1, #value do out[i] = spell(value[i]) end
  return "{" .. concat(out, ", ") .. "}"
end

--- What `value` is, for the text of an error: "a number (2.5)", "a tensor of shape {2, 3} and dtype float32".
function arguments.describe(value)
  if value == nil then return "nil" end
  if rawequal(value, None) then return "lt.None" end
  if is_tensor(value) then return ("a tensor of shape %s and dtype %s"):format(tostring(value.shape), value.dtype) end
  if is_module(value) then return "a module " .. value.class.__name end
  local kind = type(value)
  if kind == "string" then return ("the string %q"):format(value) end
  if kind == "number" or kind == "boolean" then return tostring(value) end
  if kind == "table" and not getmetatable(value) and value[1] ~= nil then return "the array " .. spell(value) end
  return "a " .. kind
end

-- Ranges and sizes -----------------------------------------------------------------------------------------------------------------------

local range_words = {[">"] = "above %s", [">="] = "of at least %s", ["<"] = "below %s", ["<="] = "of at most %s"}

--- A range's text as the Lua condition on VALUE and as words; nil, "" when there is none.
local function read_range(text)
  if text == "" then return nil, "" end
  local sign, bound = text:match("^([<>]=?)(.+)$")
  if sign then return ("VALUE %s %s"):format(sign, bound), " " .. range_words[sign]:format(bound) end
  local left, low, high, right = text:match("^([%[%(])(.-);(.-)([%]%)])$")
  local condition = ("VALUE %s %s and VALUE %s %s"):format(left == "[" and ">=" or ">", low, right == "]" and "<=" or "<", high)
  return condition, left == "[" and right == "]" and (" from %s to %s"):format(low, high) or (" between %s and %s"):format(low, high)
end

local function condition_test(condition) return assert(loadstring("local VALUE = ... return " .. condition, "=lunette.range")) end

local function entry(value, i)
  if type(value) == "number" then return value end
  return value[is_size(value) and i or i + 1]
end

local function to_size(value, n)
  local out = {}
  for i = 0, (n or type(value) == "number" and 1 or #value) - 1 do out[i + 1] = entry(value, i) end
  return require("lunette.size").Size(out)
end

--- The kind of `n` sizes (nil: any number of them) whose entries meet `condition`; `expand`: a single number becomes a Size too.
local function sizes_kind(n, condition, words, expand)
  local within = condition and condition_test(condition)
  local function test(value)
    if not (is_int(value) or is_int_array(value) and (n == nil or #value == n)) then return false end
    for i = 0, (type(value) == "number" and 1 or #value) - 1 do
      local size = entry(value, i)
      if not is_int(size) or within and not within(size) then return false end
    end
    return true
  end
  return {
    words = ("a whole number%s or %s of them"):format(words, n or "an array"), array = true, test = test,
    convert = function(value) return (expand or type(value) ~= "number") and to_size(value, n) or value end,
  }
end

--- The kind that `name`, `count` and `range` stand for: "int" "" ">0", "sizes" "2" ">=1".
local function kind_of(name, count, range)
  local condition, words = read_range(range)
  if name == "sizes" or name == "size" and count ~= "" then return sizes_kind(tonumber(count), condition, words, name == "size") end
  if name == "shape" then return sizes_kind(nil, condition, words, true) end
  local kind = assert(kinds[name], name)
  if not condition then return kind end
  local inline = ("type(VALUE) == 'number' and %s%s"):format(name == "int" and "VALUE % 1 == 0 and " or "", condition)
  return {words = kind.words .. words, test = condition_test(inline), inline = inline}
end

-- Reading a signature --------------------------------------------------------------------------------------------------------------------

local constants = {["nil"] = "nil", ["true"] = true, ["false"] = false, inf = math.huge, ["-inf"] = -math.huge,
  ["math.huge"] = math.huge, ["-math.huge"] = -math.huge, ["{}"] = {}}

local function read_default(text)
  local value = constants[text]
  if value == "nil" then return nil end
  if value ~= nil then return value end
  return tonumber(text) or text:match("^\"(.*)\"$") or text
end

local function enum_kind(list)
  local set, words = {}, {}
  for word in list:gmatch("[^|]+") do
    set[word], words[#words + 1] = true, ("%q"):format(word)
  end
  return {words = "one of " .. concat(words, ", "), test = function(x) return set[x] == true end}
end

local function read_kinds(param, text)
  local words = {}
  param.kinds = {}
  text = text:gsub("enum(%b())", function(list)
    param.kinds[1] = enum_kind(list:sub(2, -2))
    return ""
  end)
  for word in text:gmatch("[^|]+") do param.kinds[#param.kinds + 1] = kind_of(word:match("^(%a+)(%d*)(.*)$")) end
  for i, kind in ipairs(param.kinds) do
    words[i] = kind.words
    param.array, param.map, param.convert = param.array or kind.array, param.map or kind.map, param.convert or kind.convert
  end
  param.words = concat(words, " or ")
end

local function read_param(text)
  local param = {}
  local at = text:find("[^<>]=") -- the sign of a default, not that of a range
  local head, default = text:sub(1, at), at and text:sub(at + 2)
  param.required = not default
  param.default = default and read_default(default)
  if head:sub(-3) == "..." then head, param.variadic = head:sub(1, -4), true end
  if head:sub(-1) == "?" then head, param.required = head:sub(1, -2), false end
  param.name = head:match("^[%w_]+")
  read_kinds(param, head:match(":(.*)$") or "tensor")
  return param
end

local function read_signature(name, text)
  local spec = {name = name, text = text, params = {}, index = {}, names = {}}
  local plain = text:gsub("%s+", ""):gsub("[%[%(][^%]%)]*[%]%)]", function(range) return (range:gsub(",", ";")) end)
  for part in plain:gmatch("[^,]+") do
    if part == "*" then
      spec.places = #spec.params
    else
      local param = read_param(part)
      spec.params[#spec.params + 1] = param
      spec.index[param.name], spec.names[#spec.params] = #spec.params, param.name
      if param.variadic then spec.places, spec.variadic = #spec.params, #spec.params end
    end
  end
  spec.places = spec.places or #spec.params
  return spec
end

-- The careful path -----------------------------------------------------------------------------------------------------------------------

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

local function spell_names(options)
  local keys = {}
  for key in pairs(options) do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  sort(keys)
  for i, key in ipairs(keys) do keys[i] = ("%s = %s"):format(key, spell(options[key])) end
  return concat(keys, ", ")
end

local function fail_mixed(spec, args, last)
  local mixed = args[last]
  local values, by_place, by_name = {}, {}, {}
  for i = 1, last - 1 do values[i] = args[i] end
  local param = spec.params[last]
  if param and param.array and #mixed > 1 then
    values[last] = mixed
  else
    for i = 1, #mixed do values[last - 1 + i] = mixed[i] end
  end
  for i = 1, #values do
    by_place[i] = spell(values[i])
    by_name[i] = ("%s = %s"):format(spec.names[i] or "?", by_place[i])
  end
  local names = spell_names(mixed)
  arguments.fail(("%s: a table holds values or names, not both; write %s(%s, {%s}) or %s{%s, %s}"):format(
    spec.name, spec.name, concat(by_place, ", "), names, spec.name, concat(by_name, ", "), names))
end

-- Takes the options off the end of args: returns them (or nil) and how many places remain.
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

local function check_places(spec, args, last)
  local first = args[1]
  local meta = type(first) == "table" and getmetatable(first)
  if meta and meta.__package then
    arguments.fail(("%s is a function, called with a dot: %s.%s(...)"):format(spec.name, meta.__package, spec.name))
  end
  if spec.variadic or last <= spec.places then return end
  local by_name = spec.params[last] and (", %s is given by name: {%s = ...}"):format(spec.names[spec.places + 1], spec.names[spec.places + 1]) or ""
  arguments.fail(("%s takes at most %d argument%s (%s), %d given%s"):format(
    spec.name, spec.places, spec.places == 1 and "" or "s", concat(spec.names, ", ", 1, spec.places), last, by_name))
end

local function gather(spec, values, args, last)
  local at = spec.variadic
  local param = spec.params[at]
  local first = args[at]
  if last < at or last == at and (first == nil or param.array and type(first) ~= "number") then return end
  local list = {n = nil}
  for i = at, last do list[i - at + 1] = args[i] end
  values[at] = list
end

local function take_options(spec, values, options)
  for name, value in pairs(options) do
    local i = spec.index[name]
    if not i then
      arguments.fail(("%s has no argument '%s'%s"):format(spec.name, tostring(name), arguments.hint(name, spec.names)))
    end
    if values[i] ~= nil then arguments.fail(("%s: argument '%s' is given twice, by place and by name"):format(spec.name, name)) end
    values[i] = value
  end
end

local function fits(param, value)
  for _, kind in ipairs(param.kinds) do
    if kind.test(value) then return true end
  end
  return false
end

local function fits_all(param, list)
  if type(list) ~= "table" then return fits(param, list) end
  for i = 1, #list do
    if not (fits(param, list[i]) or param.array and is_int(list[i])) then return false end
  end
  return true
end

local function checked(spec, i, value)
  local param = spec.params[i]
  if rawequal(value, None) and not param.required and param.default == nil then value = nil end
  if value == nil then
    if param.required then arguments.fail(("%s: argument '%s' is missing; it takes (%s)"):format(spec.name, param.name, concat(spec.names, ", "))) end
    value = param.default
    if value == nil or not param.convert then return value end
  end
  local good
  if param.variadic then good = fits_all(param, value) else good = fits(param, value) end
  if not good then
    arguments.fail(("%s: argument '%s' must be %s, not %s"):format(spec.name, param.name, param.words, arguments.describe(value)))
  end
  if param.convert and type(value) ~= "string" then return param.convert(value) end
  return value
end

local function slow(spec, n, ...)
  local args, values = {...}, {}
  local options, last = split_options(spec, args, n)
  check_places(spec, args, last)
  for i = 1, last < spec.places and last or spec.places do values[i] = args[i] end
  if spec.variadic then gather(spec, values, args, last) end
  if options then take_options(spec, values, options) end
  for i = 1, #spec.params do values[i] = checked(spec, i, values[i]) end
  return unpack(values, 1, #spec.params)
end

-- The straight path ----------------------------------------------------------------------------------------------------------------------

-- The expression that says "value `a` surely fits"; nil when only the careful path can tell.
local function fast_test(param, a)
  local tests = {}
  for _, kind in ipairs(param.kinds) do
    if kind.convert then
      return "false"
    elseif kind.inline then
      tests[#tests + 1] = kind.inline:gsub("VALUE", a)
    elseif kind == kinds.int then
      tests[#tests + 1] = ("type(%s) == 'number' and %s == floor(%s)"):format(a, a, a)
    elseif kind == kinds.ints then
      tests[#tests + 1] = ("(type(%s) == 'number' and %s == floor(%s) or is_size(%s))"):format(a, a, a, a)
    elseif kind == kinds.tensor then
      tests[#tests + 1] = ("is_tensor(%s)"):format(a)
    elseif kind == kinds.any then
      tests[#tests + 1] = ("type(%s) ~= 'table'"):format(a)
    elseif kind ~= kinds.table and kind ~= kinds.map and kind ~= kinds.size then
      tests[#tests + 1] = ("(type(%s) ~= 'table' and test[%q](%s))"):format(a, param.name, a)
    end
  end
  return #tests > 0 and "(" .. concat(tests, " or ") .. ")" or "false"
end

local function generate(spec)
  local names, conditions, fills = {}, {}, {}
  for i, param in ipairs(spec.params) do
    local a = "a" .. i
    names[i] = a
    local test = i > spec.places and ("%s == nil"):format(a) or fast_test(param, a)
    conditions[i] = param.required and test or ("(%s or %s == nil)"):format(test, a) -- == with a tensor calls a metamethod
    if param.default ~= nil then fills[#fills + 1] = ("  if %s == nil then %s = default.%s end"):format(a, a, param.name) end
  end
  local list = concat(names, ", ")
  return concat({
    "local spec, slow, is_tensor, is_size, floor, type, select, test, default = ...",
    ("return function(%s%s...)"):format(list, #names > 0 and ", " or ""),
    ("  if not (select('#', ...) == 0%s) then"):format(#names > 0 and " and " .. concat(conditions, " and ") or ""),
    ("    return slow(spec, %d + select('#', ...), %s%s...)"):format(#names, list, #names > 0 and ", " or ""),
    "  end",
    concat(fills, "\n"),
    ("  return %s"):format(list),
    "end",
  }, "\n")
end

--- The texts of all signatures read so far, by name: what `help` knows of modules and functions.
arguments.signatures = {}

--- A function that takes `...` and returns the values of the parameters in the order of `text` (see the head of this file).
function arguments.signature(name, text)
  local spec = read_signature(name, text)
  arguments.signatures[name] = text
  if spec.variadic then
    return function(...) return slow(spec, select("#", ...), ...) end
  end
  local test, default = {}, {}
  for _, param in ipairs(spec.params) do
    test[param.name] = function(value) return fits(param, value) end
    default[param.name] = param.default
  end
  local chunk = assert(loadstring(generate(spec), "=lunette.signature." .. name))
  return chunk(spec, slow, is_tensor, is_size, floor, type, select, test, default)
end

return arguments
