--- Recurrent layers beyond what fixtures/layers compares with PyTorch: states, packed sequences, dtypes, threads, errors.

local lt = require("lunette")
local nn = lt.nn
local rnn = nn.utils.rnn

local function shape(t) return {t.shape:unpack()} end

local KINDS = {
  LSTM = function(...) return nn.LSTM(...) end, GRU = function(...) return nn.GRU(...) end, RNN = function(...) return nn.RNN(...) end,
}

local function last_h(states) return type(states) == "table" and states[1] or states end

for name, make in pairs(KINDS) do
  describe(name, function()
    it("begins with weights in the bounds of its hidden size", function()
      for p in make(8, 64, 2):parameters() do
        local most = p:abs():max():item()
        assert.is_true(most <= 1 / 8 and most > 0.8 / 8)
      end
    end)

    it("names its weights as PyTorch does and loads its own state", function()
      local m, other = make(3, 4, 2, {bidirectional = true}), make(3, 4, 2, {bidirectional = true})
      local keys = {}
      for key in m:named_parameters() do keys[#keys + 1] = key end
      assert.are.same({
        "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse",
        "bias_hh_l0_reverse", "weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1", "weight_ih_l1_reverse", "weight_hh_l1_reverse",
        "bias_ih_l1_reverse", "bias_hh_l1_reverse",
      }, keys)
      other:load_state_dict(m:state_dict())
      local x = lt.randn(5, 2, 3)
      assert.is_true(lt.equal((m(x)), (other(x))))
      assert.is_true(lt.equal((m(x)), (lt.deepcopy(m)(x))))
    end)

    it("gives a packed sequence what each sequence gets alone, also one without a step", function()
      local m = make(3, 4, 2, {bidirectional = true}):double()
      local parts = {lt.randn({2, 3}, {dtype = "float64"}), lt.zeros({0, 3}, {dtype = "float64"}), lt.randn({4, 3}, {dtype = "float64"})}
      local y, states = m(rnn.pack_sequence(parts, {enforce_sorted = false}))
      local outputs, h = rnn.unpack_sequence(y), last_h(states)
      assert.are.same({4, 3, 4}, shape(h))
      for i, part in ipairs(parts) do
        if part.shape[0] > 0 then
          local alone, alone_states = m(part:unsqueeze(1))
          assert.is_true(lt.allclose(alone:squeeze(1), outputs[i], 1e-12, 1e-12))
          assert.is_true(lt.allclose(last_h(alone_states):squeeze(1), h:select(1, i - 1), 1e-12, 1e-12))
        else
          assert.is_true(lt.equal(h:select(1, i - 1), lt.zeros({4, 4}, {dtype = "float64"})))
        end
      end
    end)

    it("goes on from the states of a part of the sequence", function()
      local m, x = make(3, 4, 2), lt.randn(6, 2, 3)
      local whole = (m(x))
      local first, states = m(x["0:2"])
      local second = (m(x["2:"], states))
      assert.is_true(lt.allclose(whole, lt.cat({first, second}), 1e-5, 1e-6))
    end)

    it("gives the same bits on any number of threads", function()
      local m, x = make(16, 32), lt.randn(5, 50, 16)
      local threads, results = lt.get_num_threads(), {}
      for n = 1, 2 do
        lt.set_num_threads(n)
        m:zero_grad{set_to_none = true}
        local y = (m(x))
        y:sum():backward()
        results[n] = {y, m.weight_hh_l0.grad, m.bias_ih_l0.grad}
      end
      lt.set_num_threads(threads)
      for i, t in ipairs(results[1]) do assert.is_true(lt.equal(t, results[2][i])) end
    end)

    it("reads a batch-first input where it lies", function()
      local m, x = make(3, 4, {batch_first = true}), lt.randn(2, 5, 3)
      local y = (m(x))
      assert.are.same({2, 5, 4}, shape(y))
      assert.is_true(y:is_contiguous())
      m.batch_first = false
      assert.is_true(lt.allclose(y:transpose(0, 1), (m(x:transpose(0, 1):contiguous())), 1e-5, 1e-6))
    end)

    it("takes an empty batch, half precision and any strides", function()
      local m = make(3, 4, 2)
      local y, states = m(lt.zeros(5, 0, 3))
      assert.are.same({5, 0, 4}, shape(y))
      assert.are.same({2, 0, 4}, shape(last_h(states)))
      local wide = lt.randn(5, 2, 6)
      assert.is_true(lt.equal((m(wide[":, :, ::2"])), (m(wide[":, :, ::2"]:contiguous()))))
      local half = lt.deepcopy(m):to("bfloat16")
      local x = wide[":, :, :3"]
      local out, want = (half(x:to("bfloat16"))), (m(x))
      assert.are.equal("bfloat16", out.dtype)
      assert.is_true((out:float() - want):abs():max():item() < 0.05)
      out:sum():backward()
      assert.are.equal("bfloat16", half.weight_ih_l0.grad.dtype)
    end)

    it("drops between layers in training alone", function()
      local m, x = make(3, 64, 2, {dropout = 0.5}), lt.randn(4, 8, 3)
      assert.is_false(lt.equal((m(x)), (m(x))))
      m:eval()
      assert.is_true(lt.equal((m(x)), (m(x))))
    end)

    it("says what is wrong with its input", function()
      local m = make(3, 4, 2)
      for _, case in ipairs{
        {{lt.ones(5)}, "input must have 2 or 3 dimensions, got shape {5}"}, {{lt.ones(5, 2, 4)}, "must be input_size 3, got shape {5, 2, 4}"},
        {{lt.ones(0, 2, 3)}, "at least one step"}, {{lt.ones(5, 2, 3, {dtype = "float64"})}, "one dtype, got float64 and float32"},
        {{lt.LongTensor{{{1, 2, 3}}}}, "floating dtype"},
      } do
        local ok, message = pcall(function() return (m(unpack(case[1]))) end)
        assert.is_false(ok)
        assert.is_truthy(message:find(case[2], 1, true), message)
      end
      local h = lt.ones(2, 3, 4)
      local ok, message = pcall(function() return (m(lt.ones(5, 2, 3), name == "LSTM" and {h, h} or h)) end)
      assert.is_false(ok)
      assert.is_truthy(message:find(name .. ": h_0 must have the shape {2, 2, 4}, got {2, 3, 4}", 1, true), message)
      assert.has_error(function() make(3, 0) end)
      assert.has_error(function() make(3, 4, 0) end)
      assert.has_error(function() make(3, 4, {dropout = 2}) end)
      m:flatten_parameters()
    end)
  end)
end

describe("projected LSTM", function()
  it("has smaller outputs and a weight for it", function()
    local m = nn.LSTM(3, 5, {proj_size = 2})
    assert.are.same({2, 5}, shape(m.weight_hr_l0))
    local y, states = m(lt.randn(4, 2, 3))
    assert.are.same({4, 2, 2}, shape(y))
    assert.are.same({1, 2, 5}, shape(states[2]))
    assert.has_error(function() nn.LSTM(3, 5, {proj_size = 5}) end, "LSTM: proj_size 5 must be smaller than hidden_size 5")
    assert.has_error(function() nn.RNNBase("GRU", 3, 5, {proj_size = 2}) end)
  end)
end)

describe("the operator lstm", function()
  local weights = {lt.ones(8, 3), lt.ones(8, 2)}

  it("refuses weights and sizes that do not fit", function()
    local x = lt.ones(4, 2, 3)
    for _, case in ipairs{
      {function() lt.lstm(x, nil, nil, nil, {lt.ones(8, 3)}) end, "weights must hold"},
      {function() lt.lstm(x, nil, nil, nil, {lt.ones(8, 3), lt.ones(8, 3)}) end, "weight_hh must have the shape {8, 2}, got {8, 3}"},
      {function() lt.lstm(x, nil, nil, nil, {lt.ones(8, 4), lt.ones(8, 2)}) end, "the last dimension of input must be 4"},
      {function() lt.lstm(x, lt.ones(2, 2, 2), nil, nil, weights) end, "h0 must have the shape {1, batch, size}"},
      {function() lt.lstm(x, nil, nil, nil, weights, {num_layers = 0}) end, "num_layers must lie between 1 and"},
      {function() lt.lstm(x, nil, nil, nil, weights, {dropout = 2}) end, "dropout must lie between 0 and 1"},
      {function() lt.lstm(lt.ones(4, 3), nil, nil, lt.LongTensor{2, 3}:to("cpu"), weights) end, "never grow"},
      {function() lt.lstm(lt.ones(4, 3), nil, nil, lt.LongTensor{2, 1}:to("cpu"), weights) end, "batch_sizes add up to 3"},
      {function() lt.lstm(lt.ones(4, 3), nil, nil, lt.ones(2), weights) end, "batch_sizes must be a contiguous int64 vector on the cpu"},
      {function() lt.lstm(lt.ones(0, 3), nil, nil, lt.zeros({0}, {dtype = "int64"}):to("cpu"), weights) end, "at least one step"},
    } do
      local ok, message = pcall(case[1])
      assert.is_false(ok)
      assert.is_truthy(message:find(case[2], 1, true), message)
      assert.is_truthy(message:find("lstm: ", 1, true), message)
    end
  end)
end)

describe("cells", function()
  it("are a step of their layers", function()
    local x = lt.randn(1, 2, 3)
    for name, cell in pairs{LSTM = nn.LSTMCell(3, 4), GRU = nn.GRUCell(3, 4), RNN = nn.RNNCell(3, 4)} do
      local layer = nn[name](3, 4)
      for _, weight in ipairs{"weight_ih", "weight_hh", "bias_ih", "bias_hh"} do layer[weight .. "_l0"].data:copy_(cell[weight].data) end
      assert.is_true(lt.equal((cell(x[0])), (layer(x))[0]))
    end
  end)

  it("refuse states of another shape", function()
    assert.has_error(function() nn.GRUCell(3, 4)(lt.ones(2, 3), lt.ones(2, 3)) end, "GRUCell: hx must have the shape {2, 4}, got {2, 3}")
    assert.has_error(function() nn.LSTMCell(3, 4)(lt.ones(2, 3), {lt.ones(2, 4)}) end)
    assert.has_error(function() nn.RNNCell(3, 4)(lt.ones(2, 2)) end)
    assert.has_error(function() nn.RNNCell(3, 4)(lt.ones(2, 2, 3)) end)
  end)
end)
