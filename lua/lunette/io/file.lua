--- Files as readers and writers of formats see them: opened for the time of a function, read by position, written whole or not at all.

local base = require("lunette.ffi")
local arguments = require("lunette.arguments")

local C, ffi, fail, check, wrap, pointer = base.C, base.ffi, base.fail, base.check, base.wrap, base.pointer
local error, pcall, tonumber, type = error, pcall, tonumber, type

local file = {}

local EXACT = 2 ^ 53
local MOST_STRING = 0x7fff0000 -- bytes; a Lua string has fewer than 2 GiB

--- Raises unless `path` can be the name of a file.
function file.check_path(name, path)
  if type(path) ~= "string" then fail(("%s: the path must be a string, not %s"):format(name, arguments.describe(path))) end
  if path:find("\0", 1, true) then fail(("%s: the path %q holds a NUL character"):format(name, path)) end
end

-- Reading --------------------------------------------------------------------------------------------------------------------------------

local File = {}
File.__index = File

--- The text of n bytes.
function File:bytes(offset, n)
  local buffer = ffi.new("char[?]", n)
  check(C.ln_file_bytes(self.handle, offset, n, buffer))
  return ffi.string(buffer, n)
end

--- n bytes as a vector of uint8, mapped where that can be.
function File:vector(offset, n, map)
  local out = ffi.new("ln_tensor *[1]")
  check(C.ln_file_tensor(self.handle, offset, n, map, out))
  return wrap(out[0])
end

--- The n bytes that `packed` bytes of deflate data hold.
function File:unpacked(offset, packed, n, crc)
  local out = ffi.new("ln_tensor *[1]")
  check(C.ln_file_inflate(self.handle, offset, packed, n, crc, out))
  return wrap(out[0])
end

--- Raises an error that names the file.
function File:fail(format, ...) fail(("%s: " .. format):format(self.path, ...)) end

-- Closes after a function that ran protected: its results, or its error again.
local function finish(close, ok, ...)
  close(ok)
  if not ok then error((...), 0) end
  return ...
end

--- What `fn(f, ...)` returns, with f = {path =, size =, handle =} open meanwhile.
function file.reading(path, fn, ...)
  local slot = ffi.new("ln_file *[1]")
  check(C.ln_file_open(path, slot))
  local handle = slot[0]
  local f = setmetatable({path = path, handle = handle, size = tonumber(C.ln_file_size(handle))}, File)
  return finish(function() C.ln_file_close(handle) end, pcall(fn, f, ...))
end

--- The text of a whole file, unpacked when it is gzip.
function file.read_file(path)
  file.check_path("read_file", path)
  local data, size = ffi.new("char *[1]"), ffi.new("size_t[1]")
  check(C.ln_file_read(path, MOST_STRING, data, size))
  local buffer = ffi.gc(data[0], C.ln_buffer_free) -- also when there is no memory for the string
  local text = ffi.string(buffer, size[0])
  C.ln_buffer_free(ffi.gc(buffer, nil))
  return text
end

-- Writing --------------------------------------------------------------------------------------------------------------------------------

local Writer = {}
Writer.__index = Writer

--- Appends a string, or n bytes at a pointer.
function Writer:bytes(data, n)
  n = n or #data
  C.ln_writer_bytes(self.handle, data, n)
  self.at = self.at + n
end

--- Appends the elements of a tensor in row-major order.
function Writer:tensor(t)
  check(C.ln_writer_tensor(self.handle, pointer(t)))
  self.at = self.at + t:numel() * t:element_size()
end

--- Runs `fn(w, ...)`, which writes; then, unless it raised, the file takes the place of the one at `path`.
function file.writing(path, fn, ...)
  local slot = ffi.new("ln_writer *[1]")
  check(C.ln_writer_new(path, slot))
  local handle = slot[0]
  return finish(function(good)
    local status = C.ln_writer_end(handle, good)
    if good then check(status) end
  end, pcall(fn, setmetatable({path = path, handle = handle, at = 0}, Writer), ...))
end

-- Numbers in text, the lowest byte first ---------------------------------------------------------------------------------------------------

--- The whole number in the n bytes of `text` from position i on; beyond 2^53 not exact.
function file.unsigned(text, i, n)
  local value = 0
  for k = i + n - 1, i, -1 do value = value * 256 + text:byte(k) end
  return value
end

local number = ffi.new("union { double double_; float float_; int64_t whole; uint64_t positive; uint8_t bytes[8]; }")

--- The double in 8 bytes. Only one NaN may reach LuaJIT, which takes some for values of other types.
function file.double(text)
  local top, next_top = text:byte(8, 8) % 128, text:byte(7, 7)
  ffi.copy(number.bytes, text, 8)
  if top == 127 and next_top >= 240 and (next_top > 240 or file.unsigned(text, 1, 6) > 0) then return 0 / 0 end
  return number.double_
end

--- The float in 4 bytes.
function file.float(text)
  local bits = file.unsigned(text, 1, 4) % 2 ^ 31
  ffi.copy(number.bytes, text, 4)
  return bits > 0x7f800000 and 0 / 0 or number.float_
end

--- The int64 in 8 bytes: a Lua number, or beyond 2^53 an int64_t. unsigned: the uint64.
function file.long(text, unsigned)
  ffi.copy(number.bytes, text, 8)
  local whole = unsigned and number.positive + 0ULL or number.whole + 0LL
  local value = tonumber(whole)
  return value >= -EXACT and value <= EXACT and whole == value and value or whole
end

--- A whole number as n bytes.
function file.little(value, n)
  local list = {}
  for i = 1, n do
    list[i] = string.char(value % 256)
    value = math.floor(value / 256)
  end
  return table.concat(list)
end

-- Reading on -------------------------------------------------------------------------------------------------------------------------------

local CHUNK = 65536 -- bytes that are read at once
local Cursor = {}
Cursor.__index = Cursor

--- Reads a file from `at` on: take(n), and `at`, the position of the next byte.
function File:cursor(at) return setmetatable({file = self, at = at, chunk = "", from = at}, Cursor) end

function Cursor:fail(format, ...) self.file:fail("byte %.0f: " .. format, self.at, ...) end

--- The next n bytes as text.
function Cursor:take(n)
  local f, i = self.file, self.at - self.from
  if n > f.size - self.at then self:fail("%.0f bytes are wanted where %.0f are left", n, f.size - self.at) end
  if i + n > #self.chunk then
    self.from, i = self.at, 0
    self.chunk = f:bytes(self.at, math.min(f.size - self.at, math.max(n, CHUNK)))
  end
  self.at = self.at + n
  return self.chunk:sub(i + 1, i + n)
end

--- Passes over n bytes.
function Cursor:skip(n)
  local f = self.file
  if n > f.size - self.at then self:fail("%.0f bytes are wanted where %.0f are left", n, f.size - self.at) end
  self.at = self.at + n
  if self.at > self.from + #self.chunk then self.chunk, self.from = "", self.at end
end

return file
