--- Reductions, running sums and softmax along any dim: the same numbers in every layout and on every number of threads, and what NaN, zeros of
--- both signs and equal elements do.

local lt = require("lunette")

local NAN, INF = 0 / 0, math.huge
local DTYPES = {"float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"}
local FLOATS = {"float32", "float64", "float16", "bfloat16"}
-- sizes around a vector, a panel of columns, a block of rows and a chunk of a sum
local SIZES = {{1, 5}, {3, 4}, {17, 16}, {16, 33}, {70, 64}, {31, 65}, {1025, 7}, {2050, 130}, {5, 1030}}

local function values(rows, columns, dtype)
  local x = lt.arange(rows * columns, {dtype = "float64"}):mul(0.6180339887):remainder(1):mul(19):sub(7)
  if dtype == "uint8" then x = x:abs() end
  if dtype == "bool" then return x:gt(11.9):view(rows, columns) end
  return x:to(dtype):view(rows, columns)
end

--- x in other layouts, all with the same elements.
local function layouts(x)
  local wide = lt.zeros(x:size(0), x:size(1) + 3, {dtype = x.dtype})
  local spread = lt.zeros(2 * x:size(0), 3 * x:size(1), {dtype = x.dtype})
  local list = {x:t():contiguous():t(), wide:slice(1, 2, 2 + x:size(1)), spread:slice(0, 1, nil, 2):slice(1, 0, nil, 3)}
  for i = 2, 3 do list[i]:copy_(x) end
  return list
end

