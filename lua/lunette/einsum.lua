--- einsum: products of several tensors by an equation.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local ops = require("lunette.ops")

local fail, is_tensor = base.fail, base.is_tensor
local ipairs, tonumber, tostring, type, unpack = ipairs, tonumber, tostring, type, unpack

local products = {}

-- The equation of einsum ---------------------------------------------------------------------------------------------------------------------

-- The subscripts of "ab...c" as an array, "..." being one of them.
local function read_term(text, equation)
  local out, at = {}, 1
  while at <= #text do
    local c = text:sub(at, at)
    if text:sub(at, at + 2) == "..." then
      c = "..."
    elseif not c:find("^%a$") then
      fail(("einsum: %q in the equation %q is no subscript; these are letters and ..."):format(c, equation))
    end
    for _, seen in ipairs(out) do
      if c == "..." and seen == c then fail(("einsum: a second ... in the term %q of the equation %q"):format(text, equation)) end
    end
    out[#out + 1], at = c, at + #c
  end
  return out
end

-- The terms of the operands, and that of the result or nil.
local function read_equation(equation)
  local text = equation:gsub("%s+", "")
  local left, right = text, nil
  if text:find("->", 1, true) then left, right = text:match("^(.-)%->(.*)$") end
  local terms = {}
  for term in (left .. ","):gmatch("([^,]*),") do terms[#terms + 1] = read_term(term, equation) end
  return terms, right and read_term(right, equation)
end

-- A term with its ... as the labels "-k" ... "-1" of the dimensions that it stands for, counted from the last one.
local function labelled(term, t, i)
  local out, more = {}, t:dim() - #term
  local dots = table.concat(term, " "):find("...", 1, true)
  if dots then more = more + 1 end
  if more < 0 or more > 0 and not dots then
    fail(("einsum: %d subscripts stand for %d dimensions of operand %d of shape %s%s"):format(#term - (dots and 1 or 0), t:dim(), i - 1, tostring(t.shape),
      dots and "" or " and there is no ..."))
  end
  for _, label in ipairs(term) do
    if label ~= "..." then out[#out + 1] = label else for k = more, 1, -1 do out[#out + 1] = tostring(-k) end end
  end
  return out
end

-- The diagonals of labels that stand twice: the tensor and the labels without repetition.
local function without_repetition(t, labels)
  local i = 1
  while i <= #labels do
    for k = #labels, i + 1, -1 do
      if labels[k] == labels[i] then
        local label = labels[i]
        if t:size(i - 1) ~= t:size(k - 1) then
          fail(("einsum: the subscript %s stands for dimensions of %d and %d elements of one operand"):format(label, t:size(i - 1), t:size(k - 1)))
        end
        t = t:diagonal(0, i - 1, k - 1)
        table.remove(labels, k)
        table.remove(labels, i)
        labels[#labels + 1] = label
        return without_repetition(t, labels)
      end
    end
    i = i + 1
  end
  return t, labels
end

-- label -> its size: the one that is not 1.
local function sizes_of(operands)
  local sizes = {}
  for i, x in ipairs(operands) do
    for d, label in ipairs(x.labels) do
      local size, known = x.t:size(d - 1), sizes[label]
      if known and known ~= 1 and size ~= 1 and known ~= size then
        local words = label:find("^%-") and "a dimension of ..." or "the subscript " .. label
        fail(("einsum: %s has %d elements in operand %d and %d before"):format(words, size, i - 1, known))
      end
      sizes[label] = (not known or known == 1) and size or known
    end
  end
  return sizes
end

-- Dimensions of 1 element that others have more of are left out: that is broadcasting.
local function without_ones(x, sizes)
  local labels = {}
  for d = #x.labels, 1, -1 do
    if x.t:size(d - 1) == 1 and sizes[x.labels[d]] ~= 1 then
      x.t = x.t:squeeze(d - 1)
    else
      table.insert(labels, 1, x.labels[d])
    end
  end
  x.labels = labels
end

-- The labels of the result where the equation does not say them: the dimensions of ..., then what stands once, in order.
local function implied(terms, sizes)
  local dots, once, count = {}, {}, {}
  for _, labels in ipairs(terms) do
    for _, label in ipairs(labels) do count[label] = (count[label] or 0) + 1 end
  end
  for label in each(sizes) do
    if label:find("^%-") then dots[#dots + 1] = label elseif count[label] == 1 then once[#once + 1] = label end
  end
  table.sort(dots, function(a, b) return tonumber(a) < tonumber(b) end)
  table.sort(once)
  for _, label in ipairs(once) do dots[#dots + 1] = label end
  return dots
end

-- Those that it says.
local function stated(term, sizes, equation)
  local out, seen, most = {}, {}, 0
  while sizes[tostring(-most - 1)] do most = most + 1 end
  for _, label in ipairs(term) do
    if seen[label] then fail(("einsum: the subscript %s stands twice in the result of %q"):format(label, equation)) end
    if label ~= "..." and not sizes[label] then fail(("einsum: the subscript %s of the result of %q belongs to no operand"):format(label, equation)) end
    seen[label] = true
    if label ~= "..." then out[#out + 1] = label else for k = most, 1, -1 do out[#out + 1] = tostring(-k) end end
  end
  return out
end

-- Contraction -------------------------------------------------------------------------------------------------------------------------------------

local function set_of(list)
  local set = {}
  for i, label in ipairs(list) do set[label] = i end
  return set
end

-- Sums over the labels that nobody asks for any more.
local function summed(x, wanted)
  local dims, labels = {}, {}
  for d, label in ipairs(x.labels) do
    if wanted[label] then labels[#labels + 1] = label else dims[#dims + 1] = d - 1 end
  end
  return #dims > 0 and {t = ops.sum(x.t, dims, false, x.t.dtype), labels = labels} or x
end

-- The tensor with its labels in three groups, each made one dimension.
local function grouped(x, groups)
  local place, order, shape = set_of(x.labels), {}, {}
  for g, group in ipairs(groups) do
    shape[g] = 1
    for _, label in ipairs(group) do
      order[#order + 1] = place[label] - 1
      shape[g] = shape[g] * x.t:size(place[label] - 1)
    end
  end
  return ops.reshape(ops.permute(x.t, order), shape)
end

-- The product of two operands, summed over what both have and nobody wants: one product of batches of matrices.
local function multiplied(a, b, wanted)
  local in_a, in_b = set_of(a.labels), set_of(b.labels)
  local batch, rows, columns, inner, labels, shape = {}, {}, {}, {}, {}, {}
  for _, label in ipairs(a.labels) do
    local group = not in_b[label] and rows or wanted[label] and batch or inner
    group[#group + 1] = label
  end
  for _, label in ipairs(b.labels) do
    if not in_a[label] then columns[#columns + 1] = label end
  end
  for _, group in ipairs{batch, rows, columns} do
    for _, label in ipairs(group) do
      labels[#labels + 1] = label
      shape[#shape + 1] = in_a[label] and a.t:size(in_a[label] - 1) or b.t:size(in_b[label] - 1)
    end
  end
  local left, right = grouped(a, {batch, rows, inner}), grouped(b, {batch, inner, columns})
  local product = #inner > 0 and ops.bmm(left, right) or ops.mul(left, right)
  return {t = ops.reshape(product, shape), labels = labels}
end

-- The labels that the result or an operand from number `from` on has.
local function wanted_from(operands, from, result)
  local wanted = set_of(result)
  for i = from, #operands do
    for _, label in ipairs(operands[i].labels) do wanted[label] = true end
  end
  return wanted
end

local function contracted(operands, result)
  local x = summed(operands[1], wanted_from(operands, 2, result))
  for i = 2, #operands do
    local later = wanted_from(operands, i + 1, result)
    local here = wanted_from(operands, i + 1, result)
    for _, label in ipairs(x.labels) do here[label] = true end
    x = multiplied(x, summed(operands[i], here), later)
    x = summed(x, later)
  end
  return x
end

-- The result with its dimensions in order; one that broadcasting left out everywhere is of size 1.
local function in_order(x, result)
  local place, order, missing = set_of(x.labels), {}, {}
  for i, label in ipairs(result) do
    if place[label] then order[#order + 1] = place[label] - 1 else missing[#missing + 1] = i - 1 end
  end
  local t = ops.permute(x.t, order)
  for _, d in ipairs(missing) do t = ops.unsqueeze(t, d) end
  return t
end

local function check_operands(list, terms)
  if #list == 0 then fail("einsum: at least one operand is needed") end
  if #list ~= #terms then fail(("einsum: %d operands are given for %d terms of the equation"):format(#list, #terms)) end
  for i, t in ipairs(list) do
    if not is_tensor(t) then fail(("einsum: operand %d is %s"):format(i - 1, arguments.describe(t))) end
  end
end

--- Products of tensors summed as an equation of subscripts says, "bij,bjk->bik": a letter stands for a dimension, what stands in several terms is
-- multiplied along it, what the result leaves out is summed, ... stands for any further dimensions, which are broadcast, and a letter twice in a term
-- for a diagonal. Without -> the result has what stands once, in the order of the alphabet. Operands come one by one or as an array and are contracted
-- from left to right.
function products.einsum(equation, ...)
  if type(equation) ~= "string" then fail("einsum: an equation such as \"ij,jk->ik\" is expected first, got " .. arguments.describe(equation)) end
  local list = is_tensor((...)) and {...} or (...) or {}
  local terms, result = read_equation(equation)
  if type(list) ~= "table" then fail("einsum: operands are tensors or an array of them, got " .. arguments.describe(list)) end
  check_operands(list, terms)
  local operands, labels = {}, {}
  for i, t in ipairs(list) do
    labels[i] = labelled(terms[i], t, i)
    local x, own = without_repetition(t, {unpack(labels[i])})
    operands[i] = {t = x, labels = own}
  end
  local sizes = sizes_of(operands)
  result = result and stated(result, sizes, equation) or implied(labels, sizes)
  for _, x in ipairs(operands) do without_ones(x, sizes) end
  return in_order(contracted(operands, result), result)
end

return products
