--- Tensors joined, parted and repeated, and the shapes of several: what is made of operators and takes or gives arrays.

local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local define = require("lunette.define")
local ops = require("lunette.ops")
local Size = require("lunette.size")

local fail, is_tensor = base.fail, base.is_tensor
local ipairs, tostring, type, max = ipairs, tostring, type, math.max

local shapes = {}
local declare = define.into(shapes, "lt")

-- Shared -----------------------------------------------------------------------------------------------------------------------------------

-- The dim, counted from the front, of n.
local function wrap_dim(name, dim, n)
  if dim < -n or dim >= n then fail(("%s: dim %d is out of range for a tensor of %d dimensions (dims start at 0)"):format(name, dim, n)) end
  return dim < 0 and dim + n or dim
end

-- Tensors given one by one, or as one array.
local function listed(name, ...)
  local first = ...
  local list = is_tensor(first) and {...} or first
  if type(list) ~= "table" then fail(("%s: tensors or an array of them are expected, got %s"):format(name, arguments.describe(list))) end
  for i = 1, is_tensor(first) and select("#", ...) or #list do
    if not is_tensor(list[i]) then fail(("%s: tensor %d is %s"):format(name, i - 1, arguments.describe(list[i]))) end
  end
  if not is_tensor(first) and select("#", ...) > 1 then fail(name .. ": one array, or tensors one by one") end
  return list
end

-- Enters a function that takes tensors one by one or as an array.
local function of_tensors(name, doc, call)
  shapes[name] = require("lunette.catalog").add(function(...) return call(listed(name, ...)) end,
    {name = "lt." .. name, signature = "tensors:tensors", doc = doc})
end

local function need_some(name, list)
  if #list == 0 then fail(name .. ": at least one tensor is needed") end
end

local function each_of(list, fn)
  local out = {}
  for i, t in ipairs(list) do out[i] = fn(t) end
  return out
end

-- At least so many dimensions ------------------------------------------------------------------------------------------------------------------

local function at_least_1d(t) return t:dim() == 0 and t:reshape(1) or t end
local function at_least_2d(t) return t:dim() < 2 and at_least_1d(t):unsqueeze(0) or t end
local function at_least_3d(t) return t:dim() < 3 and at_least_2d(t):unsqueeze(-1) or t end

for n, at_least in ipairs{at_least_1d, at_least_2d, at_least_3d} do
  local name = ("atleast_%dd"):format(n)
  shapes[name] = require("lunette.catalog").add(function(...)
    local list = listed(name, ...)
    local out = each_of(list, at_least)
    return select("#", ...) == 1 and is_tensor((...)) and out[1] or out
  end, {name = "lt." .. name, signature = "tensors:tensors",
    doc = ("A view of a tensor with at least %d dimension%s, new ones being of size 1; of several tensors an array."):format(n, n > 1 and "s" or "")})
end

-- Joined ---------------------------------------------------------------------------------------------------------------------------------------

local function joined(name, doc, prepare, dim_of)
  declare(name, {
    doc = doc, takes = "tensors:tensors",
    call = function(list)
      need_some(name, list)
      list = each_of(list, prepare)
      return ops.cat(list, dim_of(list[1]))
    end,
  })
end

joined("hstack", "The tensors side by side: along dimension 1, vectors along 0.", at_least_1d, function(t) return t:dim() == 1 and 0 or 1 end)
joined("vstack", "The tensors below each other: along dimension 0, vectors as rows.", at_least_2d, function() return 0 end)
joined("row_stack", "The tensors below each other, as vstack does it.", at_least_2d, function() return 0 end)
joined("dstack", "The tensors behind each other: along dimension 2.", at_least_3d, function() return 2 end)
joined("column_stack", "The tensors side by side, vectors as columns.", function(t) return t:dim() < 2 and t:reshape(-1, 1) or t end, function() return 1 end)

local function check_block(t, i)
  if t:dim() > 2 then fail(("block_diag: tensors of at most 2 dimensions are expected, tensor %d has shape %s"):format(i - 1, tostring(t.shape))) end
