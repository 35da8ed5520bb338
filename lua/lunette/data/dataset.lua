--- Datasets: something with a length and items by number, from 0.
--
--     local Squares = data.Dataset:subclass("Squares")
--     function Squares:__init(n) self.n = n end
--     function Squares:__len() return self.n end
--     function Squares:__getitem(i) return lt.tensor(i), lt.tensor(i * i) end
--
-- `dataset:get(i)` gives the values of an item, `dataset[i]` the only one or an array of them. A dataset that can give many items at once
-- also defines `__getitems(index)`, index an int64 tensor; it returns the values of all those items, stacked.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local class = require("lunette.class")

local fail, describe = arguments.fail, arguments.describe

local dataset = {}

local Dataset = class.define("data.Dataset", {
  doc = "The class above all datasets: a subclass defines __len() and __getitem(i), i from 0; dataset:get(i) gives the values of an item.",
})
dataset.Dataset = Dataset

function Dataset:__getitem() fail(("%s has no __getitem; write function %s:__getitem(i)"):format(self.class.__name, self.class.__name)) end

--- The values of item i, negative from the end.
function Dataset:get(i)
  local n = #self
  if not arguments.is_int(i) or i < -n or i >= n then
    fail(("%s: index %s is out of range for length %d (indexes start at 0)"):format(self.class.__name, tostring(i), n))
  end
  return self.class.__getitem(self, i < 0 and i + n or i)
end

local TensorDataset = class.define("data.TensorDataset", {parent = Dataset, doc = "Item i is row i of each tensor that it was made of."})
dataset.TensorDataset = TensorDataset

function TensorDataset:__init(...)
  local tensors = {...}
  if #tensors == 0 then fail("TensorDataset: at least one tensor is needed") end
  for i = 1, select("#", ...) do
    local t = tensors[i]
    if not base.is_tensor(t) then fail(("TensorDataset: argument %d must be a tensor, not %s"):format(i, describe(t))) end
    if #t.shape == 0 or t.shape[0] ~= tensors[1].shape[0] then
      fail(("TensorDataset: tensor %d of shape %s does not have the first size of %s"):format(i, tostring(t.shape), tostring(tensors[1].shape)))
    end
  end
  self.tensors = tensors
end

function TensorDataset:__len() return self.tensors[1].shape[0] end

local function map(tensors, fn)
  local out = {}
  for i, t in ipairs(tensors) do out[i] = fn(t) end
  return unpack(out)
end

function TensorDataset:__getitem(i)
  return map(self.tensors, function(t) return t[i] end)
end

function TensorDataset:__getitems(index)
  return map(self.tensors, function(t) return t:index_select(0, index:to(t.device)) end)
end

--- Raises unless `x` is a dataset; `owner` is what was called.
function dataset.check(owner, x)
  if not class.isinstance(x, Dataset) then fail(("%s: a dataset is needed, not %s"):format(owner, describe(x))) end
end

local Subset = class.define("data.Subset", {parent = Dataset, doc = "Subset(dataset, indices): the items of another dataset at these positions."})
dataset.Subset = Subset

--- indices: a Lua array or an int64 tensor, from 0.
function Subset:__init(source, indices)
  dataset.check("Subset", source)
  if type(indices) == "table" then indices = require("lunette.create").tensor(indices, {dtype = "int64"}) end
  if not base.is_tensor(indices) then fail("Subset: the indices must be an array of whole numbers or an int64 tensor, not " .. describe(indices)) end
  self.dataset, self.indices = source, indices
  if source.__getitems then
    self.__getitems = function(_, index) return source.__getitems(source, indices:index_select(0, index:to(indices.device))) end
  end
end

function Subset:__len() return self.indices.shape[0] end

function Subset:__getitem(i) return self.dataset:get(self.indices[i]:item()) end

-- Fractions of n as counts; the remainder is distributed one by one from the first.
local function counts_of(lengths, n)
  local sum, out, given = 0, {}, 0
  for i, length in ipairs(lengths) do
    if type(length) ~= "number" or length ~= length or length < 0 then
      fail(("random_split: length %d must be a number from 0, not %s"):format(i - 1, describe(length)))
    end
  end
  for _, length in ipairs(lengths) do sum = sum + length end
  if math.abs(sum - 1) > 1e-9 or #lengths == 1 and n == 1 then return lengths, sum end
  for i, length in ipairs(lengths) do
    out[i] = math.floor(n * length)
    given = given + out[i]
  end
  for i = 0, n - given - 1 do out[i % #out + 1] = out[i % #out + 1] + 1 end
  return out, n
end

local parse_split = arguments.signature("random_split", "dataset:any, lengths:table, generator:generator?")

--- Subsets of the given sizes (counts that sum to the length, or fractions that sum to 1) in random order; as many values as lengths.
function dataset.random_split(...)
  local source, lengths, generator = parse_split(...)
  dataset.check("random_split", source)
  local n = #source
  local counts, sum = counts_of(lengths, n)
  if sum ~= n then fail(("random_split: the lengths sum to %s, the dataset has %d items"):format(tostring(sum), n)) end
  local order = require("lunette.data.shuffle").order(n, generator)
  local out, from = {}, 0
  for i, count in ipairs(counts) do
    out[i] = Subset(source, order:narrow(0, from, count))
    from = from + count
  end
  return unpack(out)
end

return dataset