--- fn over columns, rows and all, where each of them is a contiguous vector.
local function by_rows(fn, x)
  local rows, columns = {}, {}
  for i = 0, x:size(0) - 1 do rows[#rows + 1] = fn(x:select(0, i):contiguous(), 0) end
  for i = 0, x:size(1) - 1 do columns[#columns + 1] = fn(x:select(1, i):contiguous(), 0) end
  return {[0] = lt.stack(columns), lt.stack(rows)}
end

--- A GPU cuts a long sum by how many there are beside it, so sums of floats differ there in the last bits.
local ROUNDING = {float64 = 1e-12, float32 = 1e-5, float16 = 1e-3, bfloat16 = 1e-2}
local function same(name, want, got)
  local rtol = ROUNDING[want.dtype]
  if want.device == "cpu" or (name ~= "sum" and name ~= "prod") or not rtol then return lt.equal(want, got) end
  return lt.allclose(want, got, {rtol = rtol, atol = rtol, equal_nan = true})
end

local function agree(name, fn, dtypes)
  for _, dtype in ipairs(dtypes) do
    for _, size in ipairs(SIZES) do
      local x = values(size[1], size[2], dtype)
      local want = by_rows(fn, x)
      local function check(laid, text)
        for dim = 0, 1 do
          local got = fn(laid, dim)
          if got:dim() == 2 and dim == 0 then got = got:t() end
          assert.is_true(same(name, want[dim], got), ("%s of %s %d x %d along %d, %s"):format(name, dtype, size[1], size[2], dim, text))
        end
      end
      check(x, "row-major")
      for i, laid in ipairs(layouts(x)) do check(laid, "layout " .. i) end
    end
  end
end

describe("reductions", function()
  for _, name in ipairs {"sum", "prod", "amax", "amin", "argmax", "argmin", "all", "any", "count_nonzero"} do
    it("agree over layouts and dims: " .. name, function()
      agree(name, function(x, dim) return lt[name](x, dim) end, DTYPES)
    end)
  end

  it("agree on every number of threads, long and in columns", function()
    local threads, x, results = lt.get_num_threads(), values(70000, 20, "float32"), {}
    for n = 1, 4 do
      lt.set_num_threads(n)
      results[n] = {x:sum(), x:sum(0), x:sum(1), x:amax(), x:amin(0), x:amax(1), x:argmax(0), x:argmin(1), x:cumsum(0), x:softmax(0), x:softmax(1)}
    end
    lt.set_num_threads(threads)
    for n = 2, 4 do
      for k, t in ipairs(results[n]) do assert.is_true(lt.equal(results[1][k], t), ("%d threads, case %d"):format(n, k)) end
    end
  end)

  it("let NaN win wherever it lies, and say where the first is", function()
    for _, dtype in ipairs(FLOATS) do
      for _, n in ipairs {1, 5, 16, 67, 300, 1500} do
        for _, at in ipairs {0, math.floor(n / 2), n - 1} do
          local x = values(n, 70, dtype)
          x:select(0, at):fill_(NAN)
          x:select(0, n - 1):slice(0, 0, nil, 2):fill_(NAN)
          for i, laid in ipairs {x, x:t():contiguous():t(), x:slice(1, 3)} do
            local text = ("%s, %d rows, NaN in row %d, case %d"):format(dtype, n, at, i)
            for _, name in ipairs {"amax", "amin"} do
              assert.is_true(laid[name](laid, 0):isnan():all():item(), text)
              assert.is_true(laid[name](laid:t():contiguous(), 1):isnan():all():item(), text)
              assert.is_true(laid[name](laid):isnan():item(), text)
            end
            for _, name in ipairs {"argmax", "argmin"} do
              assert.is_true(laid[name](laid, 0):eq(at):all():item(), text)
              assert.is_true(laid[name](laid:t():contiguous(), 1):eq(at):all():item(), text)
            end
          end
        end
      end
    end
  end)

  it("give a column without NaN its extreme beside columns with one", function()
    local x = values(40, 64, "float32")
    x[7][3] = NAN
    local largest, smallest = x:amax(0), x:amin(0)
    assert.are.equal(1, largest:isnan():sum():item())
    assert.is_true(largest[3]:isnan():item() and smallest[3]:isnan():item())
    assert.are.equal(x:select(1, 4):contiguous():amax():item(), largest[4]:item())
  end)

  it("find extremes of infinities, of equals the first, and of zeros the positive one", function()
    for _, columns in ipairs {3, 16, 64, 70} do
      local low = lt.full({50, columns}, -INF)
      assert.is_true(low:argmax(0):eq(0):all():item())
      assert.is_true(low:amax(0):eq(-INF):all():item())
      assert.is_true(low:amin(1):eq(-INF):all():item())
      assert.is_true(lt.full({50, columns}, INF):argmin(0):eq(0):all():item())
      local equal = lt.zeros(50, columns)
      equal:select(0, 20):fill_(2)
      equal:select(0, 40):fill_(2)
      assert.is_true(equal:argmax(0):eq(20):all():item())
      assert.is_true(equal:t():contiguous():argmax(1):eq(20):all():item())
      local zeros = lt.full({50, columns}, -0.0)
      for _, at in ipairs {0, 17, 49} do
        zeros:fill_(-0.0)
        zeros:select(0, at):fill_(0)
        for _, t in ipairs {zeros:amax(0), zeros:amin(0), zeros:t():contiguous():amax(1)} do
          assert.is_true((1 / t):eq(INF):all():item())
        end
      end
    end
  end)

  it("keep the extremes of whole numbers exact", function()
    local least, most = "-9223372036854775808", "9223372036854775807"
    for _, columns in ipairs {1, 4, 20} do
      local x = lt.tensor({least, most, "9007199254740993"}, {dtype = "int64"}):view(3, 1):expand(3, columns):contiguous()
      assert.are.equal(9223372036854775807LL, x:amax(0)[0]:item())
      assert.are.equal(-9223372036854775807LL - 1, x:amin(0)[columns - 1]:item())
      assert.are.equal(1, x:argmax(0)[0]:item())
      assert.are.equal(9007199254740993LL, x:slice(0, 2):amax(0)[0]:item())
    end
  end)
end)

describe("running sums", function()
  it("agree over layouts and dims, from both ends", function()
    agree("cumsum", function(x, dim) return lt.cumsum(x, dim) end, DTYPES)
  end)

  it("are the sums of what came before", function()
    local x = lt.arange(1, 3 * 70 * 5 + 1, {dtype = "int64"}):view(3, 70, 5)
    local y = x:cumsum(1)
    for _, k in ipairs {0, 1, 63, 69} do assert.is_true(lt.equal(x:slice(1, 0, k + 1):sum(1), y:select(1, k))) end
    local g = lt.rand(3, 70, 66)
    local leaf = lt.zeros(3, 70, 66):requires_grad_()
    leaf:cumsum(1):backward(g)
    for _, k in ipairs {0, 1, 33, 69} do assert.is_true(lt.allclose(g:slice(1, k):sum(1), leaf.grad:select(1, k))) end
  end)

  it("return at once when there is nothing to sum", function()
    assert.is_true(lt.zeros(2 ^ 40, 0):cumsum(1).shape == {2 ^ 40, 0})
    assert.is_true(lt.zeros(0, 2 ^ 40):cumsum(1).shape == {0, 2 ^ 40})
    assert.is_true(lt.zeros(2 ^ 40, 0):cumsum(0).shape == {2 ^ 40, 0})
  end)
end)

describe("softmax", function()
  for _, name in ipairs {"softmax", "log_softmax"} do
    it("agrees over layouts and dims: " .. name, function()
      agree(name, function(x, dim) return lt[name](x, dim) end, FLOATS)
    end)

    it("has one gradient in every layout: " .. name, function()
      agree(name, function(x, dim)
        local leaf = x:detach():clone():requires_grad_()
        lt[name](leaf, dim):backward(x:mul(0.5):sin())
        return leaf.grad
      end, FLOATS)
    end)
  end

  it("sums to 1, and survives what is huge, infinite or NaN", function()
    for _, size in ipairs {{1, 10}, {33, 1000}, {16, 7}, {130, 65}} do
      local x = values(size[1], size[2], "float32"):mul(1e30)
      for dim = 0, 1 do
        assert.is_true(lt.allclose(x:softmax(dim):sum(dim), lt.ones(size[2 - dim])))
        assert.is_false(x:log_softmax(dim):isnan():any():item())
      end
    end
    for _, columns in ipairs {1, 16, 40} do
      local x = lt.zeros(20, columns)
      x:select(0, 3):fill_(-INF)
      assert.is_true(x:softmax(0):select(0, 3):eq(0):all():item())
      assert.is_true(x:t():contiguous():softmax(1):select(1, 3):eq(0):all():item())
      x:select(0, 5):fill_(NAN)
      assert.is_true(x:softmax(0):isnan():all():item())
      assert.is_true(x:t():contiguous():softmax(1):isnan():all():item())
      assert.is_true(lt.full({20, columns}, -INF):softmax(0):isnan():all():item())
    end
  end)
end)
