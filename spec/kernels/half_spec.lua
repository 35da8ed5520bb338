--- float16 and bfloat16: every bit pattern to float32 and back, rounding at every midpoint, what overflows, and NaN.

local ffi = require("ffi")
local lt = require("lunette")
local base = require("lunette.ffi")

local INFINITE, QUIET = 0x7f800000, 0x400000
local word = ffi.new("union { float f; uint32_t bits; }")

local function float_of(bits)
  word.bits = bits
  return word.f
end

local function bits_of(f)
  word.f = f
  return word.bits
end

local function memory(t, type_) return ffi.cast(type_, base.pointer(t).data) end

local function tensor_of(n, dtype, type_, value)
  local t = lt.zeros(n, {dtype = dtype, device = "cpu"})
  local p = memory(t, type_)
  for i = 0, n - 1 do p[i] = value(i) end
  return t:to(lt.get_default_device())
end

--- The float32 bits that a pattern stands for, by its parts.
local function widened(format, h)
  local sign, exponent = bit.band(h, 0x8000), bit.rshift(bit.band(h, 0x7fff), format.mantissa)
  local fraction = bit.band(h, 2 ^ format.mantissa - 1)
  local high = sign ~= 0 and 0x80000000 or 0
  if exponent == 2 ^ format.exponent - 1 then
    local payload = fraction * 2 ^ (23 - format.mantissa)
    if format.quiet and payload ~= 0 then payload = bit.bor(payload, QUIET) end
    return high + INFINITE + payload
  end
  local scale = 2 ^ ((exponent == 0 and 1 or exponent) - format.bias - format.mantissa)
  return high + bits_of((fraction + (exponent == 0 and 0 or 2 ^ format.mantissa)) * scale)
end

local FORMATS = {
  float16 = {exponent = 5, mantissa = 10, bias = 15, infinity = 0x7c00, quiet = true},
  bfloat16 = {exponent = 8, mantissa = 7, bias = 127, infinity = 0x7f80},
}

--- Layouts that take the vector loop, its rest, and the loop over strides.
local function each_layout(n, lay)
  lay("contiguous", function(t) return t end)
  lay("strided", function(t)
    local wide = lt.zeros(n, 3, {dtype = t.dtype})
    local column = wide:select(1, 1)
    column:copy_(t)
    return column
  end)
  lay("shifted", function(t)
    local longer = lt.zeros(n + 5, {dtype = t.dtype})
    longer:narrow(0, 5, n):copy_(t)
    return longer:narrow(0, 5, n)
  end)
end

for dtype, format in pairs(FORMATS) do
  describe(dtype, function()
    it("widens every bit pattern exactly", function()
      local halves = tensor_of(65536, dtype, "uint16_t *", function(i) return i end)
      each_layout(65536, function(name, lay)
        local floats = lay(halves):to("float32"):to("cpu"):contiguous()
        local p = memory(floats, "uint32_t *")
        for h = 0, 65535 do
          if p[h] ~= widened(format, h) then error(("%s: 0x%04x gave 0x%08x, not 0x%08x"):format(name, h, p[h], widened(format, h))) end
        end
      end)
    end)

    it("comes back from float32 as it was, NaN quiet", function()
      local halves = tensor_of(65536, dtype, "uint16_t *", function(i) return i end)
      local back = halves:to("float32"):to(dtype):to("cpu")
      local p = memory(back, "uint16_t *")
      for h = 0, 65535 do
        local want = bit.band(h, 0x7fff) > format.infinity and bit.bor(h, 2 ^ (format.mantissa - 1)) or h
        if p[h] ~= want then error(("0x%04x came back as 0x%04x"):format(h, p[h])) end
      end
    end)

    it("rounds to the nearest, halves to even, up to infinity", function()
      -- around the midpoint behind each finite pattern: just below, at it, just above; the last midpoint is that of overflow
      local finite = format.infinity
      for _, sign in ipairs {0, 0x8000} do
        local floats = tensor_of(3 * finite, "float32", "float *", function(i)
          local h = math.floor(i / 3)
          local low, beside = tonumber(float_of(widened(format, h))), h + 1 < finite and h + 1 or h - 1
          local step = math.abs(tonumber(float_of(widened(format, beside))) - low)
          local bits = bits_of(low + step / 2) + i % 3 - 1
          return float_of(bits + (sign == 0 and 0 or 0x80000000))
        end)
        each_layout(3 * finite, function(name, lay)
          local p = memory(lay(floats):to(dtype):to("cpu"):contiguous(), "uint16_t *")
          for h = 0, finite - 1 do
            for k, want in ipairs {h, h + h % 2, h + 1} do
              local got = p[3 * h + k - 1]
              if got ~= want + sign then error(("%s: behind 0x%04x, case %d gave 0x%04x"):format(name, h + sign, k, got)) end
            end
          end
        end)
      end
    end)

    it("takes what is far outside, and every kind of NaN", function()
      local cases = { -- float32 bits, pattern for float16, for bfloat16
        {0x00000001, 0, 0}, {0x80000001, 0x8000, 0x8000}, {0x00800000, 0, 0x0080}, {0x7f7fffff, 0x7c00, 0x7f80}, {0xff7fffff, 0xfc00, 0xff80},
        {0x7f800000, 0x7c00, 0x7f80}, {0xff800000, 0xfc00, 0xff80}, {0x7fc00000, 0x7e00, 0x7fc0}, {0xffc00000, 0xfe00, 0xffc0},
        {0x7f800001, 0x7e00, 0x7fc0}, {0xff800001, 0xfe00, 0xffc0}, {0x7fffffff, 0x7fff, 0x7fff}, {0xffffffff, 0xffff, 0xffff},
        {0x7fa00000, 0x7f00, 0x7fe0}, {0x7fc02000, 0x7e01, 0x7fc0},
      }
      local n = #cases * 5 -- all positions in a vector
      local floats = tensor_of(n, "float32", "uint32_t *", function(i) return cases[i % #cases + 1][1] end)
      each_layout(n, function(name, lay)
        local p = memory(lay(floats):to(dtype):to("cpu"):contiguous(), "uint16_t *")
        for i = 0, n - 1 do
          local want = cases[i % #cases + 1][dtype == "float16" and 2 or 3]
          if p[i] ~= want then error(("%s: 0x%08x gave 0x%04x, not 0x%04x"):format(name, cases[i % #cases + 1][1], p[i], want)) end
        end
      end)
    end)
  end)
end
