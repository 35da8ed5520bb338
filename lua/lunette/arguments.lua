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
--     name:kinds=default    a number, true, false, inf, -inf, {}, an array of numbers {0.9,0.999}, nil or a word, which is a string
--     name  name?           a tensor
--     name:kinds...         the last one by position: gathers all remaining values in an array; one array is taken as it is
--     *                     what follows is given by name only
--
-- kinds are one kind or several, `a|b`. A kind of numbers may carry a range: >0, >=1, <8, <=1, [0,1], (0,1), [0,1) ..., which holds for each entry
-- (kinds.lua has their tests and words):
--
--     int, number (float)   a whole number that a Lua number holds exactly; any number
--     scalar                a number, a boolean or an int64_t
--     numbers numbers2 ...  an array of numbers; of 2 ...
--     ints                  a whole number, or an array or Size of them; an array has at most 32 entries
--     size                  an array or Size of whole numbers
--     sizes, sizes2 ...     as ints, the array with that many entries; an array becomes a Size
--     shape, size2, size3 ...  the same, and a number becomes a Size too: {3}, {3, 3}, {3, 3, 3} from 3
--     ints_or_none          as ints, entries may be lt.None
--     bool string function table tensor tensors (an array) module generator packed (a PackedSequence) dtype device any
--     map                   a table of names that is never read as options
--     enum(a|b|c)           one of these strings
--     none                  lt.None, where nil would mean another default; a parameter that is nil by default takes lt.None as nil anyway
--
-- A call goes one of three ways, all of them through the same tests: straight code for arguments by position, straight code for arguments with a
-- table of names, both compiled by the JIT, and the slow path, which words the errors.
--
-- Nothing here knows an operator or a module.

local each = require("lunette.each")
local catalog = require("lunette.catalog")
local errors = require("lunette.errors")
local kinds = require("lunette.kinds")
local lazily = require("lunette.lazily")
local signature = require("lunette.signature")

local getmetatable, setmetatable, rawequal, ipairs = getmetatable, setmetatable, rawequal, ipairs
local type, select, tostring, unpack = type, select, tostring, unpack
local concat, sort, pcall, error = table.concat, table.sort, pcall, error

local arguments = {
  fail = errors.fail, nearest = errors.nearest, hint = errors.hint, strict = errors.strict, None = kinds.None, describe = kinds.describe,
  is_tensor = kinds.is_tensor, is_size = kinds.is_size, is_module = kinds.is_module, is_int = kinds.is_int, read = signature.read,
  is_packed = kinds.is_packed,
}
local fail, literal, None = errors.fail, kinds.literal, kinds.None
local TOO_MANY = 100 -- behind every other measure of how far a form of an overload got

-- The slow path ----------------------------------------------------------------------------------------------------------------------------

-- "value": no table of options; "empty", "array", "names", "mixed": what a plain table holds.
local function form_of(value)
  if type(value) ~= "table" or getmetatable(value) then return "value" end
  local array, names = false, false
  for key in each(value) do
    if type(key) == "string" then names = true else array = true end
  end
  return names and (array and "mixed" or "names") or (array and "array" or "empty")
end
arguments.form_of = form_of

local function named_literals(options)
  local keys = {}
  for key in each(options) do
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

--- Refuses lt:zeros(3) for lt.zeros(3): the package comes first.
local function check_dot(name, first)
  local meta = type(first) == "table" and getmetatable(first)
  if meta and meta.__package then fail(("%s is a function, called with a dot: %s.%s(...)"):format(name, meta.__package, name)) end
end

arguments.check_dot = check_dot

local function check_count(spec, last)
  if spec.variadic or last <= spec.places then return end
  spec.reached = spec.places - TOO_MANY
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

local function count_unknown(spec, options)
  local n = 0
  for name in each(options) do
    if not spec.index[name] then n = n + 1 end
  end
  return n
end

local function take_options(spec, values, options)
  spec.reached = -count_unknown(spec, options)
  for name, value in each(options) do
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
  local words = signature.words(param)
  local hint = words:find("dtype", 1, true) and kinds.dtype_hint(value) or ""
  spec.raise(("%s: argument '%s' must be %s, got %s%s"):format(spec.name, param.name, words, kinds.describe(value), hint))
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

local function slow(spec, ...)
  local args, values = {...}, {}
  spec.reached = 0
  check_dot(spec.name, args[1])
  local options, last = split_options(spec, args, select("#", ...))
  check_count(spec, last)
  for i = 1, last < spec.places and last or spec.places do values[i] = args[i] end
  if spec.variadic then gather(spec, values, args, last) end
  if options then take_options(spec, values, options) end
  for i = 1, #spec.params do
    spec.reached = i
    values[i] = checked(spec, i, values[i])
  end
  return unpack(values, 1, #spec.params)
end

-- Functions ------------------------------------------------------------------------------------------------------------------------------

--- A function of the signature `spec` (from `read`) that checks its arguments and then runs `tail.text`, Lua text in which a1, a2 ... are the values of
-- the parameters; `tail.locals` declares what it needs from `env`, a table of the caller's.
function arguments.compile(spec, tail, env) return require("lunette.generate").compile(spec, slow, tail, env) end

local function raise_plain(message) error(message, 0) end

-- The call of an overload that no form takes by its fast ways: the slow path of each, then the error of the one that got furthest.
local function slow_overload(name, forms, ...)
  check_dot(name, (...))
  local best, message
  for _, form in ipairs(forms) do
    local values = {pcall(slow, form.spec, ...)}
    if values[1] then return form.fn(unpack(values, 2, #form.spec.params + 1)) end
    if not best or form.spec.reached > best.spec.reached then best, message = form, values[2] end
  end
  local texts = {}
  for i, form in ipairs(forms) do texts[i] = ("%s(%s)"):format(name, (form.spec.text:gsub(":tensor%f[^%w|]", ""))) end
  fail(("%s; its forms are %s"):format(message, concat(texts, " and ")))
end

--- A function that stands for several: `forms`, an array of {spec =, fn =}, are tried in order, and `fn` gets the values of the parameters.
function arguments.overload(name, forms)
  for _, form in ipairs(forms) do form.spec.raise = raise_plain end
  return require("lunette.generate").overload(name, forms, function(...) return slow_overload(name, forms, ...) end)
end

local signatures = setmetatable({}, {__mode = "k"})

--- A function that takes `...` and returns the values of the parameters in the order of `text` (see the head of this file).
function arguments.signature(name, text)
  local parse = lazily.made(function() return arguments.compile(signature.read(name, text)) end)
  signatures[parse] = {name = name, text = text}
  return parse
end

arguments.methods = setmetatable({}, {__mode = "k"})

--- A function of this signature, which does `call` with the values of the parameters. As a method of tensors it stands as it is, a function too.
function arguments.method(name, text, call)
  local parse = arguments.signature(name, text)
  local function fn(...) return call(parse(...)) end
  arguments.methods[fn] = true
  return catalog.wraps(catalog.add(fn, {signature = text}), call)
end
--- What a function that `signature` made takes: {name =, text =}; nil for any other function.
function arguments.signature_of(parse) return signatures[parse] end

return arguments
