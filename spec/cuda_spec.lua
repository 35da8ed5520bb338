--- Devices: what a machine without CUDA says, and what holds on a device, or on its stand-in (docs/architecture.md).

local lt = require("lunette")

if not lt.cuda.is_available() then
  describe("without CUDA", function()
    it("asking for a device is an error that says why", function()
      assert.are.equal(0, lt.cuda.device_count())
      assert.is_truthy(#lt.cuda.why_not() > 10)
      local ok, message = pcall(lt.zeros, 2, {device = "cuda:0"})
      assert.is_false(ok)
      assert.is_truthy(message:find("device cuda:0 cannot be used: " .. lt.cuda.why_not(), 1, true), message)
      assert.has_error(function() lt.ones(2):to("cuda") end)
      assert.has_error(function() lt.set_default_device("cuda") end)
      assert.has_error(function() lt.cuda.synchronize() end)
    end)

    it("a device that cannot be is refused by its name", function()
      assert.has_error(function() return lt.zeros(2, {device = "gpu"}) end, [[zeros: argument 'device' must be a device such as "cpu" or "cuda:0", got the string "gpu"]])
    end)
  end)
  describe("on a device", function()
    pending("tensors live and compute there: no CUDA device is available")
  end)
  return
end

describe("on a device", function()
  local here = {device = "cuda:0"}

  it("there are as many as it says", function()
    local ok, message = pcall(lt.zeros, 1, {device = "cuda:" .. lt.cuda.device_count()})
    assert.is_false(ok)
    assert.is_truthy(message:find("there is no device cuda:", 1, true), message)
    assert.is_truthy(#lt.cuda.get_device_name() > 0)
    lt.cuda.synchronize()
  end)

  it("equal keeps its copies on the host while they are compared, whenever the collector runs", function()
    jit.off()
    finally(function()
      debug.sethook()
      jit.on()
    end)
    local a, b = lt.tensor({1, 2}, here), lt.tensor({3, 4}, here)
    debug.sethook(function() collectgarbage() end, "", 1)
    local answer = lt.equal(a, b)
    debug.sethook()
    assert.is_false(answer)
  end)

  it("tensors go there and back, in any layout and dtype", function()
    for _, dtype in ipairs {"float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"} do
      local t = lt.arange(12, {device = "cpu"}):to(dtype):reshape(3, 4)
      local there = t:to("cuda")
      assert.are.equal("cuda:0", there.device)
      assert.is_true(lt.equal(t, there:cpu()))
      assert.is_true(lt.equal(t:t()["1:, ::2"]:contiguous(), there:t()["1:, ::2"]:cpu():contiguous()))
    end
  end)

  it("memory is counted, cached and given back", function()
    lt.gc()
    lt.gc()
    local before = lt.cuda.memory_allocated()
    do
      local t = lt.zeros(1024, 1024, here)
      assert.is_true(lt.cuda.memory_allocated() - before >= 4 * t:numel())
    end
    assert.is_true(lt.cuda.max_memory_allocated() >= lt.cuda.memory_allocated())
    lt.gc()
    lt.gc()
    assert.are.equal(before, lt.cuda.memory_allocated())
    assert.is_true(lt.cuda.memory_reserved() >= lt.cuda.memory_allocated())
    lt.cuda.empty_cache()
    assert.are.equal(lt.cuda.memory_allocated(), lt.cuda.memory_reserved())
  end)

  it("says what its libraries do, and rounds to TF32 only where that was asked for", function()
    assert.is_true(#lt.cuda.libraries() > 0)
    assert.is_false(lt.cuda.allow_tf32())
    assert.is_true(lt.cuda.allow_tf32(true))
    assert.is_true(lt.cuda.allow_tf32())
    assert.is_false(lt.cuda.allow_tf32(false))
    assert.has_error(function() lt.cuda.allow_tf32("yes") end, "allow_tf32: argument 'allowed' must be true or false, got the string \"yes\"")
  end)

  it("memory that a kernel needs besides its operands is counted and given back", function()
    local before = lt.cuda.memory_allocated()
    local peak = lt.cuda.max_memory_allocated()
    local x = lt.ones(1, 1048576, here)
    lt.scope(function()
      for _ = 1, 3 do x:cumsum(1) end
    end)
    assert.is_true(lt.cuda.max_memory_allocated() >= peak)
    x = nil -- luacheck: ignore
    lt.gc()
    lt.gc()
    assert.are.equal(before, lt.cuda.memory_allocated())
  end)

  it("tensors of two devices do not mix, but for a 0-dim one of the host", function()
    local x, y = lt.ones(2, here), lt.ones(2, {device = "cpu"})
    assert.has_error(function() return x + y end, "add: all tensors must be on one device, got cuda:0 and cpu")
    assert.has_error(function() return x:matmul(y) end)
    local two = lt.tensor(2, {device = "cpu", requires_grad = true})
    local z = (x * two):sum()
    z:backward()
    assert.are.equal("cuda:0", z.device)
    assert.are.equal("cpu", two.grad.device)
    assert.are.equal(2, two.grad:item())
    assert.has_error(function() return lt.tensor(2, {device = "cpu"}):mul_(x) end)
  end)

  it("the numbers of a seed are those of the host", function()
    for _, draw in ipairs {"uniform_", "normal_"} do
      lt.manual_seed(3)
      local host = lt.zeros(1000, {device = "cpu"})
      host[draw](host)
      lt.manual_seed(3)
      local device = lt.zeros(1000, here)
      device[draw](device)
      assert.is_true(lt.equal(host, device:cpu()), draw)
    end
  end)

  it("a module moves with its buffers, and trains", function()
    local nn, F = lt.nn, lt.nn.functional
    local net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)):to("cuda")
    for _, p in net:named_parameters() do assert.are.equal("cuda:0", p.device) end
    for _, b in net:named_buffers() do assert.are.equal("cuda:0", b.device) end
    local optimizer = lt.optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9})
    local x, y, first, last = lt.rand(4, 1, 4, 4, here), lt.LongTensor {0, 1, 2, 0}:to("cuda"), nil, nil
    for _ = 1, 20 do
      optimizer:zero_grad()
      local loss = F.cross_entropy(net(x), y)
      loss:backward()
      optimizer:step()
      first, last = first or loss:item(), loss:item()
    end
    assert.is_true(last < 0.5 * first)
  end)
