local lt = require("lunette")
local nn = lt.nn
local rnn = nn.utils.rnn

local function list(t) return t:to("cpu"):tolist() end

-- int64 values as Lua numbers.
local function whole(t)
  local out = {}
  for i, v in ipairs(list(t)) do out[i] = tonumber(v) end
  return out
end

local function sequences() return {lt.tensor{1, 2}, lt.tensor{3}, lt.tensor{4, 5, 6}} end

describe("pack_padded_sequence", function()
  it("orders the sequences from long to short, step by step", function()
    local packed = rnn.pack_padded_sequence(lt.tensor{{1, 2, 0}, {3, 0, 0}, {4, 5, 6}}, {2, 1, 3}, {batch_first = true, enforce_sorted = false})
    assert.are.same({4, 1, 3, 5, 2, 6}, list(packed.data))
    assert.are.same({3, 2, 1}, whole(packed.batch_sizes))
    assert.are.same({2, 0, 1}, whole(packed.sorted_indices))
    assert.are.same({1, 2, 0}, whole(packed.unsorted_indices))
    assert.are.equal("cpu", packed.batch_sizes.device)
  end)

  it("takes sorted sequences as they are", function()
    local packed = rnn.pack_padded_sequence(lt.tensor{{1, 4}, {2, 5}, {3, 0}}, lt.LongTensor{3, 2})
    assert.are.same({1, 4, 2, 5, 3}, list(packed.data))
    assert.is_nil(packed.sorted_indices)
    assert.is_nil(packed.unsorted_indices)
    assert.are.same({1, 2}, list(rnn.pack_padded_sequence(lt.tensor{{1}, {2}, {0}}, 2).data))
  end)

  it("keeps equal lengths in their order, and an array of lengths as it was", function()
    local lengths = {1, 2, 1, 2}
    local packed = rnn.pack_padded_sequence(lt.ones(2, 4), lengths, {enforce_sorted = false})
    assert.are.same({1, 3, 0, 2}, whole(packed.sorted_indices))
    assert.are.same({1, 2, 1, 2}, lengths)
  end)

  it("leads gradients back, of second order too", function()
    local x = lt.randn({3, 2, 2}, {dtype = "float64", requires_grad = true})
    local function fn(t) return rnn.pack_padded_sequence(t, {1, 3}, {enforce_sorted = false}).data end
    assert.is_true(lt.autograd.gradcheck(fn, {x}))
    assert.is_true(lt.autograd.gradgradcheck(function(t) return fn(t) * fn(t) end, {x}))
  end)

  it("refuses wrong lengths", function()
    local x = lt.ones(3, 2)
    for _, case in ipairs{
      {{1, 3}, "must descend"}, {{3, 2, 1}, "3 lengths for a batch of 2"}, {{4, 1}, "length 0 is 4"}, {{3, -1}, "length 1 is %-1"},
      {{0, 0}, "at least one sequence"}, {lt.ones(2), "vector of whole numbers"}, {lt.LongTensor{{1, 2}}, "vector of whole numbers"},
    } do
      local ok, message = pcall(rnn.pack_padded_sequence, x, case[1])
      assert.is_false(ok)
      assert.matches("pack_padded_sequence: .*" .. case[2], message)
    end
    assert.has_error(function() rnn.pack_padded_sequence(lt.ones(3), {1}) end)
  end)
end)

describe("pad_packed_sequence", function()
  it("undoes packing", function()
    local packed = rnn.pack_sequence(sequences(), {enforce_sorted = false})
    local padded, lengths = rnn.pad_packed_sequence(packed, {batch_first = true})
    assert.are.same({{1, 2, 0}, {3, 0, 0}, {4, 5, 6}}, list(padded))
    assert.are.same({2, 1, 3}, whole(lengths))
    assert.are.same({3, 3}, {(rnn.pad_packed_sequence(packed)).shape:unpack()})
  end)

  it("pads with a value, to a total length", function()
    local packed = rnn.pack_sequence({lt.tensor{4, 5}, lt.tensor{3}})
    assert.are.same({{4, 5, -1, -1}, {3, -1, -1, -1}}, list((rnn.pad_packed_sequence(packed, true, -1, 4))))
    assert.has_error(function() rnn.pad_packed_sequence(packed, true, 0, 1) end, "pad_packed_sequence: total_length 1 is below the longest length 2")
    assert.has_error(function() rnn.pad_packed_sequence(lt.ones(2)) end)
  end)

  it("gives sequences without a step back as padding", function()
    for _, sorted in ipairs{true, false} do
      local packed = rnn.pack_padded_sequence(lt.tensor{{1, 9}, {2, 9}}, {2, 0}, {enforce_sorted = sorted})
      assert.are.same({1, 2}, list(packed.data))
      local padded, lengths = rnn.pad_packed_sequence(packed)
      assert.are.same({{1, 0}, {2, 0}}, list(padded))
      assert.are.same({2, 0}, whole(lengths))
    end
  end)

  it("leads gradients back", function()
    local x = lt.randn({5, 2}, {dtype = "float64", requires_grad = true})
    local sizes = lt.LongTensor{2, 2, 1}:to("cpu")
    local function fn(t) return (rnn.pad_packed_sequence(rnn.PackedSequence(t, sizes), {padding_value = 3})) end
    assert.is_true(lt.autograd.gradcheck(fn, {x}))
  end)
end)

