--- The bytes of a pickle, read on from m.at: numbers, text and lines. m: {bytes =, a uint8_t pointer; size =, at =, op_at =, where the operation began;
--- fail = function(at, what), which raises}.

local ffi = require("ffi")
local kinds = require("lunette.kinds")

local EXACT = kinds.EXACT
local tonumber, ffistring = tonumber, ffi.string

local stream = {}

--- Raises an error about the operation.
local function refuse(m, format, ...) m.fail(m.op_at, format:format(...)) end
stream.refuse = refuse

-- Where the next n bytes begin.
local function take(m, n)
  local at = m.at
  if n > m.size - at then refuse(m, "%.0f bytes are wanted where %d are left", n, tonumber(m.size - at)) end
  m.at = at + n
  return at
end

--- A number of one byte; of two, four, eight, the lowest first.
function stream.u8(m) return m.bytes[take(m, 1)] end

function stream.u16(m)
  local at = take(m, 2)
  return m.bytes[at] + 256 * m.bytes[at + 1]
end

function stream.u32(m)
  local at, b = take(m, 4), m.bytes
  return b[at] + 256 * b[at + 1] + 65536 * b[at + 2] + 16777216 * b[at + 3]
end

function stream.u64(m)
  local low = stream.u32(m)
  return low + 4294967296 * stream.u32(m)
end

--- n bytes as text.
function stream.text(m, n) return ffistring(m.bytes + take(m, n), n) end

--- The text up to a line end, which is passed.
function stream.line(m)
  local from = m.at
  for at = from, m.size - 1 do
    if m.bytes[at] == 10 then
      m.at = at + 1
      return ffistring(m.bytes + from, at - from)
    end
  end
  refuse(m, "a line does not end")
end

local number = ffi.new("union { double value; uint8_t bytes[8]; int64_t whole; uint64_t positive; }")

--- A double, its highest byte first. Only one NaN may reach LuaJIT.
function stream.double(m)
  local at, b = take(m, 8), m.bytes
  for i = 0, 7 do number.bytes[7 - i] = b[at + i] end
  if number.bytes[7] % 128 == 127 and number.bytes[6] >= 240 then
    local fraction = number.bytes[6] % 16
    for i = 0, 5 do fraction = fraction + number.bytes[i] end
    if fraction > 0 then return 0 / 0 end
  end
  return number.value
end

-- A Lua number, where it is the same.
local function exact(whole)
  local n = tonumber(whole)
  if n >= -EXACT and n <= EXACT and whole == n then return n end
  return whole
end

--- A whole number of n bytes in two's complement: a Lua number, or beyond 2^53 an int64_t or a uint64_t.
function stream.long(m, n)
  local at, b = take(m, n), m.bytes
  local negative = n > 0 and b[at + n - 1] >= 128
  local fill = negative and 255 or 0
  while n > 8 and b[at + n - 1] == fill do n = n - 1 end
  if n > 8 or n == 8 and negative ~= (b[at + 7] >= 128) and negative then
    refuse(m, "a whole number of more than 64 bits, for which Lua has no form")
  end
  for i = 0, 7 do number.bytes[i] = i < n and b[at + i] or fill end
  if not negative and number.bytes[7] >= 128 then return number.positive + 0ULL end
  return exact(number.whole + 0LL)
end

--- A whole number from its digits.
function stream.decimal(m, digits)
  local sign, rest = digits:match("^([+-]?)(%d+)L?$")
  if not rest or #rest > 18 then refuse(m, "'%s' is no whole number that Lua has a form for", digits:sub(1, 40)) end
  local n = 0LL
  for d in rest:gmatch("%d") do n = n * 10 + tonumber(d) end
  return exact(sign == "-" and -n or n)
end

return stream
