--- The different elements of a tensor, or its different slices along a dimension, with where each went and how often it occurs.

local ops = require("lunette.ops")
local arguments = require("lunette.arguments")
local create = require("lunette.create")
local define = require("lunette.define")

local unique = {}
local declare = define.into(unique, "lt")

-- Which rows of t, a vector or a matrix, differ from the one before.
local function beginnings(t)
  local n = t:size(0)
  local change = ops.ne(ops.narrow(t, 0, 1, n - 1), ops.narrow(t, 0, 0, n - 1))
  if change:dim() > 1 then change = ops.any(change, 1) end
  return ops.cat({create.ones({1}, {dtype = "bool", device = t.device}), change})
end

-- The order that sorts the rows of a matrix by their first column, among equals by the second and so on: sorted from the last column to the first.
local function order_of_rows(rows)
  local order
  for column = rows:size(1) - 1, 0, -1 do
    local values = ops.select(rows, 1, column)
    if order then values = ops.index_select(values, 0, order) end
    local by_column = ops.argsort(values)
    order = order and ops.index_select(order, 0, by_column) or by_column
  end
  return order
end

-- The first of each run of equal rows as an index, for each row the number of its run, and the lengths of the runs. `order`: where the rows stood.
local function runs(rows, order)
  local n = rows:size(0)
  if n == 0 then
    local none = create.zeros({0}, {dtype = "int64", device = rows.device})
    return none, none, none
  end
  local begins = beginnings(rows)
  local first, group = ops.reshape(ops.nonzero(begins), -1), ops.sub(ops.cumsum(begins, 0), 1)
  local ends = ops.cat({ops.narrow(first, 0, 1, first:size(0) - 1), create.full({1}, n, {dtype = "int64", device = rows.device})})
  if order then group = ops.scatter(group, 0, order, group) end
  return first, group, ops.sub(ends, first)
end

local function results(values, inverse, counts, with_inverse, with_counts)
  if with_inverse and with_counts then return values, inverse, counts end
  if with_inverse then return values, inverse end
  if with_counts then return values, counts end
  return values
end

local function of_elements(input, with_inverse, with_counts, sorts)
  local flat, order = ops.reshape(input, -1), nil
  if sorts then flat, order = ops.sort(flat) end
  local first, inverse, counts = runs(flat, order)
  return results(ops.index_select(flat, 0, first), ops.reshape(inverse, input.shape), counts, with_inverse, with_counts)
end

local function of_slices(input, dim, with_inverse, with_counts, sorts)
  local slices = ops.contiguous(ops.transpose(input, dim, 0))
  local n = slices:size(0)
  local rows = ops.reshape(slices, {n, n > 0 and slices:numel() / n or 0})
  local order = sorts and n > 0 and order_of_rows(rows) or nil
  if order then slices, rows = ops.index_select(slices, 0, order), ops.index_select(rows, 0, order) end
  local first, inverse, counts = runs(rows, order)
  return results(ops.transpose(ops.index_select(slices, 0, first), dim, 0), inverse, counts, with_inverse, with_counts)
end

local function find(name, input, dim, ...)
  input = input:detach()
  if dim == nil then return of_elements(input, ...) end
  if input:dim() == 0 then arguments.fail(name .. ": a tensor without dimensions has no slices along one") end
  return of_slices(input, dim, ...)
end

declare("unique", {
  several = true,
  doc = "The different elements in rising order, or with dim the different slices along it; return_inverse: also where among them each element, or slice, is; "
    .. "return_counts: also how often each occurs.",
  takes = "input:tensor, sorted:bool=true, return_inverse:bool=false, return_counts:bool=false, dim:int?",
  call = function(input, _, with_inverse, with_counts, dim) return find("unique", input, dim, with_inverse, with_counts, true) end,
})

declare("unique_consecutive", {
  several = true,
  doc = "As unique, but equal elements or slices count as one only where they stand side by side; the order stays.",
  takes = "input:tensor, return_inverse:bool=false, return_counts:bool=false, dim:int?",
  call = function(input, with_inverse, with_counts, dim) return find("unique_consecutive", input, dim, with_inverse, with_counts, false) end,
})

return unique
