--- Indexing and assignment: t[i], t["1:3, ..., ::2, None"], t[{i, lt.slice(a, b), mask, {0, 2}}], t[mask], t[index].
--
-- An index becomes a list of parts, one a dimension. Numbers, slices, None and "..." make a view; tensors and lists gather, together and as
-- PyTorch does: where they stand side by side the result's dimensions take their place, otherwise they come first.

local each = require("lunette.each")
local base = require("lunette.ffi")
local ops = require("lunette.ops")
local arguments = require("lunette.arguments")
local create = require("lunette.create")
local wrapper = require("lunette.wrapper")

local fail, is_tensor, pointer = base.fail, base.is_tensor, base.pointer
local type, tonumber, ipairs, rawequal = type, tonumber, ipairs, rawequal
local None = arguments.None

local indexing = {}

local Slice = {}
Slice.__index = Slice

--- Elements start, start + step, ... below stop; nil leaves an end open. For use inside t[{...}].
function indexing.slice(start, stop, step)
  for _, v in ipairs {start or 0, stop or 0, step or 1} do
    if type(v) ~= "number" or v % 1 ~= 0 then fail("slice: whole numbers or nil are expected, got " .. arguments.describe(v)) end
  end
  return setmetatable({start = start, stop = stop, step = step}, Slice)
end

-- From an index to parts -------------------------------------------------------------------------------------------------------------------

-- Texts that were read: their parts. `view` is the slice that a text consists of.
local parsed, n_parsed = base.index_texts, 0
local MOST = 1000 -- texts that are made anew for each call must not fill the memory

local function parse_word(word, text)
  if word == "..." then return "..." end
  if word == "None" then return None end
  if word:match("^%-?%d+$") then return tonumber(word) end
  local a, b, c = word:match("^(%-?%d*)%s*:%s*(%-?%d*)%s*:?%s*(%-?%d*)$")
  if not a or a == "-" or b == "-" or c == "-" then
    fail(("the index %q has a part %q that is no number, slice, None or ..."):format(text, word))
  end
  return indexing.slice(tonumber(a), tonumber(b), tonumber(c))
end

