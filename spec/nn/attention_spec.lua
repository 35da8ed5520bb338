--- Attention beyond what the fixtures compare with PyTorch: long rows, blocks, masks, dropout, memory, errors; masks of causality; cached keys.

local lt = require("lunette")
local nn, F = lt.nn, lt.nn.functional
local attend = F.scaled_dot_product_attention

local function shape(t) return {t.shape:unpack()} end

local function double(...) return lt.randn({...}, {dtype = "float64"}) end

-- The same by operators, the scores as a matrix; mask: added, or nil.
local function composed(q, k, v, mask)
  local scores = q:matmul(k:transpose(-2, -1)) * (1 / math.sqrt(q.shape[-1]))
  return (mask and scores + mask or scores):softmax(-1):matmul(v)
end

local function causal(l, s) return lt.full({l, s}, -math.huge, {dtype = "float64"}):triu(1) end

-- Results and gradients of both.
local function assert_same(fn, other, inputs)
  local y, want = fn(unpack(inputs)), other(unpack(inputs))
  assert.is_true(lt.allclose(want, y, 1e-10, 1e-12))
  local g = {double(unpack(shape(y)))}
  local got, expected = lt.autograd.grad({y}, inputs, g), lt.autograd.grad({want}, inputs, g)
  for i, t in ipairs(expected) do assert.is_true(lt.allclose(t, got[i], 1e-9, 1e-11), "of input " .. i) end
end

local function leaves(...)
  local out = {...}
  for _, t in ipairs(out) do t:requires_grad_() end
  return out
end

