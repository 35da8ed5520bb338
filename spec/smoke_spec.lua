--- Does anything work at all? A minute's reading of what the environment does, one thing of each kind: `busted spec/smoke_spec.lua`.

local lt = require("lunette")
local nn, F, optim = lt.nn, lt.nn.functional, lt.optim

describe("smoke:", function()
  it("tensors are made, reshaped and computed with", function()
    local x = lt.arange(6):reshape(2, 3)
    assert.are.same({{1, 3, 5}, {7, 9, 11}}, (x * 2 + 1):tolist())
    assert.are.same({3, 5, 7}, x:sum(0):tolist())
    assert.are.equal(55, x:matmul(x:t()):diagonal():sum():item())
  end)

  it("they are indexed and assigned to", function()
    local x = lt.zeros(3, 4)
    x["1:, ::2"] = 7
    x[{0, {1, 3}}] = lt.tensor {1, 2}
    assert.are.same({{0, 1, 0, 2}, {7, 0, 7, 0}, {7, 0, 7, 0}}, x:tolist())
    assert.are.equal(6, x:gt(0):sum():item())
  end)

  it("gradients flow, twice", function()
    local x = lt.tensor({3}, {requires_grad = true})
    local dx = lt.autograd.grad(x ^ 3, {x}, {create_graph = true})[1]
    dx:backward()
    assert.are.equal(27, dx:item())
    assert.are.equal(18, x.grad:item())
  end)

  it("random numbers follow their seed", function()
    lt.manual_seed(7)
    local first = lt.randn(5)
    lt.manual_seed(7)
    assert.is_true(lt.equal(first, lt.randn(5)))
  end)

  it("a network learns exclusive or", function()
    lt.manual_seed(1)
    local net = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
    local optimizer = optim.Adam(net:parameters(), {lr = 0.02})
    local x, y = lt.tensor {{0, 0}, {0, 1}, {1, 0}, {1, 1}}, lt.LongTensor {0, 1, 1, 0}
    for _ = 1, 200 do
      optimizer:zero_grad()
      F.cross_entropy(net(x), y):backward()
      optimizer:step()
    end
    assert.are.same({0, 1, 1, 0}, net(x):argmax(1):tolist())
  end)

  it("a convolution network computes and differentiates", function()
    local net = nn.Sequential(nn.Conv2d(1, 4, 3, {padding = 1}), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10))
    local loss = F.cross_entropy(net(lt.rand(2, 1, 6, 6)), lt.LongTensor {3, 9})
    loss:backward()
    for name, p in net:named_parameters() do assert.is_true(p.grad:isfinite():all():item(), name) end
  end)

  it("parameters are saved and loaded", function()
    local path = os.tmpname() .. ".safetensors"
    local net, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    lt.save(net:state_dict(), path)
    twin:load_state_dict(lt.load(path))
    os.remove(path)
    local x = lt.rand(4, 3)
    assert.is_true(lt.equal(net(x), twin(x)))
  end)

  it("a wrong call says what was wrong", function()
    local ok, message = pcall(function() return lt.ones(2, 3) + lt.ones(4) end)
    assert.is_false(ok)
    assert.is_truthy(message:find("{2, 3} and {4}", 1, true))
  end)

  it("what a scope made is released, what it returns is kept", function()
    local before = lt.memory_stats().tensors
    local kept = lt.scope(function()
      local x = lt.ones(10)
      for _ = 1, 100 do x = x + 1 end
      return x
    end)
    assert.are.equal(101, kept["0"]:item())
    assert.is_true(lt.memory_stats().tensors - before < 5)
  end)
end)
