--- Torch7's files, binary and ascii: numbers, strings, booleans, tables and tensors. An object of any other class becomes a table of its fields with the name
-- of its class in `__typename`; functions are refused.

local each = require("lunette.each")
local base = require("lunette.ffi")
local file = require("lunette.io.file")
local promise = require("lunette.io.promise")

local C, ffi, check, wrap, pointer = base.C, base.ffi, base.check, base.wrap, base.pointer
local tonumber, type = tonumber, type

local t7 = {}

local MOST_LEVELS = 200 -- of objects within objects
local MOST_DIMS = 16
local NIL, NUMBER, STRING, TABLE, OBJECT, BOOLEAN = 0, 1, 2, 3, 4, 5

local DTYPES = {Float = "float32", Double = "float64", Half = "float16", Byte = "uint8", Char = "int8", Short = "int16", Int = "int32", Long = "int64", Cuda = "float32",
  CudaDouble = "float64", CudaHalf = "float16", CudaByte = "uint8", CudaChar = "int8", CudaShort = "int16", CudaInt = "int32", CudaLong = "int64"}

-- Numbers and text -----------------------------------------------------------------------------------------------------------------------

local Binary = {}
Binary.__index = Binary

function Binary:int()
  local n = file.unsigned(self.cursor:take(4), 1, 4)
  return n >= 2 ^ 31 and n - 2 ^ 32 or n
end

function Binary:long() return file.long(self.cursor:take(8)) end
function Binary:double() return file.double(self.cursor:take(8)) end
function Binary:text(n) return self.cursor:take(n) end

function Binary:elements(n, dtype)
  local bytes = n * C.ln_dtype_size(base.dtype_id[dtype])
  local storage = promise.storage{offset = self.cursor.at, bytes = bytes}
  self.cursor:skip(bytes)
  return storage
end

local Ascii = {}
Ascii.__index = Ascii

