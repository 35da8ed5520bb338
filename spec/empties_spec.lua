--- Products of matrices without elements: their gradients are zeros of the right shapes, and nothing is released twice.

local lt = require("lunette")

local function leaf(...) return lt.rand(..., {requires_grad = true}) end

-- What is computed, from leaves of the given shapes; the gradient of its sum comes expanded, with strides of 0.
local cases = {
  {"linear of no rows", {{0, 4}, {2, 4}, {2}}, function(x, w, b) return lt.linear(x, w, b) end},
  {"linear of no features", {{3, 0}, {2, 0}, {2}}, function(x, w, b) return lt.linear(x, w, b) end},
  {"linear to no features", {{3, 4}, {0, 4}, {0}}, function(x, w, b) return lt.linear(x, w, b) end},
  {"linear of empty batches", {{2, 0, 4}, {2, 4}}, function(x, w) return lt.linear(x, w) end},
  {"matmul of no rows", {{0, 4}, {4, 2}}, function(a, b) return a:matmul(b) end},
  {"matmul over nothing", {{3, 0}, {0, 2}}, function(a, b) return a:matmul(b) end},
  {"matmul of transposed ones", {{4, 0}, {2, 4}}, function(a, b) return a:t():matmul(b:t()) end},
  {"bmm of no batches", {{0, 3, 4}, {0, 4, 2}}, function(a, b) return a:bmm(b) end},
  {"bmm over nothing", {{2, 3, 0}, {2, 0, 2}}, function(a, b) return a:bmm(b) end},
  {"addmm of no rows", {{2}, {0, 4}, {4, 2}}, function(c, a, b) return lt.addmm(c, a, b) end},
}

local function run(case)
  local inputs = {}
  for i, shape in ipairs(case[2]) do inputs[i] = leaf(shape) end
  case[3](unpack(inputs)):sum():backward()
  return inputs
end

-- How many tensors there are, when garbage of whatever ran before is gone: what a finalizer releases may hold more, and goes a few cycles later.
local function tensors()
  local count, quiet = -1, 0
  repeat
    lt.gc()
    local now = lt.memory_stats().tensors
    quiet, count = now == count and quiet + 1 or 0, now
  until quiet == 3
  return count
end

describe("the gradient of", function()
  for _, case in ipairs(cases) do
    it(case[1] .. " has the shape of its input and is released once", function()
      for _, x in ipairs(run(case)) do
        assert.is_true(x.grad.shape == x.shape)
        assert.is_true(x.grad:isfinite():all():item())
      end
      local before, runs = tensors(), 20
      for _ = 1, runs do run(case) end
      assert.is_true(math.abs(tensors() - before) < runs) -- what stands in unused slots of Lua's stack may live on for a while
      assert.are.equal(10, lt.ones(10):sum():item())
    end)
  end

  it("linear over nothing is zero for the weight, and counts rows for the bias", function()
    local x, w, b = unpack(run(cases[2]))
    assert.are.same({2, 0}, w.grad.shape:totable())
    assert.are.same({3, 0}, x.grad.shape:totable())
    assert.are.same({3, 3}, b.grad:tolist())
    x, w, b = unpack(run(cases[1]))
    assert.are.same({0, 4}, x.grad.shape:totable())
    assert.are.same({{0, 0, 0, 0}, {0, 0, 0, 0}}, w.grad:tolist())
    assert.are.same({0, 0}, b.grad:tolist())
  end)
end)
