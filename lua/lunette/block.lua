--- What the functions of operators call (wrapper.lua writes them): values of arguments go into the block of a call.

local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local is_size = require("lunette.size").is_size

local C, ffi, fail, pointer, is_tensor = base.C, base.ffi, base.fail, base.pointer, base.is_tensor
local type, tonumber = type, tonumber
local POOL, ROOM = tonumber(C.LN_ATTR_POOL), tonumber(C.LN_MAX_INPUTS)
local EXACT = 9007199254740992
local FLOATS = 3 -- dtypes up to bfloat16 are floating

local function no_room(name) fail(("%s: the lists of numbers have more than %d entries together"):format(name, POOL)) end

-- Straight code up to three entries, which is what traces meet.
local function put_array(pool, at, value, n)
  if n > 3 then
    for i = 1, n do pool[at + i - 1] = value[i] end
    return
  end
  if n > 0 then pool[at] = value[1] end
  if n > 1 then pool[at + 1] = value[2] end
  if n > 2 then pool[at + 2] = value[3] end
end

-- Puts a number, an array or a Size into the pool of a block from `at` on; returns where the next one begins.
local function put_ints(name, block, slot, value, at)
  local pool, n = block.pool, 1
  if type(value) == "number" then
    if at >= POOL then no_room(name) end
    pool[at] = value
  elseif is_size(value) then
    n = value._n
    if at + n > POOL then no_room(name) end
    ffi.copy(pool + at, value._v, 8 * n)
  else
    n = #value
    if at + n > POOL then no_room(name) end
    put_array(pool, at, value, n)
  end
  block.int[slot] = at * 256 + n
  return at + n
end

-- Puts a number as an attribute: whole numbers keep their exactness, the sign of -0.0 stays. Returns whether it stands as a whole number.
local function put_scalar(block, slot, value)
  if type(value) == "number" then
    if value < EXACT and value > -EXACT and value % 1 == 0 and (value ~= 0 or 1 / value > 0) then
      block.int[slot] = value
      return true
    end
    block.double[slot] = value
    return false
  end
  if type(value) == "boolean" then block.int[slot] = value and 1 or 0 else block.int[slot] = value end
  return true
end

-- The same beside tensors: -0.0 is a whole number among whole numbers.
local function put_operand(block, slot, value, p, q)
  if put_scalar(block, slot, value) then return true end
  if value ~= 0 or p ~= nil and p.dtype <= FLOATS or q ~= nil and q.dtype <= FLOATS then return false end
  block.int[slot] = 0
  return true
end

-- A copy of a list of tensors, which the caller's metamethods and hooks can no longer change.
local function items(name, what, list)
  local n, copy = #list, {}
  for i = 1, n do
    local h = list[i]
    if not is_tensor(h) then fail(("%s: item %d of '%s' must be a tensor, got %s"):format(name, i, what, arguments.describe(h))) end
    copy[i] = h
  end
  return copy, n
end

-- The array that holds `n` inputs in all.
local function input_room(block, n)
  if n <= ROOM then return block.inputs end
  if not block.many or block.capacity < n then
    block.capacity = n + n / 2
    block.many = ffi.new("ln_tensor *[?]", block.capacity)
  end
  return block.many
end

local function put_items(inputs, at, list, n)
  for i = 1, n do inputs[at + i - 1] = pointer(list[i]) end
end

return {
  base = base, C = C, spare = base.spare, new_block = base.new_block, pointer = pointer, wrap = base.wrap, fail = fail, put_ints = put_ints,
  put_scalar = put_scalar, put_operand = put_operand, items = items, input_room = input_room, put_items = put_items, dtype_id = base.dtype_id,
  device_id = base.device_id,
}
