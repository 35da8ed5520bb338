--- The loops over strided memory: whatever the layout, an element gets what it gets in row-major memory, bit by bit.

local lt = require("lunette")
local F = lt.nn.functional

local FLOATS = {"float32", "float64", "float16", "bfloat16"}
local DTYPES = {"float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"}
local WIDTHS = {1, 2, 3, 5, 7, 15, 16, 17, 31, 48, 63, 64, 65, 100, 255, 300, 513, 1023, 1025}

--- Values from -4 to 4, all different, none of a kind that a dtype would lose.
local function values(shape, dtype, phase)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  local x = lt.arange(n, {dtype = "float64"}):mul(0.6180339887):add(phase or 0):remainder(1):mul(8):sub(4)
  if dtype == "uint8" then x = x:abs() end
  if dtype == "bool" then return x:gt(0):view(shape) end
  return x:to(dtype):view(shape)
end

--- Matrices of one shape in many layouts; the first is row-major.
local function matrices(rows, columns, dtype, phase)
  local wide = values({rows, 2 * columns + 3}, dtype, phase)
  return {
    values({rows, columns}, dtype, phase),
    values({columns, rows}, dtype, phase):t(),
    wide:slice(1, 1, 1 + columns),
    wide:slice(1, 1, 1 + 2 * columns, 2),
    values({1, columns}, dtype, phase):expand {rows, columns},
    values({rows, 1}, dtype, phase):expand {rows, columns},
    values({columns}, dtype, phase),
    values({rows, 1}, dtype, phase),
  }
end

--- What the operator gives where nothing is strided, short or repeated: one long run.
local function flat(operator, shape, ...)
  local operands = {...}
  for i, t in ipairs(operands) do operands[i] = t:expand(shape):clone():contiguous():view(-1) end
  return operator(unpack(operands)):view(shape)
end

local function agree(operator, dtype, rows, columns)
  local left, right = matrices(rows, columns, dtype), matrices(rows, columns, dtype, 0.3)
  for i, a in ipairs(left) do
    for j, b in ipairs(right) do
      if a:dim() == 2 and a:size(1) == columns or b:dim() == 2 and b:size(1) == columns then
        local want = flat(operator, {rows, columns}, a, b)
        assert.is_true(lt.equal(want, operator(a, b)), ("%s, %d x %d, layouts %d and %d"):format(dtype, rows, columns, i, j))
      end
    end
  end
end

describe("loops of elementwise operators", function()
  it("agree over runs of every length and layout", function()
    for _, columns in ipairs(WIDTHS) do agree(function(a, b) return F.gelu(a) * b end, "float32", 37, columns) end
  end)

  it("agree in every dtype", function()
    for _, dtype in ipairs(DTYPES) do
      for _, columns in ipairs {3, 16, 67} do agree(function(a, b) return a + b end, dtype, 41, columns) end
    end
    for _, dtype in ipairs(FLOATS) do
      for _, columns in ipairs {3, 16, 67} do agree(function(a, b) return lt.atan2(a, b) end, dtype, 41, columns) end
    end
  end)

  it("agree for tests and logic, whose result is bool", function()
    for _, dtype in ipairs(DTYPES) do
      for _, columns in ipairs {1, 3, 64, 67} do
        agree(lt.logical_xor, dtype, 23, columns)
        agree(lt.lt, dtype, 23, columns)
      end
    end
  end)

  it("compute logic of bool as that of numbers", function()
    local a, b = values({1000}, "bool"), values({1000}, "bool", 0.4)
    local x, y = a:to("int64"), b:to("int64")
    for _, name in ipairs {"logical_and", "logical_or", "logical_xor", "eq", "ne", "lt", "le", "gt", "ge"} do
      assert.is_true(lt.equal(lt[name](x, y), lt[name](a, b)), name)
      assert.is_true(lt.equal(lt[name](x, 1), lt[name](a, true)), name .. " with true")
      assert.is_true(lt.equal(lt[name](x, 0), lt[name](a, false)), name .. " with false")
    end
    for _, name in ipairs {"logical_not", "isnan", "isinf", "isfinite"} do assert.is_true(lt.equal(lt[name](x), lt[name](a)), name) end
  end)

  it("agree on every number of threads", function()
    local threads, x, b = lt.get_num_threads(), values({50000, 3}, "float32"), values({3}, "float32", 0.2)
    local columns = values({64, 1000}, "float32"):t()
    local results = {}
    for n = 1, 4 do
      lt.set_num_threads(n)
      results[n] = {x * b, F.gelu(columns) + columns, columns:contiguous(), x:slice(1, 0, 2):to("float64")}
    end
    lt.set_num_threads(threads)
    for n = 2, 4 do
      for k, t in ipairs(results[n]) do assert.is_true(lt.equal(results[1][k], t), ("%d threads, case %d"):format(n, k)) end
    end
  end)

  it("keep the layout of an operand, and write into any", function()
    local x = values({2, 5, 7, 3}, "float32"):permute(0, 3, 1, 2)
    assert.are.same({105, 1, 21, 3}, F.relu(x):stride())
    assert.is_true(lt.equal(F.relu(x:contiguous()), F.relu(x)))
    local y = values({7, 4, 5, 9}, "float32")
    local target, plain = y:permute(3, 1, 0, 2), y:permute(3, 1, 0, 2):contiguous()
    local row = values({7, 5}, "float32", 0.7)
    target:mul_(row)
    assert.is_true(lt.equal(plain * row, target))
    assert.is_true(lt.equal(plain * row, y:permute(3, 1, 0, 2)))
  end)

  it("do nothing for what is empty", function()
    for _, shape in ipairs {{0}, {0, 3}, {3, 0}, {2, 0, 5}} do
      local x = lt.zeros(shape)
      assert.is_true((x + lt.ones(1)).shape == shape)
      assert.is_true((x:to("float16") + x).shape == shape)
      assert.is_true(x:transpose(0, -1):contiguous():transpose(0, -1).shape == shape)
    end
  end)
end)

