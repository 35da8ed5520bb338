--- nn.Module:summary: shapes, parameters, multiplications and memory of each layer.

local lt = require("lunette")
local refuses = require("spec.nn.checks").refuses
local nn = lt.nn

local function macs(m, ...) return m:summary({...}).macs end

describe("summary", function()
  it("shows each module of a model", function()
    local net = nn.Sequential(nn.Conv2d(1, 6, 5, {padding = 2}), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 14 * 14, 10))
    assert.are.equal([[
module           output          parameters     MACs    memory
Sequential       {2, 10}                  -        -      80 B
  0 Conv2d       {2, 6, 28, 28}         156  235,200  36.8 KiB
  1 BatchNorm2d  {2, 6, 28, 28}          12        -  36.8 KiB
  2 ReLU         {2, 6, 28, 28}           -        -  36.8 KiB
  3 MaxPool2d    {2, 6, 14, 14}           -        -   9.2 KiB
  4 Flatten      {2, 1176}                -        -   9.2 KiB
  5 Linear       {2, 10}             11,770   23,520      80 B
11,938 parameters (11,938 trainable), 258,720 MACs; memory: 46.6 KiB parameters, 56 B buffers, 128.7 KiB outputs, 6.1 KiB input]],
      tostring(net:summary(lt.zeros(2, 1, 28, 28))))
    local s = net:summary(lt.zeros(2, 1, 28, 28))
    assert.are.same({11938, 11938, 258720, 6272}, {s.parameters, s.trainable, s.macs, s.input_bytes})
    assert.are.same({path = "5", name = "Linear", depth = 1, shape = "{2, 10}", parameters = 11770, macs = 23520, bytes = 80, calls = 1}, s.rows[7])
  end)

  it("leaves the model as it was, also after an error", function()
    local net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    net[1]:eval()
    local function check()
      assert.are.same({true, true, false, true}, {net.training, net[0].training, net[1].training, net[2].training})
      for m in net:modules() do assert.are.equal(0, #(getmetatable(m).hooks.forward or {})) end
      assert.are.equal(0, net[1].num_batches_tracked:item())
    end
    net:summary(lt.zeros(2, 2))
    check()
    refuses("in 0: linear", function() net:summary(lt.zeros(2, 5)) end)
    check()
    local x = lt.zeros({2, 2}, {requires_grad = true})
    net:summary(x)
    assert.is_nil(x.grad)
  end)

  it("counts the multiplications of products and convolutions", function()
    assert.are.equal(5 * 20 * 30, macs(nn.Linear(20, 30), lt.zeros(5, 20)))
    assert.are.equal(4 * 7 * (2 + 1) * 3, macs(nn.Bilinear(2, 3, 7), lt.zeros(4, 2), lt.zeros(4, 3)))
    assert.are.equal(2 * 6 * 9 * 4 * 3 / 2, macs(nn.Conv1d(4, 6, 3, {groups = 2, padding = 1}), lt.zeros(2, 4, 9)))
    assert.are.equal(6 * 8 * 7 * 4 * 6, macs(nn.Conv2d(4, 6, {2, 3}), lt.zeros(4, 9, 9)))
    assert.are.equal(2 * 4 * 9 * 6 * 3 / 2, macs(nn.ConvTranspose1d(4, 6, 3, {groups = 2}), lt.zeros(2, 4, 9)))
    assert.are.equal(5 * 3 * (4 * 20 * 10 + 4 * 20 * 20 + 80 * 20 + 80 * 20), macs(nn.LSTM(10, 20, {num_layers = 2}), lt.zeros(5, 3, 10)))
    assert.are.equal(5 * 3 * 3 * 20 * 30, macs(nn.GRU(10, 20), lt.zeros(5, 3, 10)))
    assert.are.equal(3 * 20 * 30, macs(nn.RNNCell(10, 20), lt.zeros(3, 10)))
    local e, l, s, n = 16, 5, 7, 3
    assert.are.equal(n * (2 * l * e * e + s * e * 4 + s * e * 8 + 2 * l * s * e),
      macs(nn.MultiheadAttention(e, 4, {kdim = 4, vdim = 8}), lt.zeros(l, n, e), lt.zeros(s, n, 4), lt.zeros(s, n, 8)))
    assert.are.equal(0, macs(nn.ReLU(), lt.zeros(4)))
    assert.are.equal(5 * 20 * 30, macs(nn.utils.weight_norm(nn.Linear(20, 30)), lt.zeros(5, 20)))
    assert.are.equal(5 * 20 * 30, macs(nn.utils.parametrizations.weight_norm(nn.Linear(20, 30)), lt.zeros(5, 20)))
  end)

  it("tells shared, repeated and unused modules apart", function()
    local Net = nn.Module:subclass("Net")
    function Net:__init()
      self.a = nn.Linear(2, 2)
      self.unused = nn.Linear(9, 9)
      self.scale = nn.Parameter(lt.ones(1))
      self.frozen = nn.Parameter(lt.ones(3), {requires_grad = false})
    end
    function Net:forward(x) return {self.a(self.a(x)) * self.scale, x} end
    local s = Net():summary(lt.zeros(1, 2))
    assert.are.same({6 + 90 + 4, 6 + 90 + 1, 8}, {s.parameters, s.trainable, s.macs})
    assert.are.same({2, 0, "{1, 2}, {1, 2}", 4}, {s.rows[2].calls, s.rows[3].calls, s.rows[1].shape, s.rows[1].parameters})
    assert.matches("a Linear       {1, 2} x 2", tostring(s), 1, true)
    assert.matches("unused Linear  not called", tostring(s), 1, true)
    assert.are.equal(16, s.output_bytes)
  end)

  it("takes packed sequences and several arguments, and nothing else", function()
    local packed = nn.utils.rnn.pack_sequence({lt.zeros(3, 2), lt.zeros(1, 2)})
    assert.are.equal(4 * 4 * (2 + 4), nn.RNN(2, 4):summary(packed).macs)
    assert.are.equal(4 * 4 * (2 + 4), nn.RNN(2, 4):summary{packed, lt.zeros(1, 2, 4)}.macs)
    refuses("the example must be a tensor, or an array of the arguments of a call, not 3", function() nn.ReLU():summary(3) end)
    refuses("the example must be a tensor", function() nn.ReLU():summary({}) end)
    refuses("argument 'example' is missing", function() nn.ReLU():summary() end)
  end)
end)
