--- Writes the function of an operator: Lua text behind the argument checker that hands the values to `ln_apply`.
--
-- A call goes through three steps, in this order. First everything that may raise, allocate or run code of the user: the arguments are checked, tensors
-- become pointers, lists are copied. Then a block is taken (ffi.lua), filled and used; nobody else has it, so that whatever a debug hook, a finalizer or
-- a metamethod does meanwhile changes neither arguments nor results, and a block that an error leaves behind is merely garbage. Last, all results are
-- read, the block is given back, and the results are wrapped. block.lua holds what the text calls.

local each = require("lunette.each")
local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local tools = require("lunette.block")

local tonumber, concat = tonumber, table.concat
local NOMEM = tonumber(base.C.LN_NOMEM)

require("lunette.interpreted")() -- a text is written once

local wrapper = {}

-- The tools that a text names, as locals.
local function tool_locals(text)
  local names = {}
  for name in each(tools) do
    if text:find(name, 1, true) then names[#names + 1] = name end
  end
  return ("local %s = env.%s"):format(concat(names, ", "), concat(names, ", env."))
end

-- The text -------------------------------------------------------------------------------------------------------------------------------

local PRESENT = " present = present + WEIGHT "

-- Where a value stands in the block, by the kind of its parameter.
local stores = {
  int = "int[SLOT] = VAR", float = "double[SLOT] = VAR", bool = "int[SLOT] = VAR and 1 or 0", dtype = "int[SLOT] = dtype_id[VAR]",
  device = "int[SLOT] = device_id(VAR)", enum = "int[SLOT] = ENUM[VAR]", ints = "used = put_ints(NAME, block, SLOT, VAR, used)",
  scalar = "if put_scalar(block, SLOT, VAR) then whole = whole + WEIGHT end",
}

local function fill(text, i, param, name)
  local words = {VAR = "a" .. i, PTR = "p" .. i, SLOT = param.slot, PLACE = param.place, ENUM = "enum" .. i, NAME = ("%q"):format(name),
                 WHAT = ("%q"):format(param.name), WEIGHT = param.slot and ("%d"):format(2 ^ param.slot), LIST = "list" .. i, MANY = "many" .. i}
  return (text:gsub("%u%u%u+", words))
end

local READ = "PTR = VAR._p if PTR.generation ~= VAR._gen then pointer(VAR) end"

-- The first step of one parameter: a pointer, or a copy of a list.
local function read_text(param)
  if param.kind == "tensor" then return param.optional and "local PTR if VAR ~= nil then " .. READ .. " end" or "local " .. READ end
  if param.kind == "operand" then return "local PTR if istype(handle, VAR) then " .. READ .. " end" end
  if param.kind == "list" then return "local LIST, MANY = items(NAME, WHAT, VAR)" end
end

-- The second step. `index` is the text of its index among the inputs.
local function store_text(param, index, others)
  if param.kind == "tensor" then return ("inputs[%s] = PTR"):format(index) end
  if param.kind == "list" then
    return ("put_items(inputs, %s, LIST, MANY)"):format(index) .. (param.slot and " int[SLOT] = MANY" .. PRESENT or "")
  end
  if param.kind == "operand" then
    return ("inputs[%s] = PTR if not PTR then if put_operand(block, SLOT, VAR, %s) then whole = whole + WEIGHT end if VAR == true or VAR == false then%send end")
      :format(index, others, PRESENT)
  end
  if param.kind == "generator" then return "" end
  local text = stores[param.kind] .. PRESENT
  return param.optional and "if VAR ~= nil then " .. text .. "end" or text
end

-- The pointers of the other operands, at most two.
local function other_operands(params, i)
  local out = {}
  for k, param in ipairs(params) do
    if k ~= i and param.kind == "operand" then out[#out + 1] = "p" .. k end
  end
  return #out > 0 and concat(out, ", ", 1, #out < 2 and #out or 2) or "nil"
end

-- The lines of both steps, the number of inputs as text, and which kinds occur.
local function steps(info, name)
  local reads, writes, lists, fixed, uses = {}, {}, "", 0, {}
  for i, param in ipairs(info.params) do
    local read = read_text(param)
    if read then reads[#reads + 1] = fill(read, i, param, name) end
    writes[#writes + 1] = fill(store_text(param, fixed .. lists, other_operands(info.params, i)), i, param, name)
    if param.kind == "list" then lists = lists .. " + many" .. i elseif param.place then fixed = fixed + 1 end
    uses[param.kind] = true
    uses.slot = uses.slot or param.slot
  end
  return reads, writes, fixed .. lists, uses, lists ~= ""
end

local function no_tensor_text(info, name)
  local operands = {}
  for i, param in ipairs(info.params) do
    if param.kind == "tensor" then return "" end
    if param.kind == "operand" then operands[#operands + 1] = "p" .. i end
  end
  return #operands > 0 and ("if not (%s) then fail(%q) end"):format(concat(operands, " or "), name .. ": at least one operand must be a tensor") or ""
end

-- The arguments once more behind the call, so that the collector cannot take a handle while C uses its tensor.
local function kept_text(info)
  local kept = {}
  for i, param in ipairs(info.params) do
    if param.kind == "list" then kept[#kept + 1] = "list" .. i elseif param.place then kept[#kept + 1] = "a" .. i end
  end
  return #kept > 0 and ("local %s = %s"):format(concat(kept, ", "):gsub("(%a+)(%d+)", "kept%2"), concat(kept, ", ")) or ""
end

local function result_texts(info)
  local read, wrapped = {}, {}
  for i = 0, info.n_outputs - 1 do read[i + 1], wrapped[i + 1] = ("outputs[%d]"):format(i), ("wrap(out%d)"):format(i) end
  local locals = {}
  for i = 0, info.n_outputs - 1 do locals[i + 1] = "out" .. i end
  return ("local %s = %s"):format(concat(locals, ", "), concat(read, ", ")), "return " .. (#wrapped == 1 and "(%s)" or "%s"):format(concat(wrapped, ", "))
end

-- The call between setting the generator that it draws from and setting the default one again.
local function with_generator(info, call)
  for i, param in ipairs(info.params) do
    if param.kind == "generator" then return ("status = 0 if a%d ~= nil then C.ln_generator_use(a%d) end %s C.ln_generator_use(nil)"):format(i, i, call) end
  end
  return call
end

--- What stands behind the checks of an operator's arguments, a1, a2 ...
function wrapper.text(info, name, inplace)
  local reads, writes, count, uses, has_list = steps(info, name)
  local attrs = uses.slot and "block.attrs" or "nil"
  local call = inplace and ("status = C.ln_apply_inplace(%d, inputs, %s, %s)"):format(info.id, count, attrs)
    or ("status = C.ln_apply(%d, inputs, %s, %s, outputs)"):format(info.id, count, attrs)
  call = with_generator(info, call)
  local read_results, return_results = result_texts(info)
  return concat({
    concat(reads, "\n"),
    no_tensor_text(info, name),
    "if base.anomaly then base.anomaly() end",
    "local block = spare.block or new_block()",
    "spare.block = false",
    "local inputs, outputs = " .. (has_list and ("input_room(block, %s)"):format(count) or "block.inputs") .. ", block.outputs",
    uses.slot and "local int, double, present, whole, used = block.int, block.double, 0, 0, 0" or "",
    concat(writes, "\n"),
    uses.slot and "local attrs = block.attrs attrs.present, attrs.integer = present, whole" or "",
    uses.ints and "attrs.pool_used = used" or "",
    "local " .. call,
    ("if status == %d then base.collect() %s end"):format(NOMEM, call),
    ("if status ~= 0 then spare.block = block base.check(status, %q, %q) end"):format(name, info.public_name),
    inplace and "" or read_results,
    "spare.block = block",
    kept_text(info),
    inplace and "return a1" or return_results,
  }, "\n")
end

-- Signatures ------------------------------------------------------------------------------------------------------------------------------

local KINDS = {int = "int", float = "number", bool = "bool", dtype = "dtype", device = "device", ints = "ints", scalar = "scalar", tensor = "tensor",
               operand = "tensor|scalar", generator = "generator", list = "tensors"}

local function parameter_text(param, last)
  local kind = param.choices and "enum(" .. param.choices .. ")" or KINDS[param.kind]
  return param.name .. ":" .. kind .. (last and "..." or param.optional and "?" or "") .. (param.default and "=" .. param.default or "")
end

--- The signature of an operator as `arguments` and `help` read it. The numbers of a list that is all but the input may stand one by one: x:view(2, 3).
function wrapper.signature(info)
  local words, n = {}, #info.params
  for i, param in ipairs(info.params) do
    words[i] = parameter_text(param, i == 2 and n == 2 and param.kind == "ints" and not param.optional and not param.default)
  end
  return concat(words, ", ")
end

--- The function of an operator, `name` in its errors.
function wrapper.compile(info, name, inplace)
  local spec = arguments.read(name, wrapper.signature(info))
  local text = wrapper.text(info, name, inplace)
  return arguments.compile(spec, {locals = tool_locals(text), text = text}, tools)
end

return wrapper
