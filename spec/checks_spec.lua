--- Elements that operators look at before they compute: indices within their dimension, divisors that are not 0.

local lt = require("lunette")
local waited = require("spec.waited")

local function says(part, f, ...)
  local ok, message = waited(f, ...)
  assert.is_false(ok, part)
  assert.is_truthy(tostring(message):find(part, 1, true), tostring(message))
end

-- n indices that are right but for those named, in three layouts.
local function layouts(n, wrong)
  local flat = lt.zeros(n, {dtype = "int64"})
  for position, value in pairs(wrong) do flat[position] = value end
  local spread = lt.zeros(n, 3, {dtype = "int64"})
  spread[":, 1"] = flat
  return {row = flat, column = spread[":, 1"], turned = flat:reshape(n / 4, 4):t():contiguous():t():reshape(-1)}
end

describe("an index", function()
  for _, n in ipairs {4, 300, 20000} do
    it("outside its dimension is found among " .. n .. ", the first one", function()
      local table_, source = lt.randn(3, 2), lt.randn(3)
      for _, index in pairs(layouts(n, {[n - 1] = 5, [n - 2] = -1})) do
        says("index_select: index -1 is out of bounds for dimension 0 with size 3", source.index_select, source, 0, index)
        says("gather: index -1 is out of bounds for dimension 0 with size 3", source.gather, source, 0, index)
        says("embedding: index -1 is out of bounds for dimension 0 with size 3", lt.nn.functional.embedding, index, table_)
      end
      for _, index in pairs(layouts(n, {[n - 1] = 3})) do says("index: index 3 is out of bounds", function() return source[{index}] end) end
      for _, index in pairs(layouts(n, {[n - 1] = -4})) do says("index: index -4 is out of bounds", function() return source[{index}] end) end
      for _, index in pairs(layouts(n, {[n - 1] = 2, [0] = 1})) do assert.is_true(waited(source.gather, source, 0, index)) end
      for _, index in pairs(layouts(n, {[n - 1] = -3})) do assert.is_true(waited(function() return source[{index}] end)) end
    end)
  end

  it("into a dimension of size 0 is refused", function()
    says("embedding: index 0 is out of bounds for dimension 0 with size 0", lt.nn.functional.embedding, lt.LongTensor {0}, lt.zeros(0, 2))
    says("index: index 2 is out of bounds for dimension 0 with size 0", function() return lt.zeros(0, 2)[{lt.LongTensor {2}}] end)
    assert.are.same({0, 2}, lt.nn.functional.embedding(lt.zeros(0, {dtype = "int64"}), lt.zeros(0, 2)).shape:totable())
  end)

  it("that is a class is said to be one", function()
    says("nll_loss: index 3 is out of bounds for dimension 1 with size 3 (indexes start at 0) (a target is a class from 0 to 2)",
      lt.nn.functional.nll_loss, lt.zeros(2, 3), lt.LongTensor {0, 3})
  end)
end)

describe("a divisor", function()
  for _, dtype in ipairs {"int8", "int16", "int32", "int64", "uint8"} do
    it("of 0 is found: " .. dtype, function()
      for _, n in ipairs {4, 20000} do
        for _, index in pairs(layouts(n, {})) do
          local divisor = index:to(dtype) + 1
          assert.is_true(waited(divisor.floor_divide, divisor, divisor))
          divisor[n - 2] = 0
          says("floor_divide: integer division by zero", divisor.floor_divide, divisor, divisor)
          says("remainder: integer division by zero", divisor.remainder, divisor, divisor)
        end
      end
    end)
  end

  it("of 0 does not matter where the result is no whole number", function()
    assert.is_true(waited(function() return lt.ones(2):floor_divide(lt.zeros(2)) end))
  end)
end)
