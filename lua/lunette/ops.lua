--- Every operator of the library as a function, a tensor method and, with a trailing underscore, an in-place method.
--
-- The table in C names each operator's arguments (lib/ops.def). A row is read, and its function written and compiled (wrapper.lua), when it is first
-- asked for. A public name may stand for several rows; then the first one whose signature the arguments fit is called.

local each = require("lunette.each")
local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local catalog = require("lunette.catalog")
local wrapper = require("lunette.wrapper")

local C, ffi, T, live = base.C, base.ffi, base.T, base.registry.live
local ffistring, tonumber, type, ipairs, setmetatable = ffi.string, tonumber, type, ipairs, setmetatable

require("lunette.interpreted")() -- what is done here is done once a row

local ops = {signature = wrapper.signature}

-- The table ------------------------------------------------------------------------------------------------------------------------------

local function split_names(text)
  local words = {}
  for word in text:gmatch("[^,%s][^,]*") do words[#words + 1] = (word:gsub("%s+$", "")) end
  return words
end

--- "input, other:operand, dim:int=-1, keepdim:bool=false, tensors[]" as a list of parameters: `place` counts the inputs of a call, `slot` what has a kind.
local function parameters(text)
  local params, slot, place = {}, 0, 0
  local depth_safe = text:gsub("%b()", function(list) return (list:gsub(",", ";")) end)
  for _, word in ipairs(split_names(depth_safe)) do
    local name, rest = word:match("^([%w_]+)(.*)$")
    local kind, tail = rest:match("^:([%a]+)(.*)$")
    local param = {name = name}
    if not kind then
      param.kind, param.place = rest == "[]" and "list" or "tensor", place
      param.optional = rest == "?"
      place = place + 1
    else
      param.kind, param.slot = kind, slot
      if kind == "operand" then
        param.place = place
        place = place + 1
      end
      param.choices = tail:match("^%((.-)%)")
      tail = tail:gsub("^%b()", "")
      param.optional = tail == "?"
      param.default = tail:match("^=(.*)$")
      if param.default then param.default = param.default:gsub("INFINITY", "inf") end
      slot = slot + 1
    end
    params[#params + 1] = param
  end
  return params
end

local function describe(id)
  local row = C.ln_op_at(id)
  local kind = tonumber(row.kind)
  local info = {
    id = id, name = ffistring(row.name), doc = ffistring(row.doc), kind = kind, n_outputs = tonumber(row.n_outputs), grad = tonumber(row.grad),
    is_view = base.band(row.flags, C.LN_FLAG_VIEW) ~= 0, inplace = base.band(row.flags, C.LN_FLAG_INPLACE) ~= 0,
    public_name = ffistring(row.public_name), low = row.low, high = row.high, class = row.classname ~= nil and ffistring(row.classname) or nil,
  }
  info.params = parameters(ffistring(row.signature))
  if row.forward ~= nil then info.forward = ffistring(row.forward) end
  info.derivative = {}
  for i = 0, 2 do
    if row.derivative[i] ~= nil then info.derivative[i] = ffistring(row.derivative[i]) end
  end
  return info
end

local ids, overloads = {}, {}
for id = 0, C.ln_op_count() - 1 do ids[ffistring(C.ln_op_at(id).name)] = id end
for i = 0, C.ln_overload_count() - 1 do
  local row = C.ln_overload_at(i)
  overloads[ffistring(row.name)] = split_names(ffistring(row.forms))
end

--- name -> description of the row.
ops.info = setmetatable({}, {
  __index = function(known, name)
    local id = ids[name]
    if not id then return nil end
    known[name] = describe(id)
    return known[name]
  end,
})

-- Is it a form that exists under the name of its overload alone?
local function is_hidden(name) return ids[name] and not overloads[name] and ops.info[name].public_name ~= name end

--- The description of the row with this number.
function ops.at(id) return ops.info[ffistring(C.ln_op_at(id).name)] end

-- The descriptions of all rows in the table's order: ops.list, made when first asked for.
local function rows()
  local list = {}
  for id = 0, C.ln_op_count() - 1 do list[id + 1] = ops.at(id) end
  return list
end

--- The names of all operators and overloads that scripts see; of a package, those of its members: "qr" for linalg.qr.
function ops.names(package)
  local list = {}
  local function add(name)
    local inside, member = name:match("^(.-)%.(.+)$")
    if inside == package then list[#list + 1] = member or name end
  end
  for name in each(ids) do
    if not is_hidden(name) then add(name) end
  end
  for name in each(overloads) do
    if not ids[name] then add(name) end
  end
  return list
end

base.hooks.names = ops.names

-- Functions and methods: compiled when first asked for -------------------------------------------------------------------------------------

-- The function of a row, which errors call `public`.
local function row_function(name, inplace, public)
  local info = ops.info[name]
  return info and (not inplace or info.inplace) and wrapper.compile(info, public or info.public_name .. (inplace and "_" or ""), inplace) or nil
end

-- The function behind a public name that stands for several rows; in place for those that can, one at least.
local function overload_function(name, inplace)
  local forms, public = {}, name .. (inplace and "_" or "")
  if #overloads[name] == 1 then return row_function(overloads[name][1], inplace, public) end
  for _, form in ipairs(overloads[name]) do
    local fn = row_function(form, inplace, public)
    forms[#forms + 1] = fn and {fn = fn, spec = arguments.read(public, wrapper.signature(ops.info[form]))}
  end
  return forms[1] and arguments.overload(public, forms)
end

-- Enters a function with what its rows say.
local function entered(fn, title, forms, ending)
  return fn and catalog.add(fn, {name = title, rows = forms, complete = function(entry)
    entry.signatures = {}
    for i, form in ipairs(forms) do entry.signatures[i] = wrapper.signature(ops.info[form]) end
    entry.signature, entry.doc = entry.signatures[1], ops.info[forms[1]].doc .. ending
  end})
end

local function find(name)
  local stem = name:match("^(.+)_$")
  if overloads[name] then return entered(overload_function(name, false), "lt." .. name, overloads[name], "") end
  if ids[name] then return entered(row_function(name, false), "lt." .. name, {name}, "") end
  if overloads[stem] then return entered(overload_function(stem, true), "Tensor:" .. name, overloads[stem], " In place.") end
  if ids[stem] then return entered(row_function(stem, true), "Tensor:" .. name, {stem}, " In place.") end
end

setmetatable(ops, {
  __index = function(_, name)
    local value
    if name == "list" then value = rows() elseif type(name) == "string" then value = find(name) end
    if value ~= nil then ops[name] = value end
    return value
  end,
})

--- The function that scripts call by this name, nil when there is none.
function ops.public(name)
  if type(name) ~= "string" then return nil end
  local stem = (ids[name] or overloads[name]) and name or name:match("^(.+)_$")
  if not (ids[stem] or overloads[stem]) or is_hidden(stem) then return nil end
  return ops[name]
end

--- Methods are the functions; what tensor.lua defines itself stands before them.
setmetatable(T, {
  __index = function(_, name)
    local fn = ops.public(name)
    if fn then T[name] = fn end
    return fn
  end,
})

for _, name in ipairs {"add", "sub", "mul", "div", "pow", "remainder", "neg"} do
  live[name] = function(...)
    live[name] = ops[name]
    return live[name](...)
  end
end

return ops