describe("scaled_dot_product_attention", function()
  it("of many queries and keys is what the operators make", function()
    for _, size in ipairs{{150, 70}, {70, 150}, {64, 64}, {1, 200}} do
      local l, s = unpack(size)
      local inputs = leaves(double(2, 3, l, 5), double(2, 3, s, 5), double(2, 3, s, 4))
      assert_same(attend, composed, inputs)
      assert_same(function(q, k, v) return attend(q, k, v, {is_causal = true}) end, function(q, k, v) return composed(q, k, v, causal(l, s)) end, inputs)
    end
  end)

  it("of rows longer than a block goes through smaller ones", function()
    local inputs = leaves(double(1, 1, 40, 2), double(1, 1, 9000, 2), double(1, 1, 9000, 2))
    assert_same(attend, composed, inputs)
  end)

  it("reads heads where they lie and lays the result out alike", function()
    local packed = double(7, 2, 24):requires_grad_() -- [L, N, 3 * heads * size]
    local function heads() return packed:reshape(7, 2, 3, 4, 2):permute(2, 1, 3, 0, 4) end
    local x = heads()
    local y = attend(x[0], x[1], x[2])
    assert.is_true(y:permute(2, 0, 1, 3):is_contiguous())
    assert.is_true(lt.allclose(composed(x[0], x[1], x[2]), y, 1e-12, 1e-12))
    local g = {double(unpack(shape(y)))}
    local other = heads()
    local got = lt.autograd.grad({y}, {packed}, g)[1]
    assert.is_true(lt.allclose(lt.autograd.grad({composed(other[0], other[1], other[2])}, {packed}, g)[1], got, 1e-11, 1e-12))
  end)

  it("gives 0, with gradients of 0, where a query sees no key", function()
    local q, k, v = unpack(leaves(lt.randn(2, 3, 4), lt.randn(2, 5, 4), lt.randn(2, 5, 4)))
    for _, mask in ipairs{lt.zeros({3, 5}, {dtype = "bool"}), lt.full({3, 5}, -math.huge)} do
      local y = attend(q, k, v, mask)
      assert.are.equal(0, y:abs():max():item())
      for _, t in ipairs(lt.autograd.grad({y}, {q, k, v}, {lt.ones(2, 3, 4)})) do assert.are.equal(0, t:abs():max():item()) end
    end
  end)

  it("keeps float32 good to its digits where scores lie far apart", function()
    local q, k, v = double(1, 20, 4) * 10, double(1, 20, 4) * 40, double(1, 20, 4)
    local y = attend(q:float(), k:float(), v:float())
    assert.is_true(lt.allclose(attend(q, k, v), y:double(), 1e-3, 1e-3))
    assert.is_true(lt.allclose(attend(q, k, v), composed(q, k, v), 1e-9, 1e-10))
  end)

  it("hands NaN on", function()
    local q, k, v = lt.ones(1, 2, 2), lt.ones(1, 3, 2), lt.ones(1, 3, 2)
    q["0, 0, 0"] = 0 / 0
    local y = attend(q, k, v)
    assert.is_true(y["0, 0"]:isnan():all():item())
    assert.is_false(y["0, 1"]:isnan():any():item())
  end)

  it("takes half types and gives their dtype", function()
    local q, k, v = lt.randn(2, 6, 4), lt.randn(2, 6, 4), lt.randn(2, 6, 4)
    for _, dtype in ipairs{"float16", "bfloat16"} do
      local y = attend(q:to(dtype), k:to(dtype), v:to(dtype), {is_causal = true})
      assert.are.equal(dtype, y.dtype)
      assert.is_true((y:float() - attend(q, k, v, {is_causal = true})):abs():max():item() < 0.05)
    end
  end)

  it("drops probabilities: what is kept is scaled, all of it at p = 1 is gone", function()
    local q, k, v = lt.zeros(1, 1, 2, 4), lt.zeros(1, 1, 4000, 4), lt.ones(1, 1, 4000, 1)
    local y = attend(q, k, v, nil, 0.25)
    assert.is_true((y - 1):abs():max():item() < 0.1)
    assert.is_false(y["0, 0, 0"]:item() == y["0, 0, 1"]:item())
    assert.are.equal(0, attend(q, k, v, nil, 1):abs():max():item())
    lt.manual_seed(7)
    local first = attend(q, k, v, nil, 0.25)
    lt.manual_seed(7)
    assert.is_true(lt.equal(first, attend(q, k, v, nil, 0.25)))
  end)

  it("gives the same bits on any number of threads", function()
    local inputs, results, threads = leaves(lt.randn(2, 3, 130, 8), lt.randn(2, 3, 130, 8), lt.randn(2, 3, 130, 8)), {}, lt.get_num_threads()
    for n = 1, 2 do
      lt.set_num_threads(n)
      local y = attend(inputs[1], inputs[2], inputs[3], {is_causal = true})
      results[n] = {y, unpack(lt.autograd.grad({y}, inputs, {lt.ones(y.shape)}))}
    end
    lt.set_num_threads(threads)
    for i, t in ipairs(results[1]) do assert.is_true(lt.equal(t, results[2][i])) end
  end)

  it("says what does not fit", function()
    local q = lt.ones(2, 4, 3, 8)
    for _, case in ipairs{
      {{q, lt.ones(2, 4, 3, 7), q}, "query and key must agree in their last dimension"}, {{q, q, lt.ones(2, 4, 5, 8)}, "a value for each key"},
      {{lt.ones(3), q, q}, "at least 2 dimensions"}, {{q, lt.ones(2, 3, 3, 8), q}, "cannot be broadcast"},
      {{q, lt.ones(2, 3, 3, 8), lt.ones(2, 3, 3, 8), {enable_gqa = true}}, "heads of query must be a multiple"},
      {{q, q, q, lt.ones(3, 4)}, "attn_mask of shape {3, 4} cannot be broadcast to the scores, of shape {2, 4, 3, 3}"},
      {{q, q, q, lt.ones(3, 3), {is_causal = true}}, "attn_mask and is_causal cannot be given together"},
      {{q, q, q, lt.ones({3, 3}, {dtype = "int64"})}, "attn_mask must be bool or of a floating dtype, got int64"},
      {{q, q, q, {dropout_p = 2}}, "dropout_p must lie between 0 and 1, got 2"}, {{q, q:double(), q}, "one dtype, got float32 and float64"},
      {{q:long(), q:long(), q:long()}, "floating dtype"},
    } do
      local ok, message = pcall(attend, unpack(case[1]))
      assert.is_false(ok)
      assert.is_truthy(message:find("scaled_dot_product_attention: ", 1, true), message)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
  end)
end)

