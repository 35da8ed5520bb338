--- Reads the files in which MNIST and its like are kept.

local ffi = require("ffi")
local lt = require("lunette")

--- The bytes of FOLDER/name.gz as a uint8 tensor. An idx file holds two zeros, the type (8: bytes), the number of dims, each size as four bytes, the
-- elements.
local function read_idx(folder, name)
  local path = folder .. "/" .. name .. ".gz"
  local text = lt.read_file(path)
  local magic, ndim = text:sub(1, 3), text:byte(4) or 0
  local head = 4 + 4 * ndim
  assert(magic == "\0\0\8" and ndim > 0 and #text >= head, path .. " is no idx file of bytes")
  local shape, count = {}, 1
  for i = 1, ndim do
    local a, b, c, d = text:byte(4 * i + 1, 4 * i + 4)
    shape[i] = ((a * 256 + b) * 256 + c) * 256 + d
    count = count * shape[i]
  end
  assert(#text == head + count, ("%s holds %d bytes where its header promises %d"):format(path, #text, head + count))
  local t = lt.empty(shape, {dtype = "uint8"})
  ffi.copy(t:data_ptr(), ffi.cast("const char *", text) + head, count)
  return t
end

--- Pictures [N, 28, 28] of a part, "train" or "t10k", as bytes, and their int64 classes.
return function(folder, part)
  return read_idx(folder, part .. "-images-idx3-ubyte"), read_idx(folder, part .. "-labels-idx1-ubyte"):long()
end