-- The next word, and the blank behind it is passed.
local function word(c)
  local letters = {}
  while c.at < c.file.size do
    local letter = c:take(1)
    if letter:find("%s") then
      if #letters > 0 then break end
    else
      letters[#letters + 1] = letter
      if #letters > 64 then c:fail("a number of more than 64 characters") end
    end
  end
  return table.concat(letters)
end

local function number(c)
  local text = word(c)
  local n = tonumber(text) or ({nan = 0 / 0, ["-nan"] = 0 / 0, inf = math.huge, ["-inf"] = -math.huge})[text]
  return n or c:fail("'%s' is no number", text)
end

function Ascii:long() return number(self.cursor) end
function Ascii:double() return number(self.cursor) end
Ascii.int = Ascii.long

local function pass_line_end(c)
  if c.at < c.file.size and c:take(1) ~= "\n" then c:fail("a line end is expected") end
end

function Ascii:text(n)
  local text = self.cursor:take(n)
  pass_line_end(self.cursor)
  return text
end

-- A whole number exactly, as int64_t.
local function whole(c)
  local sign, digits = word(c):match("^(-?)(%d+)$")
  if not digits or #digits > 19 then c:fail("a whole number is expected") end
  local n = 0LL
  for d in digits:gmatch("%d") do n = n * 10 + tonumber(d) end
  return sign == "-" and -n or n
end

-- Bytes stand as they are, other numbers as text, which is read once to pass over it and once for its values.
function Ascii:elements(n, dtype)
  local c = self.cursor
  if dtype == "uint8" or dtype == "int8" then
    local storage = Binary.elements(self, n, dtype)
    if n > 0 then pass_line_end(c) end
    return storage
  end
  if 2 * n > c.file.size - c.at + 1 then c:fail("a storage claims %.0f numbers, %.0f bytes are left", n, c.file.size - c.at) end
  local read, at = dtype == "int64" and whole or number, c.at
  for _ = 1, n do read(c) end
  return promise.storage{bytes = n * C.ln_dtype_size(base.dtype_id[dtype]), read = function(f)
    local again, out = f:cursor(at), ffi.new("ln_tensor *[1]")
    local values = ffi.new(dtype == "int64" and "int64_t[?]" or "double[?]", n + 1)
    for i = 0, n - 1 do values[i] = read(again) end
    check(C.ln_tensor_empty(ffi.new("int64_t[1]", n), 1, base.dtype_id[dtype], -1, out))
    local t = wrap(out[0])
    check(C.ln_tensor_write(pointer(t), dtype ~= "int64" and values or nil, dtype == "int64" and values or nil))
    check(C.ln_tensor_storage(pointer(t), out))
    return wrap(out[0])
  end}
end

-- Objects --------------------------------------------------------------------------------------------------------------------------------

local object

local function count(r, what, most)
  local n = r:long()
  if type(n) ~= "number" or n < 0 or n % 1 ~= 0 or n > most then r.cursor:fail("%s claims %s entries", what, tostring(n)) end
  return n
end

local function sizes(r, n, what)
  local list = {}
  for i = 1, n do list[i] = count(r, what, 2 ^ 53) end
  return list
end

-- A storage is its elements; a promise of them is kept with their dtype.
local function storage(r, dtype)
  local n = count(r, "a storage", r.cursor.file.size)
  return {storage = r:elements(n, dtype), dtype = dtype, n = n}
end

local function tensor(r, dtype, level)
  local n = r:int()
  if n < 0 or n > MOST_DIMS or n % 1 ~= 0 then r.cursor:fail("a tensor of %s dimensions", tostring(n)) end
  local shape, stride = sizes(r, n, "a tensor"), sizes(r, n, "a tensor")
  local offset = r:long()
  local elements = object(r, level + 1)
  if elements == nil then
    return promise.tensor{storage = promise.storage{offset = 0, bytes = 0}, dtype = dtype, shape = n == 0 and {0} or shape, offset = 0}
  end
  if not promise.is_tensor(elements) or elements.dtype ~= dtype then r.cursor:fail("a tensor whose storage is of another kind") end
  if type(offset) ~= "number" then r.cursor:fail("a tensor begins at %s", tostring(offset)) end
  if n == 0 then shape, stride = {0}, {1} end -- what Torch7 calls a tensor without dimensions holds nothing
  return promise.tensor{storage = elements.storage, dtype = dtype, shape = shape, stride = stride, offset = math.max(0, offset - 1)}
end

local function string_of(r)
  local n = r:int()
  if n < 0 or n % 1 ~= 0 then r.cursor:fail("a string of %s bytes", tostring(n)) end
  return r:text(n)
end

local function of_class(r, index, level)
  local name = string_of(r)
  if name:find("^V %d+$") then name = string_of(r) end
  local kind, what = name:match("^torch%.(%a+)(%u%a+)$")
  local dtype = DTYPES[kind]
  if dtype and what == "Storage" then
    local s = storage(r, dtype)
    r.seen[index] = promise.tensor{storage = s.storage, dtype = dtype, shape = {s.n}, stride = {1}, offset = 0}
  elseif dtype and what == "Tensor" then
    r.seen[index] = tensor(r, dtype, level)
  else
    local out = {__typename = name}
    r.seen[index] = out
    local fields = object(r, level + 1)
    if type(fields) == "table" and not promise.is(fields) then
      for key, field in each(fields) do out[key] = field end
      out.__typename = name
    else
      out.value = fields
    end
  end
  return r.seen[index]
end

local function table_of(r, index, level)
  local out, n = {}, r:int()
  r.seen[index] = out
  for _ = 1, n do
    local key = object(r, level + 1)
    if key == nil or key ~= key or type(key) == "cdata" or promise.is(key) then r.cursor:fail("what cannot be the key of a table") end
    out[key] = object(r, level + 1)
  end
  return out
end

function object(r, level)
  if level > MOST_LEVELS then r.cursor:fail("objects are nested more than %d deep", MOST_LEVELS) end
  local kind = r:int()
  if kind == NIL then return nil end
  if kind == NUMBER then return r:double() end
  if kind == STRING then return string_of(r) end
  if kind == BOOLEAN then return r:int() == 1 end
  if kind ~= TABLE and kind ~= OBJECT then
    r.cursor:fail(kind >= 6 and kind <= 8 and "it holds a function, which is not read" or "an object of the unknown kind %s", tostring(kind))
  end
  local index = r:int()
  if r.seen[index] ~= nil then return r.seen[index] end
  return (kind == TABLE and table_of or of_class)(r, index, level)
end

--- What the file holds.
function t7.read(f, form)
  return (object(setmetatable({cursor = f:cursor(0), seen = {}}, form == "binary" and Binary or Ascii), 1))
end

return t7
