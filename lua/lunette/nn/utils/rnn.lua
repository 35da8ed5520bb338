--- nn.utils.rnn: sequences of different lengths, padded to one tensor or packed step by step.
--
-- A packed sequence holds, for each step, the elements of all sequences that are long enough, the longest sequence first: so no step computes
-- padding. Where the sequences had to be sorted for that, sorted_indices says in which order they stand, and unsorted_indices leads back. Lengths of
-- 0 are allowed; the sequences are then counted by sorted_indices, as batch_sizes count only those that have a step.

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local create = require("lunette.create")
local define = require("lunette.define")
local ops = require("lunette.ops")

local fail, is_tensor = arguments.fail, arguments.is_tensor

local rnn = {}
local declare = define.into(rnn, "nn.utils.rnn")

local function longs(values, device) return create.tensor(values, {dtype = "int64", device = device}) end

-- PackedSequence -------------------------------------------------------------------------------------------------------------------------

local PackedSequence = class.define("nn.utils.rnn.PackedSequence", {
  doc = "What pack_padded_sequence and pack_sequence return: the elements step by step, and how many sequences have each step.",
  takes = "data:tensor, batch_sizes:tensor, sorted_indices:tensor?, unsorted_indices:tensor?",
  example = "> packed = nn.utils.rnn.pack_sequence{lt.tensor{1, 2, 3}, lt.tensor{4, 5}, lt.tensor{6}}\n> packed.data, packed.batch_sizes\n"
    .. "tensor([1., 4., 6., 2., 5., 3.])\ntensor([3, 2, 1])",
})
rnn.PackedSequence = PackedSequence
PackedSequence.is_packed = true

declare("invert_permutation", {
  doc = "The permutation that undoes another; nil for nil.",
  takes = "permutation:tensor?",
  call = function(permutation)
    if not permutation then return nil end
    return (ops.scatter(create.zeros_like(permutation), 0, permutation, create.arange(permutation.shape[0], {dtype = "int64", device = permutation.device})))
  end,
})

function PackedSequence:__init(...)
  local data, batch_sizes, sorted_indices, unsorted_indices = PackedSequence.__parse(...)
  if batch_sizes.dtype ~= "int64" or #batch_sizes.shape ~= 1 then
    fail(("PackedSequence: batch_sizes must be an int64 vector, not %s"):format(arguments.describe(batch_sizes)))
  end
  if batch_sizes.is_cuda then fail(("PackedSequence: batch_sizes must be on the cpu, not on %s"):format(batch_sizes.device)) end
  if sorted_indices and not unsorted_indices then unsorted_indices = rnn.invert_permutation(sorted_indices) end
  self.data, self.batch_sizes, self.sorted_indices, self.unsorted_indices = data, batch_sizes, sorted_indices, unsorted_indices
  self.is_cuda = data.is_cuda
end

local function python(value) return value == nil and "None" or tostring(value) end

function PackedSequence:__repr()
  return ("PackedSequence(data=%s, batch_sizes=%s, sorted_indices=%s, unsorted_indices=%s)"):format(
    python(self.data), python(self.batch_sizes), python(self.sorted_indices), python(self.unsorted_indices))
end

--- The same sequences with data of another dtype or on another device; the arguments are those of a tensor's `to`.
function PackedSequence:to(...)
  class.check_self(self, PackedSequence, "to")
  local data = self.data:to(...)
  if data == self.data then return self end
  local function there(indices) return indices and indices:to{device = data.device} end
  return PackedSequence(data, self.batch_sizes, there(self.sorted_indices), there(self.unsorted_indices))
end

for name, dtype in require("lunette.each")({
  float = "float32", double = "float64", half = "float16", bfloat16 = "bfloat16", char = "int8", short = "int16", int = "int32", long = "int64",
  byte = "uint8",
}) do
  --- The same sequences in the dtype that the method names.
  PackedSequence[name] = function(self) return self:to(dtype) end
end

--- The same on the cpu.
function PackedSequence:cpu() return self:to("cpu") end

--- The same on a CUDA device, the first unless one is named.
function PackedSequence:cuda(device) return self:to(device or "cuda") end

-- Lengths --------------------------------------------------------------------------------------------------------------------------------