end

of_tensors("block_diag", "The matrices along the diagonal of a larger one that is 0 elsewhere; vectors count as rows, numbers as 1 by 1.", function(list)
  local columns, rows, at = 0, {}, 0
  if #list == 0 then return ops.full({1, 0}, 0) end
  for i, t in ipairs(list) do
    check_block(t, i)
    rows[i] = at_least_2d(t)
    columns = columns + rows[i]:size(1)
  end
  for i, t in ipairs(rows) do
    local width = t:size(1)
    rows[i] = ops.pad_constant(t, {at, columns - at - width})
    at = at + width
  end
  return ops.cat(rows, 0)
end)

local function check_vectors(name, list)
  need_some(name, list)
  for i, t in ipairs(list) do
    if t:dim() ~= 1 then fail(("%s: vectors are expected, tensor %d has shape %s"):format(name, i - 1, tostring(t.shape))) end
  end
end

of_tensors("cartesian_prod", "All combinations of one element of each vector, a row each, the last vector's element changing fastest.", function(list)
  check_vectors("cartesian_prod", list)
  if #list == 1 then return list[1] end
  return ops.stack(each_of(require("lunette").meshgrid(list), function(grid) return grid:reshape(-1) end), 1)
end)

declare("combinations", {
  doc = "All combinations of r elements of a vector, a row each, in the order of the vector; with_replacement: elements may repeat.",
  takes = "input:tensor, r:int>=0=2, with_replacement:bool=false",
  call = function(input, r, with_replacement)
    check_vectors("combinations", {input})
    if r == 0 then return ops.full({0}, 0, input.dtype, input.device) end
    local places, follows = {}, with_replacement and ops.ge or ops.gt
    for i = 1, r do places[i] = ops.arange(0, input:size(0), 1, "int64", input.device) end
    local grids, kept = require("lunette").meshgrid(places), nil
    for i = 2, r do
      local both = follows(grids[i], grids[i - 1])
      kept = kept and ops.logical_and(kept, both) or both
    end
    return ops.stack(each_of(grids, function(grid) return input:index_select(0, kept and grid:masked_select(kept) or grid) end), 1)
  end,
})

-- Parted ---------------------------------------------------------------------------------------------------------------------------------------

local function split_evenly(t, n, dim)
  if n < 1 then fail(("tensor_split: the number of sections must be above 0, got %d"):format(n)) end
  local size, pieces, at = t:size(dim), {}, 0
  local least = math.floor(size / n)
  for i = 1, n do
    local length = least + (i <= size % n and 1 or 0)
    pieces[i], at = ops.narrow(t, dim, at, length), at + length
  end
  return pieces
end

