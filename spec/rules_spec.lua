--- What every operator keeps to, whatever it computes: limits of lists and sizes, operations in place, views, saved values, gradients of gradients.

local lt = require("lunette")
local ops = require("lunette.ops")
local F = lt.nn.functional

local function refused(pattern, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.matches(pattern, message)
end

local function leaf(values) return lt.tensor(values, {requires_grad = true}) end

describe("lists and sizes", function()
  local many, rest = {}, {}
  for i = 1, 40 do many[i], rest[i] = 1, i - 1 end

  it("have at most 16 entries", function()
    local x = lt.ones(1)
    for name, call in pairs {
      view = function() return x:view(many) end, reshape = function() return x:reshape(many) end, expand = function() return x:expand(many) end,
      as_strided = function() return x:as_strided(many, many) end, permute = function() return x:permute(rest) end,
      sum = function() return x:sum(rest) end, full = function() return lt.full(many, 1) end, squeeze = function() return x:squeeze(rest) end,
      sum_to_size = function() return x:sum_to_size(many) end,
      avg_pool2d = function() return lt.avg_pool2d(lt.ones(1, 1, 4, 4), many) end,
    } do
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.is_truthy(message:find(name, 1, true) or message:find("16", 1, true), message)
    end
  end)

  it("of a view hold no more elements than can be counted", function()
    refused("expand: .* more elements than can be counted", lt.expand, lt.ones(1), {2 ^ 32, 2 ^ 32})
    refused("expand: .* more elements than can be counted", lt.expand, lt.ones(1, 1, 1), {2 ^ 50, 2 ^ 13, 3})
    refused("expand: .* more elements than can be counted", lt.expand, lt.LongTensor{1}, {2 ^ 32, 2 ^ 32})
    assert.are.equal(0, lt.ones(1, 0):expand(2 ^ 32, 2 ^ 40, 0):numel())
  end)

  it("that are empty squeeze nothing", function()
    assert.are.same({1, 2, 1}, {lt.ones(1, 2, 1):squeeze({}).shape:unpack()})
    assert.are.same({2}, {lt.ones(1, 2, 1):squeeze().shape:unpack()})
  end)

  it("of windows and kernels may be as large as numbers are", function()
    local x, w = lt.ones(1, 1, 4, 4), lt.ones(1, 1, 2, 2)
    refused("conv2d: dilation .* is too large", lt.conv2d, x, lt.ones(1, 1, 1, 2049), {dilation = 2 ^ 52})
    refused("conv2d: the kernel reaches over", lt.conv2d, x, w, {dilation = 2 ^ 52})
    refused("max_pool2d: .* is too large", lt.max_pool2d, x, 2 ^ 50, {dilation = 2 ^ 50})
    refused("conv2d: groups", lt.conv2d, x, w, {groups = 2 ^ 40})
  end)
end)

describe("as_strided", function()
  it("stays inside the storage at both ends", function()
    refused("as_strided: .* leave the storage", ops.as_strided, lt.ones(4), {2}, {1}, -2)
    refused("as_strided: .* leave the storage", ops.as_strided, lt.ones(4), {2}, {1}, 3)
    refused("as_strided_scatter: .* leave the storage", ops.as_strided_scatter, lt.ones(4), lt.ones(2), {2}, {1}, -2)
    assert.are.equal(0, ops.as_strided(lt.ones(4), {0}, {1}, 2 ^ 40):numel())
    assert.are.same({2, 3}, ops.as_strided(lt.arange(1, 5)["1:"], {2}, {1}):tolist())
    assert.are.same({1, 2}, ops.as_strided(lt.arange(1, 5)["2:"], {2}, {1}, -2):tolist())
  end)
end)

describe("gradients of pooling as operators", function()
  it("check batch, channels and positions", function()
    refused("avg_pool2d_dx: .* is not the result", lt.avg_pool2d_dx, lt.ones(1, 1, 4, 4), 2, {size = {64, 64, 8, 8}})
    refused("max_pool2d_dx: .* is not the result", lt.max_pool2d_dx, lt.ones(1, 1, 4, 4), lt.zeros(1, 1, 4, 4):long(), 2, {size = {64, 64, 8, 8}})
    if lt.get_default_device() == "cpu" then
      refused("index 99 is out of bounds", lt.max_pool2d_dx, lt.ones(1, 1, 2), lt.LongTensor{{{0, 99}}}, 2, {size = {1, 2, 4}})
    end
  end)
end)

describe("in place", function()
  it("what has no such form is refused", function()
    for _, name in ipairs {"clone_", "norm_", "var_", "logsumexp_", "sum_to_size_", "as_strided_scatter_", "softmax_", "log_softmax_", "view_", "select_"} do
      refused(name, function() return lt.ones(4)[name](lt.ones(4), 1) end)
    end
  end)

  it("cumsum, tril and addmm write into the tensor", function()
    local x = lt.tensor{1, 2, 3}
    assert.are.equal(x, x:cumsum_(0))
    assert.are.same({1, 3, 6}, x:tolist())
    local m = lt.ones(2, 2)
    m:tril_()
    assert.are.same({{1, 0}, {1, 1}}, m:tolist())
    m:addmm_(lt.ones(2, 3), lt.ones(3, 2))
    assert.are.same({{4, 3}, {4, 4}}, m:tolist())
  end)

  it("operands that overlap the tensor are read before it is written", function()
    local x = lt.arange(6)
    x:scatter_(0, lt.LongTensor{1, 2, 3, 4, 5}, x:narrow(0, 0, 5))
    assert.are.same({0, 0, 1, 2, 3, 4}, x:tolist())
    x = lt.arange(6)
    x:index_add_(0, lt.LongTensor{1, 2, 3, 4, 5}, x:narrow(0, 0, 5))
    assert.are.same({0, 1, 3, 5, 7, 9}, x:tolist())
    x = lt.arange(6)
    x:narrow(0, 1, 5):add_(x:narrow(0, 0, 5))
    assert.are.same({0, 1, 3, 5, 7, 9}, x:tolist())
    x = lt.arange(4):view(2, 2)
    x:copy_(x:t())
    assert.are.same({{0, 2}, {1, 3}}, x:tolist())
  end)

  it("an expanded tensor without elements overlaps nothing", function()
    assert.are.equal(0, lt.zeros(1, 0, 1):expand(1, 0, 3):add_(1):numel())
    refused("share memory", function() return lt.zeros(1, 1):expand(2, 3):add_(1) end)
  end)

  it("what a derivative needs of the old values is kept", function()
    local cases = {
      leaky_relu_ = function(z) return z:leaky_relu_(0.2) end, elu_ = function(z) return z:elu_() end, hardtanh_ = function(z) return z:hardtanh_() end,
      relu6_ = function(z) return z:relu6_() end, silu_ = function(z) return z:silu_() end, threshold_ = function(z) return z:threshold_(0.1, 2) end,
      sin_ = function(z) return z:sin_() end, mul_ = function(z) return z:mul_(z) end, pow_ = function(z) return z:pow_(2) end,
      transposed = function(z) return z:mul_(z:t()) end,
    }
    for name, apply in pairs(cases) do
      local plain = name == "transposed" and function(z) return z * z:t() end or name == "mul_" and function(z) return z * z end
        or function(z) return z[name:sub(1, -2)](z, unpack(({leaky_relu_ = {0.2}, threshold_ = {0.1, 2}, pow_ = {2}})[name] or {})) end
      local a, b = leaf{{-1.5, 0.3}, {0.7, 2}}, leaf{{-1.5, 0.3}, {0.7, 2}};
      (apply(a * 1) * lt.tensor{{1, 2}, {3, 4}}):sum():backward();
      (plain(b * 1) * lt.tensor{{1, 2}, {3, 4}}):sum():backward()
      assert.is_true(lt.allclose(a.grad, b.grad), name)
    end
  end)

  it("a result that was made of views is a tensor of its own", function()
    for _, name in ipairs {"var", "std", "norm", "logsumexp", "cumsum", "roll", "masked_select", "tril"} do
      local x, w = lt.tensor{{1, 2}, {3, 5}}, leaf(2)
      local y = name == "masked_select" and x:masked_select(x:gt(1)) or name == "tril" and x:tril() or ops[name](x, 1)
      y:add_(w)
      y:sum():backward()
      assert.are.equal(y:numel(), w.grad:item(), name)
    end
  end)

  it("the other operand's gradient sees the old values too", function()
    local w = leaf{3, 4}
    local x = lt.tensor{1, 2}
    x:mul_(w)
    x:sum():backward()
    assert.are.same({1, 2}, w.grad:tolist())
  end)
end)

describe("saved values", function()
  it("of a view whose base was changed are those of the new history", function()
    local x = leaf{2, 3}
    local b = x * 1
    local v = b["0:1"]
    b:mul_(2)
    local y = v * v
    y:sum():backward() -- (2 x)^2, of which the derivative is 8 x
    assert.are.same({16, 0}, x.grad:tolist())
    local z = leaf{2, 3}
    b = z * 1
    v = b["0:1"]
    b:mul_(2)
    local g = lt.autograd.grad((v * v):sum(), z, {create_graph = true})[1]
    assert.are.same({8, 0}, lt.autograd.grad(g:sum(), z)[1]:tolist())
  end)

  it("of a view without a node are refreshed as well", function()
    local x, b = leaf{3}, lt.zeros(2)
    local v = b["0:1"]
    b:add_(x * x)
    local g = lt.autograd.grad((v * v):sum(), x, {create_graph = true})[1] -- x^4
    assert.are.same({108}, g:tolist())
    assert.are.same({108}, lt.autograd.grad(g:sum(), x)[1]:tolist())
  end)

  it("are refused when data of another shape took their place", function()
    local x, w = leaf{1, 2, 3}, leaf{4, 5, 6}
    local y = (x * w):sum()
    w.data = lt.ones(1)
    refused("backward of mul: an input that it needs was given other data", function() y:backward() end)
    x = leaf{1, 2, 3}
    y = (x * x):sum()
    x.data = lt.ones(3)
    refused("backward of mul: an input that it needs was given other data", function() y:backward() end)
  end)
end)

describe("gradients", function()
  it("reach every one of 65,546 tensors of a list", function()
    local x = lt.ones(65546, 1, {requires_grad = true})
    local rows = {}
    for i = 1, 65546 do rows[i] = x["0"] end
    rows[1], rows[65546] = leaf{1}, leaf{1}
    lt.cat(rows):sum():backward()
    assert.are.same({1}, rows[1].grad:tolist())
    assert.are.same({1}, rows[65546].grad:tolist())
    assert.are.equal(65544, x.grad["0"]:item())
  end)

  it("may form a long chain", function()
    local first = lt.zeros(1)
    for _ = 1, 400000 do
      local holder = lt.zeros(1)
      holder.grad = first
      first = holder
    end
    first.grad = nil
    collectgarbage()
    assert.is_nil(first.grad)
  end)

  it("of masked_fill reach a value that is a tensor of no dimension", function()
    local x, value = leaf{1, 2, 3}, leaf(5)
    local mask = lt.tensor{true, false, true}
    local y = x:masked_fill(mask, value)
    assert.are.same({5, 2, 5}, y:tolist())
    y:sum():backward()
    assert.are.same({0, 1, 0}, x.grad:tolist())
    assert.are.equal(2, value.grad:item())
    refused("masked_fill: value must be a number or a tensor without dimensions", function() return x:masked_fill(mask, lt.ones(1)) end)
    local z = lt.zeros(3)
    z:masked_fill_(mask, value)
    z:sum():backward()
    assert.are.equal(4, value.grad:item())
  end)

  it("are 0 where every target is ignored", function()
    for _, name in ipairs {"nll_loss", "cross_entropy"} do
      local x = lt.zeros(2, 3, {requires_grad = true})
      local y = F[name](x, lt.LongTensor{-100, -100})
      assert.is_true(y:item() ~= y:item())
      y:backward()
      assert.are.same({{0, 0, 0}, {0, 0, 0}}, x.grad:tolist())
    end
  end)

  it("of probabilities without classes do not stop the process", function()
    assert.are.equal(0, F.cross_entropy(lt.zeros(2, 0), lt.zeros(2, 0)):dim())
  end)

  it("can be differentiated once more where the second derivative is zero", function()
    local image = function() return lt.rand(1, 1, 4, 4, {requires_grad = true}) end
    local cases = {
      relu = F.relu, leaky_relu = F.leaky_relu, relu6 = F.relu6, hardtanh = F.hardtanh, abs = lt.abs,
      threshold = function(x) return F.threshold(x, 0.5, 0) end,
      avg_pool2d = function(x) return F.avg_pool2d(x, 2) end, max_pool2d = function(x) return F.max_pool2d(x, 2) end,
      pad = function(x) return F.pad(x, {1, 1}, "replicate") end,
      nll_loss = function(x) return F.nll_loss(x:view(4, 4), lt.LongTensor{0, 1, 2, 3}) end,
    }
    for name, fn in pairs(cases) do
      local x = image()
      local g = lt.autograd.grad(fn(x):sum(), x, {create_graph = true})[1]
      assert.is_true(g.requires_grad, name)
      g:sum():backward()
      assert.are.equal(0, x.grad:abs():sum():item(), name)
    end
  end)

  it("is a constant where PyTorch's is: of what only moves elements, the second derivative raises", function()
    local ids = lt.LongTensor{0, 1}
    local cases = {
      index_select = function(x) return x:index_select(0, ids) end, gather = function(x) return x:gather(0, lt.LongTensor{{0, 1}}) end,
      index = function(x) return x[ids] end, embedding = function(x) return F.embedding(ids, x) end, sum = function(x) return x:sum(0) end,
      cat = function(x) return lt.cat{x, x} end, pad = function(x) return F.pad(x, {1, 1}) end, amax = function(x) return x:amax(0) end,
      max = function(x) return (x:max(0)) end, maximum = function(x) return lt.maximum(x, 0.5) end, clamp = function(x) return x:clamp(0.2, 0.8) end,
      floor = lt.floor,
    }
    for name, fn in pairs(cases) do
      local x = lt.rand(2, 3, {requires_grad = true})
      local g = lt.autograd.grad(fn(x):sum(), x, {create_graph = true})[1]
      assert.is_false(g.requires_grad, name)
      refused("does not require a gradient", g.backward, g:sum())
    end
  end)

  it("of rows used one by one are collected in place", function()
    local x = lt.rand(64, 3, 2, {requires_grad = true})
    local y = lt.zeros(3)
    for i = 0, 63 do y = y + x[i][":, 0"] * i end
    y:sum():backward()
    local want = lt.arange(64):view(64, 1, 1) * lt.tensor{1, 0} * lt.ones(64, 3, 2)
    assert.is_true(lt.equal(want, x.grad))
    local w = leaf{1, 2, 3, 4}; -- beside a gradient that came as a whole
    (w["1:3"]:sum() + (w * w):sum() + w["0"]):backward()
    assert.are.same({3, 5, 7, 8}, w.grad:tolist())
  end)

  it("in their graph hold no value after its last use", function()
    local x = lt.rand(1000, 1000)
    local before = lt.memory_stats().live
    local C = require("lunette.ffi").C
    lt.var(x, 1)
    collectgarbage()
    C.ln_memory_counters().peak = C.ln_memory_counters().live
    local y = lt.norm(x, 3, 1)
    local most = (tonumber(C.ln_memory_counters().peak) - before) / 4e6
    assert.is_true(most < 2.1, most .. " times the input") -- |x| and its powers at once
    assert.are.equal(1000, y:numel())
  end)
end)
