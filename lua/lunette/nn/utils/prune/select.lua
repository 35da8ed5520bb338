--- The k smallest of many numbers.

local ffi = require("ffi")

local huge = math.huge
local select = {}

-- Orders p[low ... high] so that place k holds what sorting would put there. The pivot is the middle one of three.
local function settle(p, low, high, k)
  while low < high do
    local a, b, c = p[low], p[(low + high - (low + high) % 2) / 2], p[high]
    local pivot = a < b and (b < c and b or (a < c and c or a)) or (a < c and a or (b < c and c or b))
    local i, j = low, high
    while i <= j do
      while p[i] < pivot do i = i + 1 end
      while p[j] > pivot do j = j - 1 end
      if i <= j then
        p[i], p[j] = p[j], p[i]
        i, j = i + 1, j - 1
      end
    end
    if k <= j then high = j elseif k >= i then low = i else return end
  end
end

-- The k-th smallest element, k from 1.
local function kth(t, k)
  local on_cpu = t:to("cpu"):to("float64"):contiguous()
  local n = on_cpu:numel()
  local copy = ffi.new("double[?]", n)
  ffi.copy(copy, on_cpu:data_ptr(), n * 8)
  settle(copy, 0, n - 1, k - 1)
  return copy[k - 1]
end

--- Where the k smallest elements of a tensor stand: a bool tensor of its shape with k times true. Of equal ones those that stand first; NaN counts as the
--- largest.
function select.smallest(t, k)
  if k <= 0 then return t:ne(t):logical_and(false) end
  local flat = t:detach():reshape(-1):double()
  flat = flat:masked_fill(flat:isnan(), huge)
  local limit = kth(flat, k)
  local below, equal = flat:lt(limit), flat:eq(limit)
  local room = k - below:sum():item()
  return below:logical_or(equal:logical_and(equal:long():cumsum(0):le(room))):reshape(t.shape)
end

return select
