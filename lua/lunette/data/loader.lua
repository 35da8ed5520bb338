--- DataLoader: batches of a dataset, for a for loop.
--
--     for x, y in data.DataLoader(dataset, {batch_size = 64, shuffle = true}) do ... end
--
-- Each loop is an epoch; loops over one loader nest. `#loader` is the number of batches. A dataset with `__getitems` (TensorDataset, and
-- random_split or Subset of one) is gathered in one call a batch, others item by item, stacked by `default_collate` or `collate_fn`.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local class = require("lunette.class")
local datasets = require("lunette.data.dataset")
local shuffle = require("lunette.data.shuffle")

local fail, describe = arguments.fail, arguments.describe

local loader = {}

-- Collating ------------------------------------------------------------------------------------------------------------------------------

local DEEPEST = 100 -- tables in tables; more can only be one that contains itself
local collate

local function column(items, key)
  local out = {}
  for i, item in ipairs(items) do
    if type(item) ~= "table" then fail(("default_collate: item %d must be a table as item 0 is, not %s"):format(i - 1, describe(item))) end
    out[i] = item[key]
  end
  return out
end

local function collate_tables(items, depth)
  if depth > DEEPEST then fail("default_collate: the items are tables that contain themselves") end
  local out = {}
  for key in each(items[1]) do
    if key ~= "n" then out[key] = collate(column(items, key), depth + 1) end
  end
  return out
end

function collate(items, depth)
  local first = items[1]
  local create = require("lunette.create")
  if base.is_tensor(first) then return require("lunette.ops").stack(items, 0) end
  local kind = type(first)
  if kind == "number" or kind == "boolean" then return create.tensor(items) end
  if kind == "string" then return items end
  if kind == "table" then return collate_tables(items, depth) end
  fail("DataLoader: items of " .. describe(first) .. " cannot be collated; give a collate_fn")
end

local parse_items = arguments.signature("default_collate", "batch:map")

--- Makes one value of the values of many items: tensors are stacked, numbers and booleans become a tensor, strings stay an array, tables are
--- collated entry by entry.
function loader.default_collate(...) return collate(parse_items(...), 1) end

-- The loader -----------------------------------------------------------------------------------------------------------------------------

local DataLoader = class.define("data.DataLoader", {
  doc = "Batches of a dataset, for a loop: `for x, y in loader do`; #loader is their number.",
  takes = "dataset:any, batch_size:int=1, shuffle:bool=false, *, drop_last:bool=false, collate_fn:function?, generator:generator?, seed:int?",
})
loader.DataLoader = DataLoader

function DataLoader:__init(...)
  local dataset, batch_size, shuffled, drop_last, collate_fn, generator, seed = DataLoader.__parse(...)
  datasets.check("DataLoader", dataset)
  if batch_size < 1 then fail(("DataLoader: batch_size must be at least 1, not %d"):format(batch_size)) end
  if generator ~= nil and seed ~= nil then fail("DataLoader: a generator or a seed is given, not both") end
  self.dataset, self.batch_size, self.shuffle, self.drop_last, self.collate_fn = dataset, batch_size, shuffled, drop_last, collate_fn
  self.generator = seed and shuffle.seeded(seed) or generator
  self.epochs = setmetatable({}, {__mode = "k"})
end

function DataLoader:__len()
  local batches = #self.dataset / self.batch_size
  return self.drop_last and math.floor(batches) or math.ceil(batches)
end

local function index_of(self, from, count)
  if self.order then return self.order:narrow(0, from, count) end
  return require("lunette.create").arange(from, from + count, {dtype = "int64"})
end

-- An item's values: the only one, or an array of several and true.
local function pack(...)
  if select("#", ...) > 1 then return {...}, true end
  return (...), false
end

local function item_by_item(loading, from, count)
  local dataset, collate_fn, items, several = loading.loader.dataset, loading.loader.collate_fn, {}, false
  for i = 1, count do
    local place = from + i - 1
    items[i], several = pack(dataset:get(loading.places and loading.places[place + 1] or place))
  end
  if collate_fn then return collate_fn(items) end
  local batch = collate(items, 1)
  if several then return unpack(batch) end
  return batch
end

local function next_batch(loading)
  local from, self = loading.from, loading.loader
  local count = math.min(self.batch_size, loading.n - from)
  if count <= 0 or self.drop_last and count < self.batch_size then return nil end
  loading.from = from + count
  if self.dataset.__getitems and not self.collate_fn then return self.dataset:__getitems(index_of(loading, from, count)) end
  if loading.order and not loading.places then loading.places = loading.order:tolist() end
  return item_by_item(loading, from, count)
end

--- A function that gives the values of the next batch, nil at the end of the epoch.
function DataLoader:iterate()
  local n = #self.dataset
  local loading = {loader = self, n = n, from = 0, order = self.shuffle and shuffle.order(n, self.generator) or nil}
  return function() return next_batch(loading) end
end

-- In a for loop the first value of a batch is the control variable, by which the loop's epoch is found again.
local function remember(self, epoch, first, ...)
  if first ~= nil then self.epochs[first] = epoch end
  return first, ...
end

function DataLoader:__call(_, last)
  local epoch = last ~= nil and self.epochs[last] or self:iterate()
  return remember(self, epoch, epoch())
end

return loader