--- The parts of a text such as "1:3, ..., ::2, None".
local function parse(text)
  local parts = parsed[text]
  if parts then return parts end
  parts = {}
  for word in (text .. ","):gmatch("%s*(.-)%s*,") do
    if word == "" then fail(("the index %q has an empty part"):format(text)) end
    parts[#parts + 1] = parse_word(word, text)
  end
  if n_parsed == MOST then
    for known in each(parsed) do parsed[known] = nil end
    n_parsed = 0
  end
  parsed[text], n_parsed = parts, n_parsed + 1
  local only = #parts == 1 and parts[1]
  if getmetatable(only) == Slice and (only.start or only.stop or only.step) then parts.view = only end
  return parts
end

--- A list inside the tuple, as an index tensor.
local function gathered(list)
  if #list == 0 then fail("an empty list selects nothing: use a slice such as \"0:0\"") end
  local first = list
  for _ = 1, 16 do -- deeper ones, also a list that contains itself, are no tensor
    if type(first) == "table" then first = first[1] end
  end
  return create.tensor(list, {dtype = type(first) == "boolean" and "bool" or "int64"})
end

local function check_part(part)
  local kind = type(part)
  if kind == "number" then
    if part % 1 ~= 0 then fail("an index must be a whole number, got " .. part) end
    return part
  end
  if rawequal(part, "...") or rawequal(part, None) or getmetatable(part) == Slice then return part end
  if is_tensor(part) then return part end
  if kind == "string" then
    local words = parse(part)
    if #words == 1 then return words[1] end
  end
  if kind == "table" then return gathered(part) end
  fail("a tensor cannot be indexed with " .. arguments.describe(part))
end

local function parts_of(key)
  local kind = type(key)
  if kind == "string" then return parse(key) end
  if kind == "table" and getmetatable(key) == nil then
    local parts = {}
    if #key == 0 then fail("an empty index: write t[\"...\"] for the whole tensor") end
    for i = 1, #key do parts[i] = check_part(key[i]) end
    return parts
  end
  return {check_part(key)}
end

-- Applying parts ---------------------------------------------------------------------------------------------------------------------------

local function consumed(part)
  if rawequal(part, "...") or rawequal(part, None) then return 0 end
  if is_tensor(part) and pointer(part).dtype == 9 then return pointer(part).ndim end
  return 1
end

--- A bool mask as the int64 vectors of its true places, checked against the dimensions that it covers.
local function mask_indices(t, mask, dim)
  local shape = pointer(t).shape
  local m = pointer(mask)
  for d = 0, m.ndim - 1 do
    if m.shape[d] ~= shape[dim + d] then
      fail(("the mask of shape %s does not go with the tensor of shape %s at dimension %d"):format(tostring(mask.shape), tostring(t.shape), dim))
    end
  end
  return ops.nonzero(mask):unbind(1)
end

--- Runs through the parts with view operators; what gathers is collected as {dim, tensor}.
local function apply_views(t, parts)
  local need, ellipsis = 0, false
  for _, part in ipairs(parts) do
    need = need + consumed(part)
    if rawequal(part, "...") then
      if ellipsis then fail("an index can have one ... only") end
      ellipsis = true
    end
  end
  local ndim = pointer(t).ndim
  if need > ndim then fail(("too many indices: %d for a tensor of %d dimensions"):format(need, ndim)) end
  local dim, gathers = 0, {}
  for _, part in ipairs(parts) do
    if type(part) == "number" then
      t = ops.select(t, dim, part)
    elseif rawequal(part, None) then
      t = ops.unsqueeze(t, dim)
      dim = dim + 1
    elseif rawequal(part, "...") then
      dim = dim + ndim - need
    elseif getmetatable(part) == Slice then
      if part.start or part.stop or part.step then t = ops.slice(t, dim, part.start, part.stop, part.step) end
      dim = dim + 1
    elseif pointer(part).dtype == 9 then
      if pointer(part).ndim == 0 then fail("a 0-dim bool tensor is no index") end
      for _, places in ipairs(mask_indices(t, part, dim)) do
        gathers[#gathers + 1] = {dim, places}
        dim = dim + 1
      end
    else
      if pointer(part).dtype <= 3 then fail(("an index tensor must be int64 or bool, not %s (make it with lt.LongTensor or :long())"):format(part.dtype)) end
      gathers[#gathers + 1] = {dim, part:long()}
      dim = dim + 1
    end
  end
  return t, gathers
end

--- Brings the gathered dimensions side by side: the tensor, its first gathered dim, and the index tensors. `back` undoes the move.
local function together(t, gathers)
  local first, adjacent = gathers[1][1], true
  local indices = {}
  for i, g in ipairs(gathers) do
    adjacent = adjacent and g[1] == first + i - 1
    indices[i] = g[2]
  end
  if adjacent then return t, first, indices end
  local order, taken = {}, {}
  for i, g in ipairs(gathers) do
    order[i] = g[1]
    taken[g[1]] = true
  end
  for d = 0, pointer(t).ndim - 1 do
    if not taken[d] then order[#order + 1] = d end
  end
  return ops.permute(t, order), 0, indices
end

function indexing.get(t, key)
  if type(key) == "number" then
    if key % 1 ~= 0 then fail("an index must be a whole number, got " .. key) end
    return ops.select(t, 0, key)
  end
  local known = parsed[key]
  if known and known.view and pointer(t).ndim > 0 then return (ops.slice(t, 0, known.view.start, known.view.stop, known.view.step)) end
  local view, gathers = apply_views(t, parts_of(key))
  if #gathers == 0 then return view end
  local moved, dim, indices = together(view, gathers)
  return ops.index(moved, dim, indices)
end

function indexing.set(t, key, value)
  local kind = type(value)
  if not is_tensor(value) and kind ~= "number" and kind ~= "boolean" and kind ~= "cdata" then
    if kind ~= "table" then fail("a tensor or a number can be assigned to an index, not " .. arguments.describe(value)) end
    value = create.tensor(value, {dtype = t.dtype, device = t.device})
  end
  local view, gathers = apply_views(t, type(key) == "number" and {key} or parts_of(key))
  if #gathers == 0 then
    if is_tensor(value) then view:copy_(value) else view:fill_(value) end
    return
  end
  local moved, dim, indices = together(view, gathers)
  if not is_tensor(value) then value = create.full({}, kind == "boolean" and (value and 1 or 0) or value, {dtype = t.dtype, device = t.device}) end
  ops.index_put_(moved, value, dim, false, indices)
end

-- index_put, PyTorch's way of saying t[indices] = values --------------------------------------------------------------------------------------

local PUT = "self:tensor, indices:table, values:tensor, accumulate:bool=false"

-- Writes into t; `name` is what was called, `write` the operator in place.
local function put(name, write, t, indices, values, accumulate)
  for i, index in ipairs(indices) do
    if not is_tensor(index) then fail(("%s: index %d is no tensor but %s"):format(name, i - 1, arguments.describe(index))) end
  end
  local view, gathers = apply_views(t, indices)
  if values.dtype ~= t.dtype then fail(("%s: the values are %s, the tensor is %s"):format(name, values.dtype, t.dtype)) end
  if #gathers == 0 then fail(name .. ": the indices are an array of int64 or bool tensors") end
  local moved, dim, places = together(view, gathers)
  write(moved, values, dim, accumulate, places)
  return t
end

local parse_put, write_copy = arguments.signature("index_put", PUT), wrapper.compile(ops.info.index_put, "index_put", true)

--- A copy of t whose elements at `indices`, an array of int64 tensors broadcast together or bool masks, are `values`, or have them added.
function indexing.index_put(...)
  local t, indices, values, accumulate = parse_put(...)
  return put("index_put", write_copy, ops.clone(t), indices, values, accumulate)
end

local parse_put_in_place = arguments.signature("index_put_", PUT)

--- The same in t itself.
function indexing.index_put_(...) return put("index_put_", ops.index_put_, parse_put_in_place(...)) end

return indexing
