--- Every operator of the library as a function, a tensor method and, with a trailing underscore, an in-place method.
--
-- The table in C names each operator's arguments. From that a wrapper is written as Lua text and compiled at first use: straight code that tests the
-- types of the usual call, puts tensors and attributes into preallocated blocks and calls `ln_apply`, so that a loop over it is compiled by the JIT.
-- Whatever is not the usual call goes through `arguments`, which knows options, defaults and errors.

local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local is_size = require("lunette.size").is_size

local C, ffi, T, live = base.C, base.ffi, base.T, base.registry.live
local ffistring, istype, tonumber, type = ffi.string, ffi.istype, tonumber, type
local concat, loadstring = table.concat, loadstring

local ops = {}
local MAX_INPUTS, POOL = tonumber(C.LN_MAX_INPUTS), tonumber(C.LN_ATTR_POOL)

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
      if param.default then param.default = param.default:gsub("INFINITY", "math.huge") end
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

--- name -> description of the row, and the list of all in the table's order.
ops.info, ops.list = {}, {}
for id = 0, C.ln_op_count() - 1 do
  local info = describe(id)
  ops.info[info.name] = info
  ops.list[#ops.list + 1] = info
end

-- Calls that are not the usual one -------------------------------------------------------------------------------------------------------

local KINDS = {int = "int", float = "number", bool = "bool", dtype = "dtype", device = "device|int", ints = "ints|size", scalar = "scalar", tensor = "tensor",
                operand = "tensor|scalar", list = "table"}

local function parameter_text(param)
  local kind = param.kind == "enum" and "enum(" .. param.choices .. ")" or KINDS[param.kind]
  local default = param.default and "=" .. param.default:gsub("math.huge", "inf") or ""
  return param.name .. ":" .. kind .. (param.optional and "?" or "") .. default
end

--- The signature as `arguments` and `help` read it.
function ops.signature(info)
  local words = {}
  for i, param in ipairs(info.params) do words[i] = parameter_text(param) end
  return concat(words, ", ")
end

local parsers = {}
local function parse(info, ...)
  local parser = parsers[info.name]
  if not parser then
    parser = arguments.signature(info.name, ops.signature(info))
    parsers[info.name] = parser
  end
  return parser(...)
end

--- The call in canonical form: every argument by place, of the type that the generated code takes.
local function canonical(info, value)
  for i, param in ipairs(info.params) do
    if param.kind == "device" and value[i] ~= nil then value[i] = base.device_name(base.device_id(value[i])) end
  end
  return unpack(value, 1, #info.params)
end

local function slow(info, fn, ...)
  return fn(canonical(info, {parse(info, ...)}))
end

-- Filling in ints: a number, a Lua array, a Size.
local function put_ints(attrs, slot, value)
  local at = attrs.pool_used
  if type(value) == "number" then
    attrs.pool[at] = value
    attrs.slot[slot].i = at * 256 + 1
    attrs.pool_used = at + 1
    return true
  end
  local n, from = #value, is_size(value) and 0 or 1
  if at + n > POOL or n == 0 and type(value) == "table" and next(value) ~= nil then return false end -- names only: options
  for i = 1, n do
    local v = value[i - 1 + from]
    if type(v) ~= "number" or v % 1 ~= 0 then return false end
    attrs.pool[at + i - 1] = v
  end
  attrs.slot[slot].i = at * 256 + n
  attrs.pool_used = at + n
  return true
end

--- A number as an attribute: whole numbers keep their exactness. True when it stands in `i`.
local function put_scalar(attrs, slot, value)
  if type(value) == "number" then
    if value % 1 == 0 and value < 9007199254740992 and value > -9007199254740992 then
      attrs.slot[slot].i = value
      return true
    end
    attrs.slot[slot].d = value
    return false
  end
  attrs.slot[slot].i = type(value) == "boolean" and (value and 1 or 0) or value
  return true
end

local int64_t = ffi.typeof("int64_t")
local function is_scalar(value) return type(value) == "number" or type(value) == "boolean" or istype(int64_t, value) end

local list_room = {n = 0}
local function tensor_list(list, first)
  if list_room.n < first + #list then
    list_room.n = first + #list + 16
    list_room.p = ffi.new("ln_tensor *[?]", list_room.n)
  end
  return list_room.p
end

-- Writing the wrappers -------------------------------------------------------------------------------------------------------------------

local code = {}

function code.tensor(p)
  local missing = p.optional and ("elseif %s == nil then in_[%d] = nil "):format(p.var, p.place) or ""
  return ([[if istype(handle, VAR) then
    local q = VAR._p
    if q.generation ~= VAR._gen then pointer(VAR) end
    in_[PLACE] = q
  MISSINGelse return slow(ALL) end]]):gsub("%u%u%u+", {VAR = p.var, PLACE = p.place, MISSING = missing, ALL = p.all})
end

function code.operand(p)
  return ([[if istype(handle, VAR) then
    local q = VAR._p
    if q.generation ~= VAR._gen then pointer(VAR) end
    in_[PLACE] = q
    some = true
  elseif is_scalar(VAR) then
    in_[PLACE] = nil
    if put_scalar(at, SLOT, VAR) then integer = integer + WEIGHT end
    if VAR == true or VAR == false then present = present + WEIGHT end
  else return slow(ALL) end]]):gsub("%u%u%u+", {VAR = p.var, PLACE = p.place, SLOT = p.slot, WEIGHT = 2 ^ p.slot, ALL = p.all})
end

function code.list(p)
  return ([[if type(VAR) ~= "table" then return slow(ALL) end
  local many = #VAR
  local room = tensor_list(VAR, PLACE)
  for k = 0, PLACE - 1 do room[k] = in_[k] end
  for k = 1, many do
    local h = VAR[k]
    if not istype(handle, h) then fail("NAME: item " .. k .. " of TENSORS is no tensor but a " .. type(h)) end
    room[PLACE + k - 1] = pointer(h)
  end
  n_in = PLACE + many
  in_ = room]]):gsub("%u%u%u+", {VAR = p.var, PLACE = p.place, ALL = p.all, NAME = p.op, TENSORS = p.name})
end

local function attribute(test, store)
  return function(p)
    local missing = ""
    if p.optional then
      missing = ("if %s ~= nil then "):format(p.var)
    elseif p.default then
      missing = ("if %s == nil then %s = %s end "):format(p.var, p.var, p.literal)
    end
    local text = ("%sif not (%s) then return slow(%s) end %s present = present + %d%s"):format(missing, test, p.all, store, 2 ^ p.slot, p.optional and " end" or "")
    return (text:gsub("%f[%u]VAR%f[%U]", p.var):gsub("%f[%u]SLOT%f[%U]", tostring(p.slot)):gsub("%f[%u]NAMES%f[%U]", p.names or ""))
  end
end

code.int = attribute("type(VAR) == 'number' and VAR % 1 == 0", "at.slot[SLOT].i = VAR")
code.float = attribute("type(VAR) == 'number'", "at.slot[SLOT].d = VAR")
code.bool = attribute("type(VAR) == 'boolean'", "at.slot[SLOT].i = VAR and 1 or 0")
code.dtype = attribute("dtype_id[VAR]", "at.slot[SLOT].i = dtype_id[VAR]")
code.device = attribute("type(VAR) == 'string'", "at.slot[SLOT].i = device_id(VAR)")
code.scalar = attribute("is_scalar(VAR)", "if put_scalar(at, SLOT, VAR) then integer = integer + 2 ^ SLOT end")
code.enum = attribute("(NAMES)[VAR]", "at.slot[SLOT].i = (NAMES)[VAR]")
code.ints = attribute("type(VAR) == 'number' and VAR % 1 == 0 or type(VAR) == 'table' or is_size(VAR)", "if not put_ints(at, SLOT, VAR) then return slow(ALL) end")

local function literal(param)
  local d = param.default
  if not d then return "nil" end
  if param.kind == "dtype" or param.kind == "enum" or param.kind == "device" then return ("%q"):format(d) end
  return d
end

local function enum_names(param)
  local words, n = {}, 0
  for word in param.choices:gmatch("[^|]+") do
    words[#words + 1] = ("%s = %d"):format(word, n)
    n = n + 1
  end
  return "{ " .. concat(words, ", ") .. " }"
end

--- The Lua text of an operator's wrapper.
local function wrapper_text(info, inplace)
  local vars, body, prelude, operands, n_tensors = {}, {}, {}, false, 0
  for i, param in ipairs(info.params) do vars[i] = "p_" .. param.name end
  local all = "info, self, " .. concat(vars, ", ") .. (#vars > 0 and ", " or "") .. "..."
  for i, param in ipairs(info.params) do
    local p = setmetatable({var = vars[i], all = all, op = info.name, literal = literal(param)}, {__index = param})
    if param.kind == "enum" then
      p.names = "names_" .. param.name
      prelude[#prelude + 1] = ("local %s = %s"):format(p.names, enum_names(param))
    end
    body[#body + 1] = "  " .. code[param.kind](p):gsub("ALL", all)
    operands = operands or param.kind == "operand"
    if param.place then n_tensors = n_tensors + 1 end
  end
  local outs = {}
  for i = 0, info.n_outputs - 1 do outs[i + 1] = ("wrap(out[%d])"):format(i) end
  local call = inplace and ("C.ln_apply_inplace(%d, in_, n_in, at)"):format(info.id) or ("C.ln_apply(%d, in_, n_in, at, out)"):format(info.id)
  return concat({
    "local info, slow, base, ops_tools, scratch = ...",
    "local istype, handle, pointer, wrap, fail, C, out = base.ffi.istype, base.handle, base.pointer, base.wrap, base.fail, base.C, base.out",
    "local put_ints, put_scalar, is_scalar, tensor_list, is_size = ops_tools.put_ints, ops_tools.put_scalar, ops_tools.is_scalar, ops_tools.tensor_list, ops_tools.is_size",
    "local dtype_id, device_id, at, inputs, type, select = base.dtype_id, base.device_id, scratch.at, scratch.inputs, type, select",
    concat(prelude, "\n"),
    "local self",
    "function self(" .. concat(vars, ", ") .. (#vars > 0 and ", " or "") .. "...)",
    "  if select('#', ...) > 0 then return slow(" .. all .. ") end",
    ("  local in_, n_in, present, integer, some = inputs, %d, 0, 0, false"):format(n_tensors),
    "  at.pool_used = 0",
    concat(body, "\n"),
    operands and "  if not some then fail('" .. info.name .. ": at least one operand must be a tensor') end" or "",
    "  at.present, at.integer = present, integer",
    "  if base.anomaly then base.anomaly() end",
    "  local status = " .. call,
    "  if status ~= 0 then",
    "    if status == 2 then base.collect() status = " .. call .. " end",
    "    base.check(status)",
    "  end",
    inplace and ("  return %s"):format(vars[1]) or ("  return " .. (#outs == 1 and "(%s)" or "%s"):format(concat(outs, ", "))),
    "end",
    "return self",
  }, "\n")
end

local tools = {put_ints = put_ints, put_scalar = put_scalar, is_scalar = is_scalar, tensor_list = tensor_list, is_size = is_size}
local scratch = {at = ffi.new("ln_attrs"), inputs = ffi.new("ln_tensor *[?]", MAX_INPUTS)}

local function compile(info, inplace)
  local chunk = assert(loadstring(wrapper_text(info, inplace), base.root .. "ops/" .. info.name))
  return chunk(info, slow, base, tools, scratch)
end

-- Functions and methods: compiled when first asked for -------------------------------------------------------------------------------------

local function find(name)
  local info = ops.info[name]
  if info then return compile(info, false) end
  local stem = name:match("^(.+)_$")
  if stem and ops.info[stem] and ops.info[stem].inplace then return compile(ops.info[stem], true) end
end

setmetatable(ops, {
  __index = function(_, name)
    local fn = type(name) == "string" and find(name)
    if not fn then return nil end
    ops[name] = fn
    return fn
  end,
})

--- Methods are the functions; what tensor.lua defines itself stands before them.
setmetatable(T, {
  __index = function(_, name)
    local fn = type(name) == "string" and ops[name]
    if not fn or type(fn) ~= "function" or name == "signature" then return nil end
    T[name] = fn
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
