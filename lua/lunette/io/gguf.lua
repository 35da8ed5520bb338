--- GGUF, the files of llama.cpp: metadata and tensors, of which quantized ones become float32.

local base = require("lunette.ffi")
local file = require("lunette.io.file")
local ordered = require("lunette.nn.ordered")
local promise = require("lunette.io.promise")

local C, ffi, check, wrap, pointer = base.C, base.ffi, base.check, base.wrap, base.pointer

local gguf = {}

local MOST_LEVELS = 16 -- of arrays within arrays
local BLOCK = 32       -- numbers of a quantized block

-- type of numbers -> dtype
local PLAIN = {[0] = "float32", "float16", [24] = "int8", [25] = "int16", [26] = "int32", [27] = "int64", [28] = "float64", [30] = "bfloat16"}
-- type of numbers -> bytes of a block, of those that are unpacked
local PACKED = {[2] = 18, [8] = 34}

-- Metadata -------------------------------------------------------------------------------------------------------------------------------

local function u32(c) return file.unsigned(c:take(4), 1, 4) end
local function u64(c) return file.unsigned(c:take(8), 1, 8) end
local function text(c) return c:take(u64(c)) end

local function signed(n)
  return function(c)
    local value = file.unsigned(c:take(n), 1, n)
    return value >= 256 ^ n / 2 and value - 256 ^ n or value
  end
end

local function unsigned(n) return function(c) return file.unsigned(c:take(n), 1, n) end end

local readers = {
  [0] = unsigned(1), signed(1), unsigned(2), signed(2), unsigned(4), signed(4), function(c) return file.float(c:take(4)) end,
  function(c) return c:take(1) ~= "\0" end, text, false, function(c) return file.long(c:take(8), true) end, function(c) return file.long(c:take(8)) end,
  function(c) return file.double(c:take(8)) end,
}
local ARRAY = 9

local function value(c, kind, level)
  if level > MOST_LEVELS then c:fail("arrays are nested more than %d deep", MOST_LEVELS) end
  if kind == ARRAY then
    local inner, n, list = u32(c), u64(c), {}
    if n > c.file.size - c.at then c:fail("an array claims %.0f entries, %.0f bytes are left", n, c.file.size - c.at) end
    for i = 1, n do list[i] = value(c, inner, level + 1) end
    return list
  end
  local read = readers[kind] or c:fail("metadata of the unknown type %d", kind)
  return read(c)
end

-- Tensors --------------------------------------------------------------------------------------------------------------------------------

-- name, shape, type and where in the data it begins; sizes stand in the file with the innermost first.
local function entry(c)
  local e = {name = text(c), shape = {}}
  local n = u32(c)
  if n > 16 then c:fail("the tensor '%s' has %.0f dimensions", e.name, n) end
  for i = n, 1, -1 do e.shape[i] = u64(c) end
  e.type, e.offset = u32(c), u64(c)
  return e
end

local function promised(f, e, data)
  local n = 1
  for _, size in ipairs(e.shape) do n = n * size end
  if n >= 2 ^ 53 then f:fail("the tensor '%s' is too large", e.name) end
  local dtype, block = PLAIN[e.type], PACKED[e.type]
  if not dtype and not block then f:fail("the tensor '%s' is of type %d; F32, F16, BF16, F64, I8 to I64, Q8_0 and Q4_0 are read", e.name, e.type) end
  if block and (e.shape[#e.shape] or 0) % BLOCK ~= 0 then f:fail("the rows of the tensor '%s' are no whole blocks of %d", e.name, BLOCK) end
  local at, bytes = data + e.offset, dtype and n * C.ln_dtype_size(base.dtype_id[dtype]) or n / BLOCK * block
  if at + bytes > f.size then f:fail("the tensor '%s' claims bytes %.0f to %.0f of %.0f", e.name, at, at + bytes, f.size) end
  local storage = promise.storage{offset = at, bytes = bytes}
  if block then
    storage.read = function()
      local out, from = ffi.new("ln_tensor *[1]"), f:vector(at, bytes, true)
      check(C.ln_gguf_unpack(e.type, pointer(from), out))
      local t = wrap(out[0])
      check(C.ln_tensor_storage(pointer(t), out))
      return wrap(out[0])
    end
  end
  return promise.tensor{storage = storage, dtype = dtype or "float32", shape = e.shape}
end

--- {metadata = name -> value, tensors = an ordered map of promises}.
function gguf.read(f)
  local c = f:cursor(4)
  local version = u32(c)
  if version ~= 2 and version ~= 3 then f:fail("GGUF of version %.0f; 2 and 3 are read", version) end
  local n_tensors, n_values = u64(c), u64(c)
  local metadata, tensors, entries = {}, ordered.map(), {}
  for _ = 1, n_values do
    local name = text(c)
    metadata[name] = value(c, u32(c), 1)
  end
  for i = 1, n_tensors do entries[i] = entry(c) end
  local alignment = metadata["general.alignment"] or 32
  if type(alignment) ~= "number" or alignment < 1 or alignment % 1 ~= 0 then f:fail("general.alignment is no whole number from 1") end
  local data = math.ceil(c.at / alignment) * alignment
  for _, e in ipairs(entries) do
    if tensors[e.name] ~= nil then f:fail("the name '%s' stands twice", e.name) end
    tensors[e.name] = promised(f, e, data)
  end
  return {metadata = metadata, tensors = tensors}
end

return gguf
