--- Files of formats that Lunette only reads, put together by hand.

local ffi = require("ffi")

local samples = {}

--- Numbers as bytes, the lowest first.
function samples.raw(ctype, ...)
  local list = {...}
  local values = ffi.new(ctype .. "[?]", #list, list)
  return ffi.string(values, ffi.sizeof(values))
end

--- Numbers of four bytes, of eight.
function samples.u32(...) return samples.raw("uint32_t", ...) end
function samples.u64(...) return samples.raw("uint64_t", ...) end
local raw, u32, u64 = samples.raw, samples.u32, samples.u64

-- GGUF -----------------------------------------------------------------------------------------------------------------------------------

--- Text of GGUF.
function samples.text(s) return u64(#s) .. s end

local text = samples.text

--- A file of metadata and tensors, {name, sizes innermost first, type, bytes}.
function samples.gguf(metadata, tensors, version)
  local head, data = {}, ""
  for _, t in ipairs(tensors) do
    data = data .. ("\0"):rep(-#data % 32)
    head[#head + 1] = text(t[1]) .. u32(#t[2]) .. u64(unpack(t[2])) .. u32(t[3]) .. u64(#data)
    data = data .. t[4]
  end
  local file = "GGUF" .. u32(version or 3) .. u64(#tensors, #metadata) .. table.concat(metadata) .. table.concat(head)
  return file .. ("\0"):rep(-#file % 32) .. data
end

-- Torch7 ---------------------------------------------------------------------------------------------------------------------------------

--- Text of .t7.
function samples.t7_text(s) return u32(#s) .. s end

local t7_text = samples.t7_text

--- {1.5, name = "x", flag = true, t = a 2 x 3 FloatTensor over a storage that s is too, m = nn.Linear{bias = nil}}
function samples.t7()
  local storage = u32(4, 3) .. t7_text("V 1") .. t7_text("torch.FloatStorage") .. raw("int64_t", 7) .. raw("float", 0, 1, 2, 3, 4, 5, 6)
  local tensor = u32(4, 2) .. t7_text("V 1") .. t7_text("torch.FloatTensor") .. u32(2) .. raw("int64_t", 2, 3, 1, 2, 2) .. storage
  local linear = u32(4, 4) .. t7_text("V 1") .. t7_text("nn.Linear") .. u32(3, 5, 1) .. u32(2) .. t7_text("size") .. u32(1) .. raw("double", 7)
  return u32(3, 1, 6) .. u32(1) .. raw("double", 1) .. u32(1) .. raw("double", 1.5) .. u32(2) .. t7_text("name") .. u32(2) .. t7_text("x") .. u32(2) .. t7_text("flag")
    .. u32(5, 1) .. u32(2) .. t7_text("t") .. tensor .. u32(2) .. t7_text("s") .. u32(4, 3) .. u32(2) .. t7_text("m") .. linear
end

--- The same as ascii.
samples.t7_ascii = "3\n1\n6\n1\n1\n1\n1.5\n2\n4\nname\n2\n1\nx\n2\n4\nflag\n5\n1\n2\n1\nt\n4\n2\n3\nV 1\n17\ntorch.FloatTensor\n2\n2 3\n1 2\n2\n4\n3\n3\nV 1\n"
  .. "18\ntorch.FloatStorage\n7\n0 1 2 3 4 5 6\n2\n1\ns\n4\n3\n2\n1\nm\n4\n4\n3\nV 1\n9\nnn.Linear\n3\n5\n1\n2\n4\nsize\n1\n7\n"

return samples
