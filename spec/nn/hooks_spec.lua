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
    assert.has_error(function() Double():register_forward_hook(3) end, "register_forward_hook: argument 'hook' must be a function, got 3")
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

describe("the order of hooks", function()
  local Scaled = nn.Module:subclass("Scaled")
  function Scaled:forward(x, options) return x * (options and options.scale or 2) end

  it("is: those of all modules, those put in front, the others", function()
    local m, order = Double(), {}
    local function note(word)
      return function() order[#order + 1] = word end
    end
    local handles = {nn.register_module_forward_pre_hook(note("all pre")), nn.register_module_forward_hook(note("all post"))}
    finally(function()
      for _, handle in ipairs(handles) do handle:remove() end
    end)
    m:register_forward_pre_hook(note("pre 1"))
    m:register_forward_pre_hook(note("pre 0"), {prepend = true})
    m:register_forward_hook(note("post 1"))
    m:register_forward_hook(note("post 0"), {prepend = true})
    m(lt.tensor(1))
    assert.are.same({"all pre", "pre 0", "pre 1", "all post", "post 0", "post 1"}, order)
  end)

  it("lets hooks with kwargs see and change the table of names that the call ends in", function()
    local m, seen = Scaled(), {}
    m:register_forward_pre_hook(function(_, input, names)
      seen[1] = {input.n, names.scale}
      return {input[1] + 1}, {scale = (names.scale or 1) * 10}
    end, {with_kwargs = true})
    m:register_forward_hook(function(_, input, names, output)
      seen[2] = {input.n, input[1]:item(), names.scale, output:item()}
      return output + 0.5
    end, {with_kwargs = true})
    assert.are.equal(60.5, m(lt.tensor(1), {scale = 3}):item())
    assert.are.same({{1, 3}, {1, 2, 30, 60}}, seen)
    assert.are.equal(20.5, m(lt.tensor(1)):item())
    m:register_forward_pre_hook(function(_, input) return input end, {with_kwargs = true})
    assert.has_error(function() m(lt.tensor(1)) end, "Scaled: a forward pre-hook with kwargs returns the inputs and the table of names, the second value is nil")
  end)
end)

describe("hooks that are always called", function()
  local Bad = nn.Module:subclass("Bad")
  function Bad:forward() error("bad", 0) end

  it("are called when forward raises, without an output, and the error goes on", function()
    local m, seen = Bad(), {}
    m:register_forward_hook(function(_, input, output) seen[#seen + 1] = {input[1]:item(), tostring(output)} end, {always_call = true})
    m:register_forward_hook(function() seen[#seen + 1] = "other" end)
    assert.has_error(function() m(lt.tensor(3)) end, "bad")
    assert.are.same({{3, "nil"}}, seen)
  end)

  it("are called once when a later hook raises", function()
    local m, calls = Double(), 0
    m:register_forward_hook(function() calls = calls + 1 end, {always_call = true})
    m:register_forward_hook(function() error("late", 0) end)
    m:register_forward_hook(function() calls = calls + 10 end, {always_call = true})
    assert.has_error(function() m(lt.tensor(3)) end, "late")
    assert.are.equal(11, calls)
  end)
end)

describe("full backward hooks", function()
  it("run after the pre-hooks, which may replace the gradients of outputs", function()
    local m, seen = Double(), {}
    m:register_full_backward_pre_hook(function(_, grad_output)
      seen[#seen + 1] = {"pre", grad_output[1]:item()}
      return {grad_output[1] * 10}
    end)
    m:register_full_backward_hook(function(_, grad_input, grad_output)
      seen[#seen + 1] = {"post", grad_input[1]:item(), grad_output[1]:item()}
      return grad_input[1] + 1
    end)
    m:register_full_backward_hook(function(_, grad_input) seen[#seen + 1] = {"second", grad_input[1]:item()} end)
    m:register_full_backward_hook(function() seen[#seen + 1] = {"first"} end, {prepend = true})
    local x = lt.ones(1, {requires_grad = true})
    m(x):sum():backward()
    assert.are.same({{"pre", 1}, {"first"}, {"post", 20, 10}, {"second", 21}}, seen)
    assert.are.equal(21, x.grad:item())
  end)

  it("get several inputs and outputs, nil where there is no gradient", function()
    local Two = nn.Module:subclass("Two")
    function Two:forward(x, y) return x * y, x + y end
    local m, seen = Two(), nil
    m:register_full_backward_hook(function(_, i, o) seen = {i.n, i[1]:item(), i[2], o.n, o[1]:item(), o[2]} end)
    local x = lt.ones(1, {requires_grad = true})
    local a = m(x, lt.tensor{3})
    a:sum():backward()
    assert.are.same({2, 3, nil, 2, 1}, seen)
    assert.are.equal(3, x.grad:item())
  end)

  it("see the gradient of an input that the module changes in place", function()
    local m, seen = nn.ReLU{inplace = true}, nil
    m:register_full_backward_hook(function(_, i, o) seen = {i[1]:tolist(), o[1]:tolist()} end)
    local x = lt.tensor({-1, 2}, {requires_grad = true})
    lt.sum(m(x * 2) * lt.tensor{5, 7}):backward()
    assert.are.same({{0, 7}, {5, 7}}, seen)
    assert.are.same({0, 14}, x.grad:tolist())
  end)

  it("refuse answers that do not fit", function()
    local m = nn.Linear(2, 2)
    local handle = m:register_full_backward_hook(function() return lt.ones(1) end)
    assert.has_error(function() m(lt.ones(1, 2)):sum():backward() end,
      "Linear: a backward hook of a call whose inputs want no gradient must return nothing")
    handle:remove()
    m = Double()
    handle = m:register_full_backward_hook(function(_, i) return {i[1], i[1]} end)
    assert.has_error(function() m(lt.ones(1, {requires_grad = true})):sum():backward() end, "Double: a backward hook returned 2 gradients for 1 inputs")
    handle:remove()
    m:register_full_backward_pre_hook(function(_, o) return {o[1], o[1]} end)
    assert.has_error(function() m(lt.ones(1, {requires_grad = true})):sum():backward() end, "Double: a backward pre-hook returned 2 gradients for 1 outputs")
  end)
end)

describe("hooks of all modules", function()
  it("see every call, also of modules made before, until they are removed", function()
    local net, seen = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), {}
    local forward = nn.register_module_forward_hook(function(m) seen[#seen + 1] = m.class.__name end)
    local pre = nn.register_module_full_backward_pre_hook(function(m) seen[#seen + 1] = "before " .. m.class.__name end)
    local backward = nn.register_module_full_backward_hook(function(m) seen[#seen + 1] = "after " .. m.class.__name end)
    local x = lt.ones(1, 2, {requires_grad = true})
    net(x):sum():backward()
    assert.are.same({"Linear", "ReLU", "Sequential", "before Sequential", "before ReLU", "after ReLU", "before Linear", "after Linear", "after Sequential"}, seen)
    forward:remove()
    pre:remove()
    backward:remove()
    seen = {}
    net(x):sum():backward()
    assert.are.same({}, seen)
  end)

  it("may replace inputs and outputs, and see names", function()
    local pre = nn.register_module_forward_pre_hook(function(_, input) return input[1] + 1 end)
    local post = nn.register_module_forward_hook(function(_, _, names, output) return output * (names.times or 3) end, {with_kwargs = true})
    local result = Double()(lt.tensor(1)):item()
    pre:remove()
    post:remove()
    assert.are.equal(12, result)
    assert.are.equal(2, Double()(lt.tensor(1)):item())
  end)

  it("may replace what is registered anywhere", function()
    local seen = {}
    local handles = {
      nn.register_module_parameter_registration_hook(function(m, name, p)
        seen[#seen + 1] = m.class.__name .. "." .. name
        return p and nn.Parameter(p.data * 0)
      end),
      nn.register_module_buffer_registration_hook(function(_, name) seen[#seen + 1] = "buffer " .. name end),
      nn.register_module_module_registration_hook(function(_, name, m)
        seen[#seen + 1] = "module " .. name
        return m.class == nn.ReLU and nn.Tanh() or nil
      end),
    }
    local net = nn.Sequential(nn.BatchNorm1d(1, {affine = false}), nn.Linear(1, 1), nn.ReLU())
    for _, handle in ipairs(handles) do handle:remove() end
    assert.are.same({"BatchNorm1d.weight", "BatchNorm1d.bias", "buffer running_mean", "buffer running_var", "buffer num_batches_tracked", "Linear.weight",
      "Linear.bias", "module 0", "module 1", "module 2"}, seen)
    assert.are.equal(nn.Tanh, net[2].class)
    seen = {}
    nn.Linear(1, 1)
    assert.are.same({}, seen)
  end)
end)
