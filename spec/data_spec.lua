local lt = require("lunette")
local data = lt.data

local function numbers(n) return data.TensorDataset(lt.arange(n), lt.arange(n) * 10) end

local function all_of(loader)
  local out = {}
  for x in loader do
    for _, value in ipairs(x:tolist()) do out[#out + 1] = value end
  end
  return out
end

describe("datasets", function()
  it("TensorDataset gives rows of each tensor", function()
    local set = numbers(4)
    assert.are.equal(4, #set)
    local x, y = set:get(-1)
    assert.are.same({3, 30}, {x:item(), y:item()})
    assert.are.equal(20, set[2][2]:item())
    assert.has_error(function() return set[4][1] end)
    assert.has_error(function() set:get(4) end, "TensorDataset: index 4 is out of range for length 4 (indexes start at 0)")
    assert.has_error(function() data.TensorDataset(lt.ones(2), lt.ones(3)) end)
    assert.has_error(function() data.TensorDataset(3) end)
  end)

  it("are subclassed", function()
    local Squares = data.Dataset:subclass("Squares")
    function Squares:__init(n) self.n = n end
    function Squares:__len() return self.n end
    function Squares:__getitem(i) return i * i end
    local set = Squares(5)
    assert.are.equal(5, #set)
    assert.are.equal(16, set[4])
    assert.are.same({0, 1, 4, 9, 16}, all_of(data.DataLoader(set, 2)))
    assert.is_true(lt.isinstance(set, data.Dataset))
    assert.has_error(function() data.Dataset():get(0) end)
  end)

  it("Subset and random_split choose items", function()
    local set = numbers(10)
    local part = data.Subset(set, {7, 2})
    assert.are.same({2, 7, 2}, {#part, part[0][1]:item(), part[-1][1]:item()})
    lt.manual_seed(1)
    local train, test = data.random_split(set, {7, 3})
    assert.are.same({7, 3}, {#train, #test})
    local seen = {}
    for _, value in ipairs(all_of(data.DataLoader(train, 2))) do seen[value] = true end
    for _, value in ipairs(all_of(data.DataLoader(test, 2))) do
      assert.is_nil(seen[value])
      seen[value] = true
    end
    for i = 0, 9 do assert.is_true(seen[i]) end
    local a, b = data.random_split(set, {0.75, 0.25})
    assert.are.same({8, 2}, {#a, #b})
    assert.has_error(function() data.random_split(set, {7, 2}) end, "random_split: the lengths sum to 9, the dataset has 10 items")
  end)
end)

describe("DataLoader", function()
  it("gives batches in a for loop, again and again", function()
    local loader = data.DataLoader(numbers(5), {batch_size = 2})
    assert.are.equal(3, #loader)
    for _ = 1, 2 do
      local sizes = {}
      for x, y in loader do
        assert.is_true(lt.equal(x * 10, y))
        sizes[#sizes + 1] = x.shape[0]
      end
      assert.are.same({2, 2, 1}, sizes)
    end
    assert.are.equal(2, #data.DataLoader(numbers(5), {batch_size = 2, drop_last = true}))
    assert.are.same({0, 1, 2, 3}, all_of(data.DataLoader(numbers(5), {batch_size = 2, drop_last = true})))
  end)

  it("shuffles anew each epoch, the same for a seed", function()
    local first, second = data.DataLoader(numbers(50), 8, true, {seed = 3}), data.DataLoader(numbers(50), 8, true, {seed = 3})
    local one, two = all_of(first), all_of(first)
    assert.are_not.same(one, two)
    assert.are.same(one, all_of(second))
    table.sort(one)
    for i = 1, 50 do assert.are.equal(i - 1, one[i]) end
    lt.manual_seed(5)
    local three = all_of(data.DataLoader(numbers(50), 8, true))
    lt.manual_seed(5)
    assert.are.same(three, all_of(data.DataLoader(numbers(50), 8, true)))
  end)

  it("nests over one loader", function()
    local loader, count = data.DataLoader(numbers(4), 2), 0
    for x in loader do
      for y in loader do count = count + x.shape[0] * y.shape[0] end
    end
    assert.are.equal(16, count)
  end)

  it("does not let batches change the data", function()
    local x = lt.zeros(4)
    for batch in data.DataLoader(data.TensorDataset(x), 2) do batch:add_(1) end
    assert.are.equal(0, x:sum():item())
  end)

  it("collates items of any kind", function()
    local Records = data.Dataset:subclass("Records")
    function Records.__len() return 4 end
    function Records.__getitem(_, i) return {name = "n" .. i, pixels = lt.full({2}, i)}, i, i % 2 == 0 end
    for record, label, even in data.DataLoader(Records(), 4) do
      assert.are.same({"n0", "n1", "n2", "n3"}, record.name)
      assert.are.same({4, 2}, {record.pixels.shape:unpack()})
      assert.are.same({0, 1, 2, 3}, label:tolist())
      assert.are.equal("bool", even.dtype)
    end
    for batch in data.DataLoader(Records(), {batch_size = 2, collate_fn = function(items) return {#items, items[1][2]} end}) do
      assert.are.equal(2, batch[1])
    end
  end)

  it("refuses wrong arguments", function()
    assert.has_error(function() data.DataLoader(numbers(3), 0) end, "DataLoader: batch_size must be at least 1, not 0")
    assert.has_error(function() data.DataLoader({1, 2}) end)
    assert.has_error(function() data.DataLoader(numbers(3), {batchsize = 3}) end)
  end)
end)