local function split_at(t, list, dim)
  local pieces, from = {}, 0
  for i, at in ipairs(list) do pieces[i], from = ops.slice(t, dim, from, at), at end
  pieces[#pieces + 1] = ops.slice(t, dim, from)
  return pieces
end

-- A number of sections, or an array of places.
local function places_of(given)
  if is_tensor(given) then
    if given:dim() > 1 or given.dtype ~= "int64" then
      fail(("tensor_split: sections or indices are an int64 tensor of at most 1 dimension, got %s"):format(arguments.describe(given)))
    end
    return given:tolist()
  end
  return Size.is_size(given) and given:totable() or given
end

local function tensor_split(t, given, dim)
  local places = places_of(given)
  return (type(places) == "number" and split_evenly or split_at)(t, places, dim)
end

declare("tensor_split", {
  doc = "An array of views along dim: so many of nearly equal size, the first ones larger by 1; or the pieces between the places of an array.",
  takes = "input:tensor, indices_or_sections:ints|tensor, dim:int=0",
  call = function(t, given, dim) return tensor_split(t, given, wrap_dim("tensor_split", dim, t:dim())) end,
})

local function split_along(name, doc, least, dim_of)
  declare(name, {
    doc = doc, takes = "input:tensor, indices_or_sections:ints",
    call = function(t, given)
      if t:dim() < least then
        fail(("%s: a tensor of at least %d dimension%s is expected, got shape %s"):format(name, least, least > 1 and "s" or "", tostring(t.shape)))
      end
      local dim = dim_of(t)
      if type(given) == "number" and (given < 1 or t:size(dim) % given ~= 0) then
        fail(("%s: dimension %d with size %d is not divisible into %d sections"):format(name, dim, t:size(dim), given))
      end
      return tensor_split(t, given, dim)
    end,
  })
end

split_along("hsplit", "As tensor_split along dimension 1, of a vector along 0, into sections of one size.", 1, function(t) return t:dim() == 1 and 0 or 1 end)
split_along("vsplit", "As tensor_split along dimension 0, into sections of one size.", 2, function() return 0 end)
split_along("dsplit", "As tensor_split along dimension 2, into sections of one size.", 3, function() return 2 end)

-- Broadcasting -----------------------------------------------------------------------------------------------------------------------------------

-- The broadcast of shapes, arrays all.
local function broadcast(name, list)
  local n, out = 0, {}
  for _, shape in ipairs(list) do n = max(n, #shape) end
  for d = 1, n do
    local size = 1
    for _, shape in ipairs(list) do
      local own = shape[#shape - n + d] or 1
      if own ~= 1 and size ~= 1 and own ~= size then
        local words = each_of(list, function(s) return "{" .. table.concat(s, ", ") .. "}" end)
        fail(("%s: shapes %s cannot be broadcast"):format(name, table.concat(words, ", ")))
      end
      size = own ~= 1 and own or size
    end
    out[d] = size
  end
  return out
end

--- The shape that tensors of these shapes are broadcast to, as a Size. Shapes are arrays, Sizes or numbers, one by one.
function shapes.broadcast_shapes(...)
  local list = {}
  for i = 1, select("#", ...) do
    local shape = select(i, ...)
    local array = type(shape) == "number" and {shape} or Size.is_size(shape) and shape:totable() or shape
    local good = type(array) == "table"
    for _, size in ipairs(good and array or {}) do good = good and arguments.is_int(size) and size >= 0 end
    if not good then fail(("broadcast_shapes: shape %d is %s"):format(i - 1, arguments.describe(shape))) end
    list[i] = array
  end
  return Size.Size(broadcast("broadcast_shapes", list))
end

of_tensors("broadcast_tensors", "An array of the tensors expanded to the shape that they are broadcast to.", function(list)
  local shape = broadcast("broadcast_tensors", each_of(list, function(t) return t.shape:totable() end))
  return each_of(list, function(t) return ops.expand(t, shape) end)
end)

declare("take_along_dim", {
  doc = "The elements of input at indices along dim, both broadcast in the other dimensions; without dim, of input in row-major order.",
  takes = "input:tensor, indices:tensor, dim:int?",
  call = function(input, indices, dim)
    if dim == nil then return ops.gather(input:reshape(-1), 0, indices:reshape(-1)) end
    local n = input:dim()
    if n ~= indices:dim() then
      local both = ("%s and %s"):format(tostring(input.shape), tostring(indices.shape))
      fail(("take_along_dim: input and indices must have the same number of dimensions, got shapes %s"):format(both))
    end
    dim = wrap_dim("take_along_dim", dim, n)
    local own, wanted = input.shape:totable(), indices.shape:totable()
    own[dim + 1], wanted[dim + 1] = 1, 1
    local shape, wide = broadcast("take_along_dim", {own, wanted}), {}
    for d = 1, n do wide[d] = shape[d] end
    shape[dim + 1], wide[dim + 1] = input:size(dim), indices:size(dim)
    return ops.gather(ops.expand(input, shape), dim, ops.expand(indices, wide))
  end,
})

-- Reshaped and repeated ----------------------------------------------------------------------------------------------------------------------------

declare("unflatten", {
  doc = "A view with one dimension as several of these sizes, of which one may be -1.", takes = "input:tensor, dim:int, sizes:size",
  call = function(input, dim, sizes)
    local shape, out, known, open = input.shape:totable(), {}, 1, nil
    dim = wrap_dim("unflatten", dim, #shape)
    sizes = Size.is_size(sizes) and sizes:totable() or sizes
    if #sizes == 0 then fail("unflatten: sizes are missing") end
    for i, size in ipairs(sizes) do
      if size == -1 and not open then open = i else known = known * size end
    end
    local fits = known >= 0 and (open and known > 0 and shape[dim + 1] % known == 0 or not open and known == shape[dim + 1])
    if not fits then
      fail(("unflatten: the sizes {%s} do not make dimension %d with size %d"):format(table.concat(sizes, ", "), dim, shape[dim + 1]))
    end
    for d = 1, dim do out[d] = shape[d] end
    for i, size in ipairs(sizes) do out[#out + 1] = i == open and shape[dim + 1] / known or size end
    for d = dim + 2, #shape do out[#out + 1] = shape[d] end
    return ops.view(input, out)
  end,
})

-- Every slice along dim n times.
local function repeat_each(t, n, dim)
  local shape, wide = t.shape:totable(), {}
  for d = 1, #shape do wide[d < dim + 2 and d or d + 1] = shape[d] end
  wide[dim + 2], shape[dim + 1] = n, shape[dim + 1] * n
  return ops.reshape(ops.expand(ops.unsqueeze(t, dim + 1), wide), shape)
end

-- 0 as often as repeats[0] says, then 1 ...: a mark where each number begins, added up.
local function repeated_places(repeats, output_size)
  if repeats.dtype ~= "int64" and repeats.dtype ~= "int32" then fail(("repeat_interleave: repeats must be int64 or int32, got %s"):format(repeats.dtype)) end
  if repeats:dim() ~= 1 then fail(("repeat_interleave: repeats must be a vector, got shape %s"):format(tostring(repeats.shape))) end
  repeats = repeats:long()
  if repeats:numel() > 0 and repeats:min():item() < 0 then fail("repeat_interleave: repeats must not be negative") end
  local ends = repeats:cumsum(0)
  local total = repeats:numel() > 0 and ends[-1]:item() or 0
  if output_size and output_size ~= total then fail(("repeat_interleave: output_size is %d, repeats add up to %d"):format(output_size, total)) end
  local marks = ops.full({total + 1}, 0, "int64", repeats.device)
  return marks:index_add(0, ends, ops.full({repeats:numel()}, 1, "int64", repeats.device)):cumsum(0):narrow(0, 0, total)
end

local function repeat_interleave(t, repeats, dim, output_size)
  if dim == nil then t, dim = t:reshape(-1), 0 end
  t = at_least_1d(t)
  dim = wrap_dim("repeat_interleave", dim, t:dim())
  local size = t:size(dim)
  if is_tensor(repeats) and repeats:numel() == 1 then repeats = repeats:reshape(1):expand(size) end
  if type(repeats) == "number" then
    if output_size and output_size ~= repeats * size then
      fail(("repeat_interleave: output_size is %d, repeats add up to %d"):format(output_size, repeats * size))
    end
    return repeat_each(t, repeats, dim)
  end
  if repeats:dim() == 1 and repeats:size(0) ~= size then
    fail(("repeat_interleave: %d repeats are given for dimension %d with size %d"):format(repeats:size(0), dim, size))
  end
  return ops.index_select(t, dim, repeated_places(repeats, output_size))
end

declare("repeat_interleave", {
  doc = "Every slice along dim, without dim every element, so many times one after another, or as often as an int64 vector says for each; of repeats alone "
    .. "the indices of that. output_size: what the repeats add up to.",
  forms = {
    {takes = "input:tensor, repeats:int>=0|tensor, dim:int?, *, output_size:int>=0?", call = repeat_interleave},
    {takes = "repeats:tensor, *, output_size:int>=0?", call = repeated_places},
  },
})

return shapes
