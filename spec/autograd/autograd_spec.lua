--- The engine: accumulation, retained graphs, hooks, custom Functions, views changed in place, scopes, depth, memory.

local lt = require("lunette")

local function leaf(data) return lt.tensor(data, {requires_grad = true}) end

describe("backward", function()
  it("accumulates into leaves and frees the graph", function()
    local x = leaf {1, 2, 3}
    local y = (x * x):sum()
    y:backward({retain_graph = true})
    y:backward()
    assert.are.same({4, 8, 12}, x.grad:tolist())
    assert.has_error(function() y:backward() end)
  end)

  it("needs a gradient for more than one number", function()
    local x = leaf {1, 2}
    local ok, message = pcall(function() (x * 2):backward() end)
    assert.is_false(ok)
    assert.is_truthy(message:find("{2}", 1, true))
  end)

  it("refuses a value that was changed in place since", function()
    local x = leaf {1, 2}
    local y = x:exp()
    local z = y * y
    y:mul_(2)
    local ok, message = pcall(function() z:sum():backward() end)
    assert.is_false(ok)
    assert.is_truthy(message:find("mul", 1, true))
  end)

  it("follows a view that was changed in place", function()
    local base, w = lt.zeros(2, 2), leaf {3, 4}
    local row = base[0]
    row:copy_(w)
    row:mul_(2);
    (base * base):sum():backward()
    assert.are.same({24, 32}, w.grad:tolist())
  end)

  it("refuses to change a leaf that wants a gradient", function()
    local x = leaf {1, 2}
    assert.has_error(function() x:add_(1) end)
    assert.has_error(function() x[0] = 1 end)
    lt.no_grad(function() x:add_(1) end)
    assert.are.same({2, 3}, x:tolist())
  end)

  it("gives gradients of chosen inputs", function()
    local x, w = leaf {2, 3}, leaf {5, 7}
    local y = (x * w):sum()
    local g = lt.autograd.grad(y, {w}, {retain_graph = true})
    assert.are.same({2, 3}, g[1]:tolist())
    assert.is_nil(x.grad)
    local unused = leaf {1}
    assert.has_error(function() lt.autograd.grad(y, {unused}, {retain_graph = true}) end)
    assert.is_nil(lt.autograd.grad(y, {unused}, {allow_unused = true})[1])
  end)

  it("walks and frees 200,000 operators without recursion", function()
    local x = leaf {1}
    local y = x
    for _ = 1, 200000 do y = y * 1 end
    y:backward()
    assert.are.equal(1, x.grad:item())
  end)

  it("can be called again from a hook", function()
    local x = leaf {3}
    local y = x * x
    y:register_hook(function()
      lt.enable_grad(function() (x * 5):backward() end)
    end)
    y:backward()
    assert.are.equal(11, x.grad:item())
  end)

  it("names the line in anomaly mode", function()
    local x = leaf {-1}
    local ok, message = pcall(lt.autograd.detect_anomaly, function() x:sqrt():backward() end)
    assert.is_false(ok)
    assert.is_truthy(message:find("sqrt", 1, true))
    assert.is_truthy(message:find("autograd_spec.lua", 1, true))
  end)
end)

describe("hooks", function()
  it("see and replace a gradient, and are removed", function()
    local x = leaf {1, 2}
    local handle = x:register_hook(function(g) return g * 10 end);
    (x * 1):sum():backward()
    assert.are.same({10, 10}, x.grad:tolist())
    handle:remove()
    handle:remove();
    (x * 1):sum():backward()
    assert.are.same({11, 11}, x.grad:tolist())
  end)

  it("keep the gradient of an inner tensor", function()
    local x = leaf {2}
    local y = x * 3
    y:retain_grad();
    (y * y):backward()
    assert.are.equal(12, y.grad:item())
  end)
end)