-- Lengths, a tensor or an array, as an array of whole numbers from 0 to `most`.
local function read_lengths(owner, lengths, count, most)
  local list = type(lengths) == "number" and {lengths} or lengths
  if is_tensor(lengths) then
    if #lengths.shape ~= 1 or lengths.dtype:find("float", 1, true) or lengths.dtype == "bool" then
      fail(("%s: lengths must be a vector of whole numbers, not %s"):format(owner, arguments.describe(lengths)))
    end
    list = lengths:to("int64"):tolist()
  end
  if #list ~= count then fail(("%s: there are %d lengths for a batch of %d"):format(owner, #list, count)) end
  for i, n in ipairs(list) do
    n = tonumber(n)
    if not arguments.is_int(n) or n < 0 or n > most then
      fail(("%s: length %d is %s, not a whole number from 0 to %d"):format(owner, i - 1, tostring(n), most))
    end
    list[i] = n
  end
  return list
end

-- A copy of an array of numbers.
local function copied(list)
  local out = {}
  for i, n in ipairs(list) do out[i] = n end
  return out
end

-- The order of the lengths from long to short, equals as they stand: an array of positions from 0.
local function descending(lengths)
  local order = {}
  for i = 1, #lengths do order[i] = i end
  table.sort(order, function(a, b) return lengths[a] > lengths[b] or lengths[a] == lengths[b] and a < b end)
  for i = 1, #order do order[i] = order[i] - 1 end
  return order
end

local function is_descending(lengths)
  for i = 2, #lengths do
    if lengths[i] > lengths[i - 1] then return false end
  end
  return true
end

-- How many of the lengths, which descend, reach beyond step t, for each t.
local function sizes_of(lengths)
  local sizes, n = {}, #lengths
  for t = 1, lengths[1] or 0 do
    while lengths[n] < t do n = n - 1 end
    sizes[t] = n
  end
  return sizes
end

-- Where step t of sequence b, counted t * batch + b, is one of the packed ones: positions in the order in which they are packed.
local function positions(sizes, batch, device)
  local steps = #sizes
  local rows = create.arange(batch, {dtype = "int64", device = device})
  local inside = rows:unsqueeze(0):lt(longs(sizes, device):unsqueeze(1))
  return inside:reshape(steps * batch):nonzero():reshape(-1), inside
end

-- Packing --------------------------------------------------------------------------------------------------------------------------------