describe("lists of sequences", function()
  it("are padded on either side", function()
    assert.are.same({{1, 3, 4}, {2, 0, 5}, {0, 0, 6}}, list(rnn.pad_sequence(sequences())))
    assert.are.same({{1, 2, -1}, {3, -1, -1}, {4, 5, 6}}, list(rnn.pad_sequence(sequences(), true, -1)))
    assert.are.same({{0, 1, 2}, {0, 0, 3}, {4, 5, 6}}, list(rnn.pad_sequence(sequences(), {batch_first = true, padding_side = "left"})))
    assert.are.same({3, 2, 4}, {rnn.pad_sequence({lt.ones(3, 4), lt.ones(1, 4)}).shape:unpack()})
    assert.are.equal("int64", rnn.pad_sequence({lt.LongTensor{1}, lt.LongTensor{1, 2}}).dtype)
    assert.has_error(function() rnn.pad_sequence({}) end)
    assert.has_error(function() rnn.pad_sequence({lt.ones(2, 3), lt.ones(2, 4)}) end,
      "pad_sequence: sequence 1 of shape {2, 4} differs from the first, {2, 3}, in more than its length")
  end)

  it("come back from padded and from packed ones", function()
    for _, back in ipairs{
      rnn.unpad_sequence(rnn.pad_sequence(sequences()), {2, 1, 3}), rnn.unpad_sequence(rnn.pad_sequence(sequences(), true), lt.LongTensor{2, 1, 3}, true),
      rnn.unpack_sequence(rnn.pack_sequence(sequences(), false)),
    } do
      assert.are.equal(3, #back)
      for i, t in ipairs(sequences()) do assert.is_true(lt.equal(t, back[i])) end
    end
  end)

  it("must descend to be packed, unless that is not asked for", function()
    assert.has_error(function() rnn.pack_sequence(sequences()) end)
    assert.are.same({4, 1, 3, 5, 2, 6}, list(rnn.pack_sequence(sequences(), {enforce_sorted = false}).data))
  end)
end)

describe("PackedSequence", function()
  local function make() return rnn.pack_sequence(sequences(), {enforce_sorted = false}) end

  it("moves to other dtypes and devices with its orders", function()
    local packed = make():double()
    assert.are.equal("float64", packed.data.dtype)
    assert.are.same({2, 0, 1}, whole(packed.sorted_indices))
    assert.are.equal("cpu", make():cpu().sorted_indices.device)
    assert.are.equal("int64", make():long().data.dtype)
    assert.is_true(packed:to("float64") == packed)
    assert.is_false(make():cpu().is_cuda)
  end)

  it("prints as PyTorch prints", function()
    local sizes = lt.LongTensor{1, 1}:to("cpu")
    assert.are.equal("PackedSequence(data=tensor([1., 2.]), batch_sizes=tensor([1, 1]), sorted_indices=None, unsorted_indices=None)",
      tostring(rnn.PackedSequence(lt.tensor{1, 2}:to("cpu"), sizes)))
  end)

  it("finds the order back, and checks what it is made of", function()
    local packed = rnn.PackedSequence{data = lt.ones(3), batch_sizes = lt.LongTensor{2, 1}:to("cpu"), sorted_indices = lt.LongTensor{1, 0}}
    assert.are.same({1, 0}, whole(packed.unsorted_indices))
    assert.are.same({2, 0, 1}, whole(rnn.invert_permutation(lt.LongTensor{1, 2, 0})))
    assert.is_nil(rnn.invert_permutation(nil))
    assert.has_error(function() rnn.PackedSequence(lt.ones(3), lt.ones(3)) end)
    assert.has_error(function() rnn.PackedSequence(lt.ones(3)) end)
    assert.has_error(function() packed.to("cpu") end)
  end)
end)