describe("MultiheadAttention", function()
  it("begins with Xavier's weights and no biases", function()
    local m = nn.MultiheadAttention(32, 4, {add_bias_kv = true})
    local bound = math.sqrt(6 / (32 + 96))
    local most = m.in_proj_weight:abs():max():item()
    assert.is_true(most <= bound and most > 0.95 * bound)
    assert.are.equal(0, m.in_proj_bias:abs():max():item())
    assert.are.equal(0, m.out_proj.bias:abs():max():item())
    assert.is_true(m.bias_k:abs():max():item() > 0)
    local keys = {}
    for key in m:named_parameters() do keys[#keys + 1] = key end
    assert.are.same({"in_proj_weight", "in_proj_bias", "bias_k", "bias_v", "out_proj.weight", "out_proj.bias"}, keys)
    assert.is_nil(nn.MultiheadAttention(32, 4, {kdim = 8}).in_proj_weight)
  end)

  it("gives no weights where they are not needed, and the same output", function()
    local m, x = nn.MultiheadAttention(8, 2), lt.randn(5, 3, 8)
    local y, weights = m(x, x, x)
    assert.are.same({3, 5, 5}, shape(weights))
    assert.is_true(lt.allclose(weights:sum(-1), lt.ones(3, 5)))
    local other, none = m(x, x, x, {need_weights = false})
    assert.is_nil(none)
    assert.is_true(lt.allclose(y, other, 1e-5, 1e-6))
  end)

  it("gives weights of 0 to a query that sees nothing", function()
    local m, x = nn.MultiheadAttention(8, 2), lt.randn(3, 1, 8)
    local mask = lt.tensor{{true, true, true}, {false, true, true}, {false, false, false}}
    for _, needed in ipairs{true, false} do
      local y, weights = m(x, x, x, {attn_mask = mask, need_weights = needed})
      assert.is_false(y:isnan():any():item())
      assert.is_true(lt.allclose(y["0, 0"], m.out_proj.bias))
      if weights then assert.are.equal(0, weights["0, 0"]:abs():max():item()) end
    end
  end)

  it("says what does not fit", function()
    local m, x = nn.MultiheadAttention(8, 2), lt.ones(5, 3, 8)
    for _, case in ipairs{
      {{lt.ones(5, 3, 7), x, x}, "the last dimension of query must be 8"}, {{x, lt.ones(5, 8), x}, "must all have 3 dimensions"},
      {{x, lt.ones(4, 3, 8), x}, "do not fit each other"}, {{x, x, x, lt.ones({5, 3}, {dtype = "bool"})}, "key_padding_mask must have the shape {3, 5}"},
      {{x, x, x, {attn_mask = lt.ones(3, 5)}}, "attn_mask must have the shape {5, 5} or {6, 5, 5}, got {3, 5}"},
      {{x, x, x, {attn_mask = lt.ones({5, 5}, {dtype = "int64"})}}, "attn_mask must be bool"}, {{x, x, x, {is_causal = true}}, "must be given beside it"},
    } do
      local ok, message = pcall(function() return (m(unpack(case[1]))) end)
      assert.is_false(ok)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
    assert.has_error(function() nn.MultiheadAttention(8, 3) end, "MultiheadAttention: embed_dim 8 must be divisible by num_heads 3")
  end)

  it("as a function takes static keys and values", function()
    local m, x = nn.MultiheadAttention(8, 2), lt.randn(5, 3, 8)
    local k, v = lt.randn(6, 4, 4), lt.randn(6, 4, 4)
    local y, weights = F.multi_head_attention_forward(x, x, x, 8, 2, m.in_proj_weight, m.in_proj_bias, nil, nil, false, 0, m.out_proj.weight, m.out_proj.bias,
      {static_k = k, static_v = v})
    assert.are.same({5, 3, 8}, shape(y))
    assert.are.same({3, 5, 4}, shape(weights))
    assert.has_error(function()
      F.multi_head_attention_forward(x, x, x, 8, 2, m.in_proj_weight, m.in_proj_bias, nil, nil, false, 0, m.out_proj.weight, m.out_proj.bias, {static_k = x})
    end)
  end)
end)

describe("transformers", function()
  it("make the mask of causality", function()
    local mask = nn.Transformer:generate_square_subsequent_mask(3)
    assert.are.same({{0, -math.huge, -math.huge}, {0, 0, -math.huge}, {0, 0, 0}}, mask:to("cpu"):tolist())
    local net = nn.Transformer(4, 2, 1, 1, 8)
    assert.are.equal("float64", net:generate_square_subsequent_mask(2, {dtype = "float64"}).dtype)
    assert.has_error(function() nn.Transformer.generate_square_subsequent_mask(3) end)
  end)

  it("find out by themselves that a mask is causal, with the same result", function()
    local layer = nn.TransformerEncoderLayer(8, 2, 16, 0)
    local net, x = nn.TransformerEncoder(layer, 2), lt.randn(5, 3, 8)
    local mask = nn.Transformer:generate_square_subsequent_mask(5)
    local want = net(x, mask, {is_causal = false})
    assert.is_true(lt.allclose(want, net(x, mask), 1e-5, 1e-5))
    assert.is_true(lt.allclose(want, net(x, lt.isinf(mask)), 1e-5, 1e-5))
    assert.is_true(lt.allclose(want["0:3"], net(x["0:3"], mask["0:3, 0:3"]), 1e-5, 1e-5))
  end)

  it("copy the layer they are given, and begin with Xavier's weights", function()
    local layer = nn.TransformerDecoderLayer(8, 2, 16)
    local net = nn.TransformerDecoder(layer, 2)
    assert.is_true(net.layers[0] ~= layer and net.layers[0] ~= net.layers[1])
    assert.is_true(lt.equal(net.layers[0].linear1.weight, layer.linear1.weight))
    local whole = nn.Transformer(16, 2, 1, 1, 48)
    local most, bound = whole.encoder.layers[0].linear1.weight:abs():max():item(), math.sqrt(6 / (16 + 48))
    assert.is_true(most <= bound and most > 0.9 * bound)
    assert.are.equal(1, whole.decoder.norm.weight:min():item())
  end)

  it("say what does not fit", function()
    local net = nn.Transformer(8, 2, 1, 1, 16)
    assert.has_error(function() net(lt.ones(3, 2, 8), lt.ones(4, 1, 8)) end,
      "Transformer: src and tgt must have batches of one size, got shapes {3, 2, 8} and {4, 1, 8}")
    assert.has_error(function() net(lt.ones(3, 2, 7), lt.ones(4, 2, 8)) end)
    assert.has_error(function() nn.TransformerEncoderLayer(8, 3) end)
    assert.has_error(function() nn.TransformerEncoderLayer(8, 2, {activation = "tanh"}) end)
  end)

  it("take any function for an activation", function()
    local net = nn.TransformerEncoderLayer(8, 2, 16, 0, function(x) return x:tanh() end)
    local other = nn.TransformerEncoderLayer(8, 2, 16, 0, nn.Tanh())
    other:load_state_dict(net:state_dict())
    local x = lt.randn(3, 2, 8)
    assert.is_true(lt.equal(net(x), other(x)))
    assert.is_true(lt.equal(net(x), lt.deepcopy(net)(x)))
  end)
end)
