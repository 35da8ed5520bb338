--- Custom Functions: what backward returns and what a context may be told; graphs that are freed; gradients in the dtype and shape of their inputs.

local lt = require("lunette")

local function leaf(data, dtype) return lt.tensor(data, {requires_grad = true, dtype = dtype}) end

local function refused(part, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(message:find(part, 1, true), message)
end

--- A Function of its arguments' product with 2 whose backward is `backward`.
local function doubling(backward)
  local Double = lt.autograd.Function:subclass("Double")
  function Double.forward(_, x) return x * 2 end
  Double.backward = backward
  return Double
end

describe("backward of a custom Function", function()
  local x = leaf{1, 2}

  it("returns one value for each argument of forward", function()
    local One = doubling(function(_, dy) return dy * 2 end)
    One.apply(x):sum():backward()
    assert.are.same({2, 2}, x.grad:tolist())
    refused("Double.backward returned 1 value for 2 arguments of forward; it returns one for each, nil where there is no gradient", function()
      One.apply(x, 3):sum():backward()
    end)
    local Two = doubling(function(_, dy) return dy * 2, nil end)
    Two.apply(x, 3):sum():backward()
    refused("Double.backward returned 2 values for 1 argument of forward", function() Two.apply(x):sum():backward() end)
    refused("Double.backward returned 0 values for 1 argument of forward", function() doubling(function() end).apply(x):sum():backward() end)
  end)

  it("returns tensors or nil", function()
    refused("Double.backward: value 1 must be a tensor or nil, not 3", function() doubling(function() return 3 end).apply(x):sum():backward() end)
    x.grad = nil
    doubling(function() return nil end).apply(x):sum():backward()
    assert.is_nil(x.grad)
  end)

  it("must be there, as forward must", function()
    refused("Double has no backward: write function Double.backward(ctx, ...)", function() doubling(nil).apply(x) end)
    refused("Empty has no forward: write function Empty.forward(ctx, ...)", function() lt.autograd.Function:subclass("Empty").apply(x) end)
  end)

  it("has the gradients of outputs that were not used as zeros", function()
    local Split, seen = lt.autograd.Function:subclass("Split"), nil
    function Split.forward(_, t) return t * 1, t:double() * 3 end
    function Split.backward(_, a, b)
      seen = b
      return a
    end
    Split.apply(x):sum():backward()
    assert.are.same({0, 0}, seen:tolist())
    assert.are.equal("float64", seen.dtype)
  end)
end)

describe("a context", function()
  local x = leaf{1, 2}

  it("keeps what it was told out of reach", function()
    local Careless = lt.autograd.Function:subclass("Careless")
    function Careless.forward(ctx, t)
      ctx:save_for_backward(t)
      ctx.to_save, ctx.saved, ctx.dirty, ctx.without = {n = -5}, {n = -5}, {n = 2 ^ 40}, 3
      return t * t
    end
    function Careless.backward(ctx, dy)
      assert.are.equal(1, ctx.saved_tensors.n)
      return dy * ctx.saved_tensors[1] * 2
    end
    x.grad = nil
    Careless.apply(x):sum():backward()
    assert.are.same({2, 4}, x.grad:tolist())
  end)

  it("takes tensors, in forward, with a colon", function()
    local told
    local Told = doubling(function(_, dy) return dy end)
    function Told.forward(ctx, t)
      told(ctx, t)
      return t * 2
    end
    local wrong = {
      {function(ctx, t) ctx:save_for_backward(t, 3) end, "save_for_backward takes tensors, argument 2 is 3"},
      {function(ctx, t) ctx:save_for_backward(t, nil) end, "save_for_backward takes tensors, argument 2 is nil"},
      {function(ctx) ctx:mark_dirty(3) end, "mark_dirty takes tensors, argument 1 is 3"},
      {function(ctx) ctx:mark_non_differentiable({}) end, "mark_non_differentiable takes tensors, argument 1 is a table"},
      {function(ctx, t) ctx.save_for_backward(t) end, "save_for_backward is called in forward, on its context, with a colon: ctx:save_for_backward(...)"},
      {function(ctx) ctx.mark_dirty() end, "mark_dirty is called in forward"},
    }
    for _, case in ipairs(wrong) do
      told = case[1]
      refused(case[2], Told.apply, x)
    end
    local late
    told = function(ctx) late = ctx end
    Told.apply(x)
    refused("save_for_backward is called in forward", function() late:save_for_backward(x) end)
  end)

  it("marks outputs without a gradient", function()
    local Order = lt.autograd.Function:subclass("Order")
    function Order.forward(ctx, t)
      local places = t * 0
      ctx:mark_non_differentiable(places)
      return t * 2, places
    end
    function Order.backward(_, dy) return dy * 2 end
    local y, places = Order.apply(x)
    assert.is_true(y.requires_grad)
    assert.is_false(places.requires_grad)
    x.grad = nil
    y:sum():backward()
    assert.are.same({2, 2}, x.grad:tolist())
  end)
end)

describe("autograd.grad", function()
  it("frees the graph, unless it is told to keep it", function()
    local x = leaf{1, 2, 3}
    local y = (x * x):sum()
    lt.autograd.grad(y, x, {retain_graph = true})
    lt.autograd.grad(y, x)
    refused("its saved values were freed by an earlier backward", lt.autograd.grad, y, x)
    local z = (x * x):sum()
    local first = lt.autograd.grad(z, x, {create_graph = true})[1]
    assert.are.same({2, 4, 6}, lt.autograd.grad(z, x)[1]:tolist()) -- create_graph keeps it too
    assert.is_true(first.requires_grad)
  end)

  it("gives memory back that the graph held", function()
    local x = leaf{1, 2, 3}
    local y = (x:expand(1000, 3):contiguous():exp():exp():exp()):sum()
    lt.gc()
    local before = lt.memory_stats().live
    lt.autograd.grad(y, x)
    lt.gc()
    assert.is_true(lt.memory_stats().live <= before - 3 * 12000)
  end)

  it("gives gradients of the input's dtype and shape, recorded or not", function()
    for _, create_graph in ipairs{false, true} do
      local a, b = leaf({{1}, {2}}), leaf({3, 4, 5}, "float64")
      local y = (a * b + (a - b) ^ 2):sum()
      local grads = lt.autograd.grad(y, {a, b}, {create_graph = create_graph})
      assert.are.same({"float32", "float64"}, {grads[1].dtype, grads[2].dtype})
      assert.are.same({{2, 1}, {3}}, {grads[1].shape:totable(), grads[2].shape:totable()})
      -- d/da: sum of b + 2 (a - b); d/db: sum of a - 2 (a - b)
      assert.are.same({{12 + 2 * (3 - 12)}, {12 + 2 * (6 - 12)}}, grads[1]:tolist())
      assert.are.same({3 - 2 * (3 - 6), 3 - 2 * (3 - 8), 3 - 2 * (3 - 10)}, grads[2]:tolist())
    end
  end)

  it("and backward of several refuse what is no tensor", function()
    local x = leaf{1}
    refused("grad: entry 1 of inputs must be a tensor, not 3", lt.autograd.grad, (x * 2):sum(), {3})
    refused("grad: inputs is empty", lt.autograd.grad, (x * 2):sum(), {})
    refused("backward: entry 2 of tensors must be a tensor, not 3", lt.autograd.backward, {(x * 2):sum(), 3})
    refused("backward has no argument 'retain'", lt.autograd.backward, {(x * 2):sum()}, {retain = true})
    lt.autograd.backward({x * 3, (x * 2):sum()}, {lt.ones(1)})
    assert.are.equal(5, x.grad:item())
  end)
end)
