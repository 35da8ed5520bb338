--- Straight code for signatures, as Lua text that the JIT compiles: the way of arguments by position, the way of a table of names, and overloads.
--
-- Nothing is worded here: what these ways do not take goes to the slow path, which is given. A text is written once, so the JIT leaves this file alone.

local kinds = require("lunette.kinds")
local lazily = require("lunette.lazily")

local loadstring, ipairs, type, tostring, assert = loadstring, ipairs, type, tostring, assert
local concat, max = table.concat, math.max

require("lunette.interpreted")()

local generate = {}

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
    conditions[i] = param.required and test or ("(%s or type(a%d) == 'nil')"):format(test, i) -- == would call a tensor's metamethod and take a NULL pointer
  end
  return #conditions > 0 and concat(conditions, " and ") or "true"
end

-- The tools that the texts of a kind name.
local function needs_of(kind)
  if not kind.needs then
    local needs = {}
    for word in concat({kind.text, kind.fast or "", kind.convert or ""}, " "):gmatch("[%a_][%w_]*") do
      if kinds.tools[word] ~= nil then needs[#needs + 1] = word end
    end
    kind.needs = needs
  end
  return kind.needs
end

local ALWAYS = {"type", "getmetatable", "holds"}

-- The tools that the text of some parameters may name, as locals: few, since every text is short-lived.
local function tool_locals(params)
  local seen, names = {}, {}
  local function add(list)
    for _, name in ipairs(list) do
      if not seen[name] then seen[name], names[#names + 1] = true, name end
    end
  end
  add(ALWAYS)
  for _, param in ipairs(params) do
    for _, kind in ipairs(param.kinds) do add(needs_of(kind)) end
  end
  return ("local %s = kit.%s"):format(concat(names, ", "), concat(names, ", kit."))
end

local function enum_locals(spec)
  local out = {}
  for i, param in ipairs(spec.params) do
    if param.enum then out[#out + 1] = ("local enum%d = spec.params[%d].enum"):format(i, i) end
  end
  return concat(out, "\n")
end

-- Moves the options of the table `o` to the parameters, which are final only when it holds nothing else.
local function options_text(spec, otherwise)
  local lines = {"local count, v = 0"}
  for i, param in ipairs(spec.params) do
    lines[#lines + 1] = ("v = o[%q] if v ~= nil then if a%d ~= nil then return %s end a%d, count = v, count + 1 end"):format(param.name, i, otherwise, i)
  end
  return concat(lines, "\n")
end

-- The way of a call with a table of names. `otherwise` is what it returns when it cannot tell, `success` stands before the values.
local function named_text(spec, otherwise, success)
  local n, places = #spec.params, spec.places
  local a, p = list_of(n, "a"), list_of(places, "p")
  local given = concat(p, ", ") .. (places > 0 and ", " or "")
  otherwise = otherwise:gsub("GIVEN", given .. "extra, more, ...")
  local find = {"local o", "if extra ~= nil then o = extra"}
  for i = places, 1, -1 do find[#find + 1] = ("elseif a%d ~= nil then o, a%d = a%d, nil"):format(i, i, i) end
  return concat({
    ("return function(%sextra, more, ...)"):format(given),
    n > 0 and ("local %s%s"):format(concat(a, ", "), places > 0 and " = " .. concat(p, ", ") or "") or "",
    ("if more ~= nil or select('#', ...) > 0 and (...) ~= nil then return %s end"):format(otherwise), -- an overload hands on nil behind
    concat(find, "\n") .. " end",
    ("if type(o) ~= 'table' or getmetatable(o) ~= nil then return %s end"):format(otherwise),
    options_text(spec, otherwise),
    ("if count > 0 and holds(o, count) and %s then return %s%s end"):format(fits_text(spec, n), success, n > 0 and concat(a, ", ") or "nil"),
    ("return %s"):format(otherwise),
    "end",
  }, "\n")
end

-- The same where the last parameter by position gathers several values.
local function gathered_text(spec, otherwise, success)
  local n, at = #spec.params, spec.variadic
  local a, p = list_of(n, "a"), list_of(at - 1, "p")
  local given = concat(p, ", ") .. (at > 1 and ", " or "")
  otherwise = otherwise:gsub("GIVEN", given .. "...")
  return concat({
    ("return function(%s...)"):format(given),
    ("local %s%s"):format(concat(a, ", "), at > 1 and " = " .. concat(p, ", ") or ""),
    "local list, last, o = {...}, select('#', ...)",
    "while last > 0 and list[last] == nil do last = last - 1 end",
    ("if last == 0 then return %s end"):format(otherwise),
    "o = list[last]",
    "if type(o) == 'table' and getmetatable(o) == nil and o[1] == nil and next(o) ~= nil then list[last], last = nil, last - 1 else o = nil end",
    ("if last == 1 and type(list[1]) ~= 'number' then a%d = list[1] elseif last > 0 then a%d = list end"):format(at, at),
    "if o then",
    options_text(spec, otherwise),
    ("if not holds(o, count) then return %s end"):format(otherwise),
    "end",
    ("if %s then return %s%s end"):format(fits_text(spec, n), success, concat(a, ", ")),
    ("return %s"):format(otherwise),
    "end",
  }, "\n")
end

local function other_text(spec, otherwise, success)
  return spec.variadic and gathered_text(spec, otherwise, success) or named_text(spec, otherwise, success)
end

local function default_text(param)
  local value = param.default
  if type(value) == "number" and value - value == 0 then return ("%.17g"):format(value) end
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) == "boolean" then return tostring(value) end
  return "default." .. param.name
end

-- Defaults, and values in their final form.
local function conversions(spec)
  local lines = {}
  for i, param in ipairs(spec.params) do
    if param.default ~= nil then lines[#lines + 1] = ("if a%d == nil then a%d = %s end"):format(i, i, default_text(param)) end
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

-- Runs a text about a signature. `params`: those that it tests.
local function load_text(spec, text, env, params)
  local head = "local spec, kit, env = ...\nlocal select, slow = select, env.slow\n" .. tool_locals(params or spec.params) .. "\n" .. enum_locals(spec) .. "\n"
  local chunk = assert(loadstring(head .. text, "=lunette.signature." .. spec.name))
  return chunk(spec, kinds.tools, env)
end

-- A stand-in for the second way that is compiled at its first call.
local function other_way(spec, slow)
  return lazily.made(function() return load_text(spec, other_text(spec, "slow(spec, GIVEN)", ""), {slow = slow}) end)
end

-- The tests of the slow path, from the same texts, when first needed.
local function add_fits(spec)
  for i, param in ipairs(spec.params) do
    param.fits = function(value)
      param.fits = load_text(spec, "return function(a) return " .. test_text(param, i, "a", false) .. " end", {})
      return param.fits(value)
    end
  end
end

local function prepare(spec)
  local tools = kinds.tools
  tools.handle, tools.is_size = require("lunette.ffi").handle, require("lunette.size").is_size
  add_fits(spec)
end

--- See arguments.compile. `slow` is the slow path.
function generate.compile(spec, slow, tail, env)
  prepare(spec)
  tail = tail or {locals = "", text = #spec.params > 0 and "return " .. concat(list_of(#spec.params, "a"), ", ") or "return"}
  local default = {}
  for _, param in ipairs(spec.params) do default[param.name] = param.default end
  local text = "local other, default, env = env.other, env.default, env.env\n" .. tail.locals .. "\n" .. main_text(spec, tail.text)
  return load_text(spec, text, {other = other_way(spec, slow), default = default, env = env})
end

-- Overloads ------------------------------------------------------------------------------------------------------------------------------

-- One form by position: it is taken when its parameters fit and nothing stands behind them.
local function form_text(k, spec, most)
  local conditions = {(fits_text(spec, spec.places):gsub("enum(%d+)", "enum" .. k .. "_%1"))}
  for i = spec.places + 1, #spec.params do
    if spec.params[i].required then conditions[1] = "false" end
  end
  for i = spec.places + 1, most do conditions[#conditions + 1] = ("a%d == nil"):format(i) end
  return ("if %s then return form%d(%s) end"):format(concat(conditions, " and "), k, concat(list_of(spec.places, "a"), ", "))
end

-- The form that a call with names means: named1 ... say whether their form takes it.
local function try_text(k, spec)
  local values = concat(list_of(#spec.params, "a"), ", ")
  return ("do local fits, %s = named%d(...) if fits then return form%d(%s) end end"):format(values, k, k, values)
end

local function form_locals(k, spec)
  local lines = {("local form%d, named%d = env.forms[%d].fn, env.named[%d]"):format(k, k, k, k)}
  for i, param in ipairs(spec.params) do
    if param.enum then lines[#lines + 1] = ("local enum%d_%d = env.forms[%d].spec.params[%d].enum"):format(k, i, k, i) end
  end
  return concat(lines, "\n")
end

local function for_each(forms, text, ...)
  local out = {}
  for k, form in ipairs(forms) do out[k] = text(k, form.spec, ...) end
  return concat(out, "\n")
end

--- A function that calls the first of several forms whose signature its arguments fit. `forms` is an array of {spec =, fn =}; `fail` takes what none of
-- them does.
function generate.overload(name, forms, fail)
  local most, named, params = 0, {}, {}
  for k, form in ipairs(forms) do
    prepare(form.spec)
    for _, param in ipairs(form.spec.params) do params[#params + 1] = param end
    most = max(most, form.spec.places)
    named[k] = load_text(form.spec, other_text(form.spec, "false", "true, "), {})
  end
  local given = concat(list_of(most, "a"), ", ")
  return load_text({name = name, params = {}}, concat({
    for_each(forms, form_locals),
    "local fail = env.fail",
    "local function other(...)",
    for_each(forms, try_text),
    "return fail(...)",
    "end",
    ("return function(%s, extra, more, ...)"):format(given),
    "if select('#', ...) == 0 and extra == nil and more == nil then",
    for_each(forms, form_text, most),
    "end",
    ("return other(%s, extra, more, ...)"):format(given),
    "end",
  }, "\n"), {forms = forms, named = named, fail = fail}, params)
end

return generate