describe("a custom Function", function()
  local Exp = lt.autograd.Function:subclass("Exp")
  function Exp.forward(ctx, x)
    local y = x:exp()
    ctx:save_for_backward(y)
    return y
  end
  function Exp.backward(ctx, dy) return dy * ctx.saved_tensors[1] end

  it("is differentiated, twice", function()
    local x = lt.tensor({0.3, -0.7}, {dtype = "float64", requires_grad = true})
    assert.is_true(lt.autograd.gradcheck(Exp.apply, {x}))
    assert.is_true(lt.autograd.gradgradcheck(Exp.apply, {x}))
  end)

  it("leaves memory flat, 10,000 times", function()
    local x = leaf {1, 2}
    local function steps(n)
      for _ = 1, n do Exp.apply(x):sum():backward() end
      lt.gc()
      Exp.apply(x):sum():backward()
      lt.gc()
      return lt.memory_stats().nodes, lt.memory_stats().tensors
    end
    local nodes, tensors = steps(100)
    local nodes_after, tensors_after = steps(10000)
    assert.are.equal(nodes, nodes_after)
    assert.are.equal(tensors, tensors_after)
  end)
end)

describe("lt.scope", function()
  it("releases what it does not return, also on error", function()
    local before = lt.memory_stats().tensors
    local escaped
    local kept = lt.scope(function()
      escaped = lt.ones(3)
      return lt.ones(2) + 1
    end)
    assert.are.same({2, 2}, kept:tolist())
    assert.has_error(function() return escaped + 1 end)
    assert.has_error(function() lt.scope(function() local _ = lt.ones(4) error("out") end) end)
    kept = nil -- luacheck: ignore
    lt.gc()
    assert.is_true(lt.memory_stats().tensors <= before)
  end)

  it("keeps memory flat with the collector stopped", function()
    local x = leaf {1, 2}
    collectgarbage("stop")
    local before
    for i = 1, 2000 do
      lt.scope(function() (x * x):sum():backward() end)
      if i == 1000 then before = lt.memory_stats().live end
    end
    collectgarbage("restart")
    assert.are.equal(before, lt.memory_stats().live)
  end)
end)

describe("a gradient after zero_grad", function()
  local function passed(n)
    local w = lt.ones(3, {requires_grad = true})
    local optimizer = lt.optim.SGD({w}, {lr = 0.1});
    (w * 2):sum():backward()
    local held = w.grad
    optimizer:zero_grad()
    return w, held, function() (w * n):sum():backward() end
  end

  it("is the same object, with the new values", function()
    local w, held, pass = passed(5)
    pass()
    assert.is_true(held == w.grad)
    assert.are.same({5, 5, 5}, held:tolist())
  end)

  it("is seen through views and aliases made before", function()
    local w, held, pass = passed(5)
    local view, alias = held["0:2"], held:detach()
    pass()
    assert.are.same({5, 5}, view:tolist())
    assert.are.same({5, 5, 5}, alias:tolist())
    assert.are.same({5, 5, 5}, w.grad:tolist())
  end)

  it("is added to when it was written to in between", function()
    local w, held, pass = passed(5)
    held:add_(1)
    pass()
    assert.are.same({6, 6, 6}, w.grad:tolist())
    pass()
    assert.are.same({11, 11, 11}, w.grad:tolist())
  end)

  it("is no other leaf's, though one gradient reaches both", function()
    local a, b = lt.ones(3, {requires_grad = true}), lt.ones(3, {requires_grad = true})
    local optimizer = lt.optim.SGD({a, b}, {lr = 0.1});
    (a + b):sum():backward()
    optimizer:zero_grad();
    (a + b):sum():backward()
    a.grad:mul_(10)
    assert.are.same({1, 1, 1}, b.grad:tolist())
    local dy = lt.ones(3);
    (a * 1):backward(dy)
    a.grad:zero_()
    assert.are.same({1, 1, 1}, dy:tolist())
  end)

  it("may be the gradient of another pass", function()
    local w = lt.ones(3, {requires_grad = true});
    (w * 2):sum():backward();
    (w * 1):backward(w.grad)
    assert.are.same({4, 4, 4}, w.grad:tolist())
  end)
end)

describe("a forked child", function()
  it("computes", function()
    local ffi = require("ffi")
    ffi.cdef("int fork(void); int waitpid(int pid, int *status, int options); void _exit(int status);")
    local options = {device = "cpu"} -- no CUDA context survives a fork
    lt.ones(1000, 1000, options):sum():item()
    local pid = ffi.C.fork()
    if pid == 0 then
      local ok, sum = pcall(function() return lt.ones(300, 300, options):matmul(lt.ones(300, 300, options)):sum():item() end)
      ffi.C._exit(ok and sum == 27000000 and 0 or 1)
    end
    local status = ffi.new("int[1]")
    ffi.C.waitpid(pid, status, 0)
    assert.are.equal(0, status[0])
  end)
end)