declare("pack_padded_sequence", {
  doc = "The sequences in input [T, B, ...], or [B, T, ...] with batch_first, as a PackedSequence; unless enforce_sorted they may stand in any order.",
  takes = "input:tensor, lengths:tensor|ints, batch_first:bool=false, enforce_sorted:bool=true",
  call = function(input, lengths, batch_first, enforce_sorted)
    if #input.shape < 2 then fail(("pack_padded_sequence: input must have at least 2 dimensions, got shape %s"):format(tostring(input.shape))) end
    if batch_first then input = input:transpose(0, 1) end
    local batch, sorted = input.shape[1], nil
    lengths = read_lengths("pack_padded_sequence", type(lengths) == "table" and copied(lengths) or lengths, batch, input.shape[0])
    if not enforce_sorted or lengths[batch] == 0 then
      local order, chosen = descending(lengths), {}
      if enforce_sorted and not is_descending(lengths) then order = nil end
      for i, b in ipairs(order or {}) do chosen[i] = lengths[b + 1] end
      if order then sorted, lengths = longs(order, input.device), chosen end
    end
    if not is_descending(lengths) then
      fail("pack_padded_sequence: lengths must descend, from long to short; {enforce_sorted = false} takes them in any order")
    end
    if batch == 0 or lengths[1] == 0 then fail("pack_padded_sequence: at least one sequence must have a step") end
    if sorted then input = input:index_select(1, sorted) end
    local sizes = sizes_of(lengths)
    local rows = input:narrow(0, 0, #sizes):flatten(0, 1)
    return PackedSequence(rows:index_select(0, (positions(sizes, batch, input.device))), longs(sizes, "cpu"), sorted)
  end,
})

declare("pad_packed_sequence", {
  doc = "A PackedSequence as a padded tensor [T, B, ...], or [B, T, ...] with batch_first, and the lengths; T is total_length where that is given.",
  takes = "sequence:packed, batch_first:bool=false, padding_value:number=0, total_length:int>=0?",
  several = true,
  call = function(sequence, batch_first, padding_value, total_length)
    local data, sizes, unsorted = sequence.data, sequence.batch_sizes:tolist(), sequence.unsorted_indices
    for t, n in ipairs(sizes) do sizes[t] = tonumber(n) end
    local batch = unsorted and unsorted.shape[0] or sizes[1]
    if total_length and total_length < #sizes then
      fail(("pad_packed_sequence: total_length %d is below the longest length %d"):format(total_length, #sizes))
    end
    local lengths = {}
    for b = 1, batch do lengths[b] = 0 end
    for _, n in ipairs(sizes) do
      for b = 1, n do lengths[b] = lengths[b] + 1 end
    end
    for t = #sizes + 1, total_length or 0 do sizes[t] = 0 end
    local rows, inside = positions(sizes, batch, data.device)
    local shape = {data.shape:unpack()}
    shape[1] = #sizes * batch
    local out = ops.full(shape, 0, data.dtype, data.device):index_add(0, rows, data)
    table.remove(shape, 1)
    out = out:reshape(#sizes, batch, unpack(shape))
    if padding_value ~= 0 then
      for _ = 1, #shape do inside = inside:unsqueeze(-1) end
      out = out:masked_fill(inside:logical_not(), padding_value)
    end
    local lengths_tensor = longs(lengths, "cpu")
    if unsorted then out, lengths_tensor = out:index_select(1, unsorted), lengths_tensor:index_select(0, unsorted:to("cpu")) end
    return batch_first and out:transpose(0, 1) or out, lengths_tensor
  end,
})

local function check_list(owner, sequences)
  if #sequences == 0 then fail(("%s: at least one sequence is needed"):format(owner)) end
  local first = sequences[1]
  for i, t in ipairs(sequences) do
    local fits = #t.shape > 0 and #t.shape == #first.shape
    for d = 1, #first.shape - 1 do fits = fits and t.shape[d] == first.shape[d] end
    if not fits then
      fail(("%s: sequence %d of shape %s differs from the first, %s, in more than its length"):format(
        owner, i - 1, tostring(t.shape), tostring(first.shape)))
    end
  end
end

declare("pad_sequence", {
  doc = "An array of sequences [T, ...] as one tensor [longest, B, ...], or [B, longest, ...] with batch_first, filled up with padding_value.",
  takes = "sequences:tensors, batch_first:bool=false, padding_value:number=0, padding_side:enum(right|left)=right",
  call = function(sequences, batch_first, padding_value, padding_side)
    check_list("pad_sequence", sequences)
    local longest, padded = 0, {}
    for _, t in ipairs(sequences) do longest = math.max(longest, t.shape[0]) end
    for i, t in ipairs(sequences) do
      local shape = {t.shape:unpack()}
      shape[1] = longest - shape[1]
      local rest = shape[1] > 0 and ops.full(shape, padding_value, t.dtype, t.device)
      padded[i] = not rest and t or ops.cat(padding_side == "left" and {rest, t} or {t, rest}, 0)
    end
    return (ops.stack(padded, batch_first and 0 or 1))
  end,
})

declare("unpad_sequence", {
  doc = "The sequences in a padded tensor [T, B, ...], or [B, T, ...] with batch_first, as an array of tensors [length, ...].",
  takes = "padded_sequences:tensor, lengths:tensor|ints, batch_first:bool=false",
  call = function(padded, lengths, batch_first)
    if #padded.shape < 2 then fail(("unpad_sequence: at least 2 dimensions are needed, got shape %s"):format(tostring(padded.shape))) end
    if not batch_first then padded = padded:transpose(0, 1) end
    local out = {}
    lengths = read_lengths("unpad_sequence", type(lengths) == "table" and copied(lengths) or lengths, padded.shape[0], padded.shape[1])
    for i, n in ipairs(lengths) do out[i] = padded[i - 1]:narrow(0, 0, n) end
    return out
  end,
})

declare("pack_sequence", {
  doc = "An array of sequences [T, ...] as a PackedSequence; unless enforce_sorted they may stand in any order.",
  takes = "sequences:tensors, enforce_sorted:bool=true",
  call = function(sequences, enforce_sorted)
    check_list("pack_sequence", sequences)
    local lengths = {}
    for i, t in ipairs(sequences) do lengths[i] = t.shape[0] end
    return rnn.pack_padded_sequence(rnn.pad_sequence(sequences), lengths, false, enforce_sorted)
  end,
})

declare("unpack_sequence", {
  doc = "The sequences of a PackedSequence as an array of tensors [length, ...].",
  takes = "packed_sequences:packed",
  call = function(packed)
    local padded, lengths = rnn.pad_packed_sequence(packed, true)
    return rnn.unpad_sequence(padded, lengths, true)
  end,
})

return arguments.strict(rnn, "nn.utils.rnn")
