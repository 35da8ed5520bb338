--- NaNs of any bits, as files and memory may hold them, are NaNs in Lua: LuaJIT itself takes some for values of other types.

local lt = require("lunette")
local ffi = require("ffi")

-- dtype -> the words of NaNs that are not the usual one: quiet, signaling, negative, with all bits set.
local WORDS = {
  float64 = {"uint64_t *", 0xffffffffffffffffULL, 0xfffd800000001234ULL, 0xfff0000000000001ULL, 0x7fffffffffffffffULL, 0xfffe800000000000ULL},
  float32 = {"uint32_t *", 0xffffffff, 0xffc00001, 0xff800001, 0x7fffffff, 0xfffec000},
  float16 = {"uint16_t *", 0xffff, 0xfe01, 0xfc01, 0x7fff, 0xfff0},
  bfloat16 = {"uint16_t *", 0xffff, 0xffc1, 0xff81, 0x7fff, 0xfffe},
}

local function nans(dtype)
  local words = WORDS[dtype]
  local t = lt.zeros(#words - 1, {dtype = dtype, device = "cpu"})
  local memory = ffi.cast(words[1], t:data_ptr())
  for i = 2, #words do memory[i - 2] = words[i] end
  return t
end

local function is_nan(x) return type(x) == "number" and x ~= x end

for dtype, words in pairs(WORDS) do
  describe("NaNs of " .. dtype, function()
    it("are numbers as items and in lists", function()
      local t = nans(dtype)
      for i = 0, #words - 2 do
        assert.is_true(is_nan(t[i]:item()))
        assert.is_true(is_nan(t:tolist()[i + 1]))
        assert.is_true(is_nan(t:to(lt.get_default_device())[i]:item()))
      end
    end)

    it("are printed as such", function()
      local _, count = tostring(nans(dtype)):gsub("nan", "nan")
      assert.are.equal(#words - 1, count)
    end)

    it("stay NaNs on their way through a file", function()
      local path = os.tmpname() .. ".safetensors"
      lt.save({t = nans(dtype)}, path)
      local list = lt.load(path).t:tolist()
      os.remove(path)
      for i = 1, #words - 1 do assert.is_true(is_nan(list[i])) end
    end)
  end)
end
