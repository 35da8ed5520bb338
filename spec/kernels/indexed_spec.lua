--- Adding by an index: every element adds in the order of the index, on any number of threads, in every dtype and layout.

local lt = require("lunette")

local DTYPES = {"float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"}

local function source(shape, dtype)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  local x = lt.arange(n, {dtype = "float64"}):mul(0.6180339887):remainder(1):mul(5)
  if dtype == "bool" then return x:gt(2.5):view(shape) end
  return x:to(dtype):view(shape)
end

local function index_of(n, below) return lt.arange(n, {dtype = "int64"}):mul(7919):remainder(below) end

--- The rule of the operator, one row at a time.
local function one_by_one(x, index, y)
  x = x:clone()
  for i, at in ipairs(index:tolist()) do
    local row = x:select(0, at)
    row:copy_(row + y:select(0, i - 1))
  end
  return x
end

describe("adding by an index", function()
  it("adds row by row in the order of the index", function()
    for _, dtype in ipairs(DTYPES) do
      for _, width in ipairs {1, 3, 16, 70} do
        local x, index, y = source({11, width}, dtype), index_of(60, 11), source({60, width}, dtype)
        local want = one_by_one(x, index, y)
        local text = dtype .. ", rows of " .. width
        assert.is_true(lt.equal(want, lt.index_add(x, 0, index, y)), text)
        assert.is_true(lt.equal(want, lt.index_add(x, 0, index, y:t():contiguous():t())), text .. ", source by columns")
        assert.is_true(lt.equal(want, lt.index_add(x:t():contiguous():t(), 0, index, y)), text .. ", target by columns")
        assert.is_true(lt.equal(want, lt.index_add(x:t():contiguous(), 1, index, y:t():contiguous()):t()), text .. ", along the last dim")
        local wide = index:view(-1, 1):expand(60, width)
        assert.is_true(lt.equal(want, lt.scatter_add(x, 0, wide:contiguous(), y)), text .. ", scattered")
      end
    end
  end)

  it("gives the same on any number of threads", function()
    local threads, results = lt.get_num_threads(), {}
    local x, index, y = source({300, 16}, "float32"), index_of(20000, 300), source({20000, 16}, "float32")
    local one = lt.zeros(20000, {dtype = "int64"})
    for n = 1, 5 do
      lt.set_num_threads(n)
      local table_ = lt.zeros(300, 16):requires_grad_()
      lt.nn.functional.embedding(index, table_):backward(y)
      results[n] = {lt.index_add(x, 0, index, y), lt.index_add(x:t(), 1, index, y:t()), lt.index_add(x:slice(0, 0, 1), 0, one, y), table_.grad}
    end
    lt.set_num_threads(threads)
    for n = 2, 5 do
      for k, t in ipairs(results[n]) do assert.is_true(lt.equal(results[1][k], t), ("%d threads, case %d"):format(n, k)) end
    end
    assert.is_true(lt.equal(lt.index_add(lt.zeros(300, 16), 0, index, y), results[1][4]))
  end)
end)
