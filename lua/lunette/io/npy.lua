--- .npy, NumPy's files of one array.

local each = require("lunette.each")
local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local file = require("lunette.io.file")
local promise = require("lunette.io.promise")

local C, fail = base.C, base.fail
local ipairs, tonumber, concat = ipairs, tonumber, table.concat

local npy = {}

local NPY = {float32 = "<f4", float64 = "<f8", float16 = "<f2", int8 = "|i1", int16 = "<i2", int32 = "<i4", int64 = "<i8", uint8 = "|u1", bool = "|b1"}
local FROM_NPY = {}
for dtype, descr in each(NPY) do FROM_NPY[descr] = dtype end

local MOST_HEADER = 10000 -- bytes, as NumPy limits it; those of plain arrays have about 100

--- The text before the elements of t, which are written in row-major order.
function npy.header(t)
  local descr = NPY[t.dtype] or fail("save: .npy has no dtype " .. t.dtype)
  local shape = {}
  for i, n in ipairs(t.shape:totable()) do shape[i] = ("%d,"):format(n) end
  local header = ("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }"):format(descr, concat(shape, " "))
  header = header .. (" "):rep(63 - (10 + #header) % 64) .. "\n"
  return "\147NUMPY\1\0" .. file.little(#header, 2) .. header
end

--- Writes one tensor.
function npy.write(t, path)
  if not base.is_tensor(t) then fail("save: an .npy file holds one tensor, not " .. arguments.describe(t)) end
  local head = npy.header(t)
  file.writing(path, function(w)
    w:bytes(head)
    w:tensor(t)
  end)
end

--- The text of the header and where the elements begin; `bytes(offset, n)` gives text of the array's `size` bytes.
local function npy_text(path, bytes, size)
  if size < 12 then fail(path .. ": this .npy file is cut off") end
  local start = bytes(0, 12)
  local major = start:byte(7)
  if major < 1 or major > 3 then fail(path .. ": this .npy file is of an unknown version") end
  local width = major > 1 and 4 or 2
  local length, from = file.unsigned(start, 9, width), 8 + width
  if length > size - from then fail(("%s: the .npy header claims %d bytes, the file has %d"):format(path, length, size - from)) end
  if length > MOST_HEADER then fail(("%s: the .npy header has %d bytes, more than the %d of any array"):format(path, length, MOST_HEADER)) end
  return bytes(from, length), from + length
end

--- dtype, shape, and whether the last dimension is the outer one; an error unless all of it is as NumPy writes it.
local function npy_header(path, header)
  local descr, order, dims = header:match("'descr':%s*'([^']*)'"), header:match("'fortran_order':%s*(%a+)"), header:match("'shape':%s*%(([^)]*)%)")
  if not descr or (order ~= "True" and order ~= "False") or not dims then fail(path .. ": this .npy header cannot be read") end
  local dtype = FROM_NPY[descr] or FROM_NPY[(descr:gsub("^=", "<"))]
  if not dtype then fail(("%s: the dtype %s is not supported"):format(path, descr)) end
  local shape = {}
  for part in dims:gmatch("[^,]+") do
    local n = tonumber(part:match("^%s*(%d+)%s*$"))
    if not n and part:find("%S") or n and n >= 2 ^ 53 then fail(("%s: the .npy shape (%s) is no list of sizes"):format(path, dims)) end
    shape[#shape + 1] = n
  end
  return dtype, shape, order == "True"
end

local function strides(shape, turned)
  local out, n = {}, 1
  local first, last, step = #shape, 1, -1
  if turned then first, last, step = 1, #shape, 1 end
  for i = first, last, step do
    out[i] = n
    n = n * math.max(1, shape[i])
  end
  return out
end

--- The promise of an array. path: what errors call it; bytes(offset, n): text of its `size` bytes; storage(offset, n): the promise of bytes.
function npy.read(path, bytes, size, storage)
  local text, start = npy_text(path, bytes, size)
  local dtype, shape, turned = npy_header(path, text)
  local expected = C.ln_dtype_size(base.dtype_id[dtype])
  for _, n in ipairs(shape) do expected = expected * n end
  if expected ~= size - start then fail(("%s: %.0f bytes of data are expected, the file has %d"):format(path, expected, size - start)) end
  return promise.tensor{storage = storage(start, size - start), dtype = dtype, shape = shape, stride = strides(shape, turned)}
end

--- The promise in a file.
function npy.read_file(f)
  return npy.read(f.path, function(offset, n) return f:bytes(offset, n) end, f.size, function(offset, n)
    return promise.storage{offset = offset, bytes = n}
  end)
end

return npy
