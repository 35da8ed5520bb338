--- Embedding and EmbeddingBag as functions.

local arguments = require("lunette.arguments")
local integers = require("lunette.nn.functional.integers")
local ops = require("lunette.ops")

local fail = arguments.fail

-- Rows of weight that are looked up and longer than max_norm are shortened, in place.
local function shorten_rows(weight, ids, max_norm, norm_type)
  local index = ids:reshape(-1)
  if index:numel() == 0 then return end
  local rows_used = weight.data:index_select(0, index)
  local norms = rows_used:norm(norm_type, 1, true)
  weight.data[index] = ops.where(norms:gt(max_norm), rows_used * (max_norm / (norms + 1e-7)), rows_used)
end

-- The row for the operator, -1 for none; `name` is the function's.
local function padding_row(name, padding_idx, n)
  if padding_idx == nil then return -1 end
  if padding_idx < -n or padding_idx >= n then
    fail(("%s: padding_idx %d is out of range for %d rows (ids start at 0)"):format(name, padding_idx, n))
  end
  return padding_idx < 0 and padding_idx + n or padding_idx
end

-- Checks the table; how many rows it has.
local function rows_of(name, weight)
  if weight._p.ndim ~= 2 then fail(("%s: weight must have 2 dimensions, not shape %s"):format(name, tostring(weight.shape))) end
  return tonumber(weight._p.shape[0])
end

return function(_, define)
  define("one_hot", {
    doc = "Classes as rows of num_classes numbers, 1 in its place and 0 elsewhere; -1: as many as the largest class asks for.",
    takes = "tensor:tensor, num_classes:int=-1", call = function(t, n) return require("lunette.statistics").one_hot(t, n) end,
  })
  define("embedding", {
    doc = "Rows of weight at the ids input; the row padding_idx gets no gradient, rows longer than max_norm are first shortened in place; scale_grad_by_freq "
      .. "divides gradients by how often their id occurs, sparse makes that of weight a SparseTensor.",
    takes = "input:tensor, weight, padding_idx?, max_norm:number?, norm_type:number=2, scale_grad_by_freq, sparse",
    call = function(ids, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
      ids = integers("embedding", "ids", ids)
      local padding = padding_row("embedding", padding_idx, rows_of("embedding", weight))
      if max_norm then shorten_rows(weight, ids, max_norm, norm_type) end
      return (ops.embedding(weight, ids, padding, scale_grad_by_freq, sparse))
    end,
  })

  define("embedding_bag", {
    doc = "Sums, means or maxima of bags of rows of weight: each row of a matrix input is a bag, of a vector bag b begins at offsets[b] (with include_last_offset the "
      .. "last offset is an end). Rows at padding_idx do not count, a bag of none is 0; per_sample_weights multiplies the rows of a sum; max_norm, "
      .. "scale_grad_by_freq and sparse as in embedding.",
    takes = "input:tensor, weight, offsets, max_norm:number?, norm_type:number=2, scale_grad_by_freq, mode=mean, sparse, per_sample_weights, include_last_offset, "
      .. "padding_idx?",
    call = function(ids, weight, offsets, max_norm, norm_type, scale_grad_by_freq, mode, sparse, factors, include_last_offset, padding_idx)
      ids = integers("embedding_bag", "ids", ids)
      local padding = padding_row("embedding_bag", padding_idx, rows_of("embedding_bag", weight))
      if max_norm then shorten_rows(weight, ids, max_norm, norm_type) end
      return (ops.embedding_bag(weight, ids, offsets, factors, mode, padding, include_last_offset, scale_grad_by_freq, sparse))
    end,
  })
end