end)

if lt.cuda.device_count() < 2 then
  describe("several devices", function()
    pending("copies between them and what does not mix: there is one")
  end)
  return
end

describe("several devices", function()
  it("hold tensors that go from one to the other", function()
    local x = lt.arange(6, {device = "cuda:0"}):reshape(2, 3)
    for _, t in ipairs {x, x:t(), x["0, ::2"]} do
      local y = t:to("cuda:1")
      assert.are.equal("cuda:1", y.device)
      assert.is_true(lt.equal(t:cpu(), y:cpu()))
      assert.is_true(lt.equal(t, y:to("cuda:0")))
    end
    assert.are.equal("cuda:1", (x:to("cuda:1") * 2).device)
  end)

  it("do not mix", function()
    local x, y = lt.ones(2, 2, {device = "cuda:0"}), lt.ones(2, 2, {device = "cuda:1"})
    assert.has_error(function() return x + y end, "add: all tensors must be on one device, got cuda:0 and cuda:1")
    assert.has_error(function() return x:matmul(y) end, "matmul: all tensors must be on one device, got cuda:0 and cuda:1")
    assert.has_error(function() return x:sum():mul_(y) end)
  end)

  it("are each the default when it was said so", function()
    local was = lt.get_default_device()
    lt.set_default_device("cuda:1")
    local ok, device, sum = pcall(function()
      local x = lt.rand(3, 4, {requires_grad = true})
      local loss = (x * lt.ones(3, 4)):sum()
      loss:backward()
      return x.grad.device, x.grad:sum():item()
    end)
    lt.set_default_device(was)
    assert.is_true(ok, device)
    assert.are.equal("cuda:1", device)
    assert.are.equal(12, sum)
  end)

  it("count their memory apart, and gradients cross from one to the other", function()
    local before = lt.cuda.memory_allocated(0)
    local x = lt.ones(64, 64, {device = "cuda:1", requires_grad = true})
    assert.are.equal(before, lt.cuda.memory_allocated(0))
    local y = x:to("cuda:0") * 3
    y:sum():backward()
    assert.are.equal("cuda:1", x.grad.device)
    assert.are.equal(3, x.grad[0][0]:item())
  end)
end)
