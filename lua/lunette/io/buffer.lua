--- Bytes that grow: what a pickle is written into.

local ffi = require("ffi")

local floor, istype = math.floor, ffi.istype
local uint64_t = ffi.typeof("uint64_t")

local buffer = {}

--- An empty one: {bytes =, n =}.
function buffer.new() return {bytes = ffi.new("uint8_t[?]", 4096), n = 0, capacity = 4096} end

local function room(p, n)
  if p.n + n <= p.capacity then return end
  p.capacity = 2 * (p.n + n)
  local more = ffi.new("uint8_t[?]", p.capacity)
  ffi.copy(more, p.bytes, p.n)
  p.bytes = more
end

--- Appends text.
function buffer.put(p, text)
  room(p, #text)
  ffi.copy(p.bytes + p.n, text, #text)
  p.n = p.n + #text
end

--- An operation and its number of n bytes, the lowest first.
function buffer.little(p, code, value, n)
  room(p, n + 1)
  local at = p.bytes + p.n
  at[0] = code
  for i = 1, n do
    at[i] = value % 256
    value = floor(value / 256)
  end
  p.n = p.n + n + 1
end

local number = ffi.new("union { double value; uint8_t bytes[8]; int64_t whole; uint64_t positive; }")

--- The operation of a double, its highest byte first.
function buffer.double(p, value)
  room(p, 9)
  local at = p.bytes + p.n
  number.value = value
  at[0] = 71 -- G
  for i = 0, 7 do at[1 + i] = number.bytes[7 - i] end
  p.n = p.n + 9
end

--- The operation of a whole number in 9 bytes: a Lua number, an int64_t or a uint64_t.
function buffer.long(p, value)
  room(p, 11)
  local at, positive = p.bytes + p.n, istype(uint64_t, value)
  if positive then number.positive = value else number.whole = value end
  at[0], at[1] = 0x8a, 9
  for i = 0, 7 do at[2 + i] = number.bytes[i] end
  at[10] = not positive and value < 0 and 255 or 0
  p.n = p.n + 11
end

return buffer