--- The number of each element of a row-major tensor of the sizes, seen with the dims in another order.
local function numbered(sizes, dims)
  local y, weight, weights = nil, 1, {}
  for i = #sizes, 1, -1 do
    weights[i] = weight
    weight = weight * sizes[i]
  end
  for at, d in ipairs(dims) do
    local shape = {}
    for k = 1, #dims do shape[k] = k == at and sizes[d + 1] or 1 end
    local part = lt.arange(sizes[d + 1], {dtype = "int64"}):mul(weights[d + 1]):view(shape)
    y = y and y + part or part
  end
  return y, weight
end

describe("copies", function()
  local ORDERS = {{1, 0}, {0, 2, 1}, {2, 1, 0}, {2, 0, 1}, {1, 2, 0}, {0, 3, 1, 2}, {3, 2, 1, 0}, {1, 3, 0, 2}}
  local SIZES = {{7, 130}, {8, 8}, {64, 65}, {129, 63}, {1, 70}, {200, 9}}

  local function check(sizes, dims, dtype)
    local want, n = numbered(sizes, dims)
    local x = lt.arange(n, {dtype = "int64"}):to(dtype):view(sizes)
    local y = x:permute(dims)
    local text = ("%s of {%s} by {%s}"):format(dtype, table.concat(sizes, ", "), table.concat(dims, ", "))
    assert.is_true(lt.equal(want:to(dtype):contiguous(), y:contiguous()), text)
    local into = lt.zeros(x.shape, {dtype = dtype}):permute(dims)
    into:copy_(want:to(dtype))
    assert.is_true(lt.equal(y, into), text .. ", written")
  end

  it("exchange dims of any size", function()
    for _, dtype in ipairs {"int64", "float32", "int16", "uint8", "float64"} do
      for _, dims in ipairs(ORDERS) do
        for _, pair in ipairs(SIZES) do
          local sizes = #dims == 2 and pair or #dims == 3 and {pair[1], 3, pair[2]} or {2, pair[1], 3, pair[2]}
          check(sizes, dims, dtype)
        end
      end
    end
  end)

  it("exchange dims of parts of a tensor", function()
    local wide = values({150, 170}, "float32")
    local part = wide:slice(0, 3, 140):slice(1, 5, 160)
    local turned = part:t():contiguous()
    assert.is_true(lt.equal(part, turned:t()))
    for _, at in ipairs {{0, 0}, {63, 64}, {64, 63}, {136, 154}} do
      assert.are.equal(wide[at[1] + 3][at[2] + 5]:item(), turned[at[2]][at[1]]:item())
    end
    local target = lt.zeros(200, 300)
    target:slice(0, 10, 165):slice(1, 20, 157):copy_(part:t())
    assert.is_true(lt.equal(turned, target:slice(0, 10, 165):slice(1, 20, 157)))
    target:slice(0, 10, 165):slice(1, 20, 157):zero_()
    assert.are.equal(0, target:count_nonzero():item())
  end)

  it("convert between all dtypes in every layout as in row-major memory", function()
    for _, from in ipairs(DTYPES) do
      for _, to in ipairs(DTYPES) do
        for _, columns in ipairs {3, 70} do
          for i, x in ipairs(matrices(29, columns, from)) do
            local want = x:clone():contiguous():view(-1):to(to):view(x.shape)
            assert.is_true(lt.equal(want, x:to(to)), ("%s to %s, layout %d"):format(from, to, i))
            local target = lt.zeros(x:size(-1), x:dim() > 1 and x:size(0) or 1, {dtype = to}):t()
            target:copy_(x)
            assert.is_true(lt.equal(want:view(target.shape), target), ("%s into %s, layout %d"):format(from, to, i))
          end
        end
      end
    end
  end)
end)
