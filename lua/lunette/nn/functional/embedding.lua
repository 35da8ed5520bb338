--- Embedding as a function.

local arguments = require("lunette.arguments")
local integers = require("lunette.nn.functional.integers")
local ops = require("lunette.ops")

local fail = arguments.fail

-- Rows of weight that are looked up and longer than max_norm are shortened, in place.
local function shorten_rows(weight, ids, max_norm, norm_type)
  local index = ids:reshape(-1)
  local rows_used = weight.data:index_select(0, index)
  local norms = rows_used:norm(norm_type, 1, true)
  weight.data[index] = ops.where(norms:gt(max_norm), rows_used * (max_norm / (norms + 1e-7)), rows_used)
end

-- The same values, with gradients divided by how often their id occurs.
local function share_gradient(y, ids, n)
  local index = ids:reshape(-1)
  local create = require("lunette.create")
  local counts = create.zeros({n}, {dtype = y.dtype, device = y.device})
  counts = counts:index_add(0, index, create.ones({index:numel()}, {dtype = y.dtype, device = y.device}))
  local share = counts:index_select(0, index):reciprocal():view(ids.shape):unsqueeze(-1)
  return y * share + (y * (1 - share)):detach()
end

local function padding_row(padding_idx, n)
  if padding_idx == nil then return -1 end
  if padding_idx < -n or padding_idx >= n then
    fail(("embedding: padding_idx %d is out of range for %d rows (ids start at 0)"):format(padding_idx, n))
  end
  return padding_idx < 0 and padding_idx + n or padding_idx
end

return function(_, define)
  define("embedding", {
    doc = "Rows of weight at the ids input; the row padding_idx gets no gradient, rows longer than max_norm are first shortened in place. "
      .. "Gradients are dense: sparse = true is refused.",
    takes = "input:tensor, weight, padding_idx?, max_norm:number?, norm_type:number=2, scale_grad_by_freq:bool=false, sparse:bool=false",
    call = function(ids, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
      if sparse then fail("embedding: there are no sparse gradients; leave sparse = true out") end
      ids = integers("embedding", "ids", ids)
      if weight._p.ndim ~= 2 then fail(("embedding: weight must have 2 dimensions, not shape %s"):format(tostring(weight.shape))) end
      if max_norm and ids:numel() > 0 then shorten_rows(weight, ids, max_norm, norm_type) end
      local y = ops.embedding(weight, ids, padding_row(padding_idx, tonumber(weight._p.shape[0])))
      if scale_grad_by_freq and y.requires_grad and ids:numel() > 0 then return (share_gradient(y, ids, weight.shape[0])) end
      return y
    end,
  })
end
