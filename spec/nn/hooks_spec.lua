local lt = require("lunette")
local nn = lt.nn

local Double = nn.Module:subclass("Double")
function Double:forward(x) return x * 2 end

local Swap = nn.Module:subclass("Swap")
function Swap:forward(a, b) return b, a end

describe("forward hooks", function()
  it("see input and output and may replace the output", function()
    local m, seen = Double(), nil
    local handle = m:register_forward_hook(function(self, input, output)
      seen = {self, input.n, input[1]:item(), output:item()}
      return output + 1
    end)
    assert.are.equal(7, m(lt.tensor(3)):item())
    assert.is_true(seen[1] == m)
    assert.are.same({1, 3, 6}, {seen[2], seen[3], seen[4]})
    handle:remove()
    handle:remove()
    assert.are.equal(6, m(lt.tensor(3)):item())
  end)

  it("get several outputs as an array with n", function()
    local m = Swap()
    m:register_forward_hook(function(_, input, output)
      assert.are.same({2, 2}, {input.n, output.n})
      return {output[2], output[1]}
    end)
    local a, b = m(lt.tensor(1), lt.tensor(2))
    assert.are.same({1, 2}, {a:item(), b:item()})
  end)

  it("run in order, and one may take itself off", function()
    local m, order = Double(), {}
    local first
    first = m:register_forward_hook(function()
      order[#order + 1] = "first"
      first:remove()
    end)
    m:register_forward_hook(function() order[#order + 1] = "second" end)
    m(lt.tensor(1))
    m(lt.tensor(1))
    assert.are.same({"first", "second", "second"}, order)
  end)

  it("must be functions", function()
    assert.has_error(function() Double():register_forward_hook(3) end, "register_forward_hook: the hook must be a function, not 3")
  end)
end)

describe("hooks and copies", function()
  it("are kept by the copy, which loses them by itself", function()
    local m, calls = Double(), 0
    local handle = m:register_forward_hook(function() calls = calls + 1 end)
    local copy = lt.deepcopy(m)
    copy(lt.tensor(1))
    assert.are.equal(1, calls)
    handle:remove()
    m(lt.tensor(1))
    assert.are.equal(1, calls)
    copy(lt.tensor(1))
    assert.are.equal(2, calls)
  end)
end)

describe("forward pre-hooks", function()
  it("replace the input by one value or by an array of all", function()
    local m = Double()
    local handle = m:register_forward_pre_hook(function(_, input) return input[1] + 1 end)
    assert.are.equal(8, m(lt.tensor(3)):item())
    handle:remove()
    local s = Swap()
    s:register_forward_pre_hook(function(_, input) return {input[1] * 10, input[2]} end)
    local a, b = s(lt.tensor(1), lt.tensor(2))
    assert.are.same({2, 10}, {a:item(), b:item()})
  end)
end)

describe("backward hooks", function()
  it("see the gradients of inputs and outputs", function()
    local m, seen = Double(), nil
    m:register_backward_hook(function(self, grad_input, grad_output)
      seen = {self == m, grad_input.n, grad_input[1]:item(), grad_output.n, grad_output[1]:item()}
    end)
    local x = lt.tensor(3, {requires_grad = true})
    local loss = m(x) * 5
    loss:backward()
    assert.are.same({true, 1, 10, 1, 5}, seen)
    assert.are.equal(10, x.grad:item())
  end)

  it("may replace the gradients of inputs", function()
    local m = nn.Linear(2, 2)
    local handle = m:register_full_backward_hook(function(_, grad_input) return {grad_input[1] * 0} end)
    local x = lt.ones({1, 2}, {requires_grad = true})
    m(x):sum():backward()
    assert.are.equal(0, x.grad:abs():sum():item())
    assert.is_true(m.bias.grad:sum():item() == 2)
    handle:remove()
    m(x):sum():backward()
    assert.is_true(x.grad:abs():sum():item() > 0)
  end)

  it("fire when no input wants a gradient, with nil in its place", function()
    local m, seen = nn.Linear(2, 2), nil
    m:register_backward_hook(function(_, grad_input, grad_output) seen = {grad_input.n, grad_input[1], grad_output[1]:sum():item()} end)
    m(lt.ones(1, 2)):sum():backward()
    assert.are.same({1, nil, 2}, seen)
  end)

  it("leave memory flat", function()
    local m = Double()
    m:register_backward_hook(function() end)
    local x = lt.tensor(3, {requires_grad = true})
    local function steps(n)
      for _ = 1, n do m(x):backward() end
      collectgarbage()
      m(x):backward() -- Lua parts of graphs that the collector has freed are given up with the next call
      collectgarbage()
      return collectgarbage("count")
    end
    steps(2000)
    local before = steps(2000)
    assert.is_true(steps(10000) - before < 2000)
  end)
end)

describe("a copy by lt.deepcopy", function()
  it("has the hooks of the original, and its own from then on", function()
    local m, seen = nn.Linear(2, 2), {}
    m:register_forward_pre_hook(function() seen[#seen + 1] = "pre" end)
    m:register_forward_hook(function() seen[#seen + 1] = "forward" end)
    m:register_full_backward_hook(function() seen[#seen + 1] = "backward" end)
    local copy = lt.deepcopy(m)
    copy(lt.ones(1, 2, {requires_grad = true})):sum():backward()
    assert.are.same({"pre", "forward", "backward"}, seen)
    copy:register_forward_hook(function() seen[#seen + 1] = "copy's" end)
    seen = {}
    m(lt.ones(1, 2))
    assert.are.same({"pre", "forward"}, seen)
    copy(lt.ones(1, 2))
    assert.are.same({"pre", "forward", "pre", "forward", "copy's"}, seen)
  end)
end)
