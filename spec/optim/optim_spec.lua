local lt = require("lunette")
local helper = require("spec.nn.helper")
local nn, optim = lt.nn, lt.optim
local wave = helper.wave

local function two_groups(case)
  local a, b = nn.Parameter(wave{2, 3}), nn.Parameter(wave({4}, 1))
  return optim[case.name]({{params = {a}}, {params = {b}, lr = case.options.lr / 2}}, case.options), a, b
end

local function train(opt, a, b, from, to)
  local schedule = optim.lr_scheduler.StepLR(opt, {step_size = 2, gamma = 0.5})
  for step = from, to do
    opt:zero_grad{set_to_none = true}
    local loss = (a * a):sum() + a:sum() ^ 2 * 0.1
    if step > 0 then loss = loss + (b ^ 4):sum() end
    loss:backward()
    opt:step()
    schedule:step()
  end
  return schedule
end

describe("optimizers", function()
  for i, case in ipairs(helper.fixtures.optim) do
    it(("agree with PyTorch: %s, case %d"):format(case.name, i), function()
      local opt, a, b = two_groups(case)
      local schedule = train(opt, a, b, 0, 4)
      helper.check(case.a, a, 2e-5)
      helper.check(case.b, b, 2e-5)
      assert.are.same(case.lr, schedule:get_last_lr())
    end)

    it(("go on from a state dict: %s, case %d"):format(case.name, i), function()
      local opt, a, b = two_groups(case)
      local reference, ra, rb = two_groups(case)
      local function steps(o, x, y, n)
        for _ = 1, n do
          o:zero_grad()
          local loss = (x * x):sum() + (y ^ 4):sum()
          loss:backward()
          o:step()
        end
      end
      steps(reference, ra, rb, 5)
      steps(opt, a, b, 3)
      local saved = lt.deepcopy(opt:state_dict())
      local second = two_groups(case)
      local a2, b2 = second.param_groups[1].params[1], second.param_groups[2].params[1]
      a2.data:copy_(a.data)
      b2.data:copy_(b.data)
      second:load_state_dict(saved)
      steps(second, a2, b2, 2)
      assert.is_true(lt.equal(ra.data, a2.data) and lt.equal(rb.data, b2.data))
    end)
  end

  it("pass over parameters without gradient", function()
    local p = nn.Parameter(lt.ones(2))
    for _, name in ipairs({"SGD", "Adam", "AdamW"}) do
      local opt = optim[name]({p}, {lr = 0.1})
      opt:step()
      assert.are.equal(2, p:sum():item())
    end
  end)

  it("fill or drop gradients", function()
    local p = nn.Parameter(lt.ones(2))
    local opt = optim.SGD({p}, {lr = 0.1})
    p:sum():backward()
    opt:zero_grad()
    assert.are.same({0, 0}, p.grad:tolist())
    opt:zero_grad{set_to_none = true}
    assert.is_nil(p.grad)
  end)

  it("run a closure and return its loss", function()
    local p = nn.Parameter(lt.ones(2))
    local opt = optim.SGD({p}, 0.5)
    local loss = opt:step(function()
      opt:zero_grad()
      local l = p:sum()
      l:backward()
      return l
    end)
    assert.are.equal(2, loss:item())
    assert.are.same({0.5, 0.5}, p:tolist())
  end)

  it("take groups later, with options of their own", function()
    local a, b = nn.Parameter(lt.ones(1)), nn.Parameter(lt.ones(1))
    local opt = optim.SGD({a}, {lr = 1})
    opt:add_param_group{params = {b}, lr = 0.5}
    local loss = a:sum() + b:sum()
    loss:backward()
    opt:step()
    assert.are.same({0, 0.5}, {a:item(), b:item()})
    opt.param_groups[1].lr = 2
    opt:step()
    assert.are.same({-2, 0}, {a:item(), b:item()})
  end)

  it("print their groups", function()
    local text = tostring(optim.SGD({nn.Parameter(lt.ones(1))}, 0.1))
    assert.matches("^SGD %(\nParameter Group 0\n    dampening: 0\n    lr: 0.1\n    maximize: False\n", text)
  end)

  it("refuse wrong arguments", function()
    local p = nn.Parameter(lt.ones(1))
    assert.are.equal(1e-3, optim.SGD({p}).param_groups[1].lr)
    assert.has_error(function() optim.SGD({}, {lr = 1}) end, "SGD: the array of parameters is empty")
    assert.has_error(function() optim.SGD({3}, {lr = 1}) end, "SGD: parameter 1 must be a tensor, not 3")
    assert.has_error(function() optim.SGD({p, p}, {lr = 1}) end)
    assert.has_error(function() optim.SGD({p * 2}, {lr = 1}) end)
    assert.has_error(function() optim.SGD({p}, {lr = -1}) end)
    assert.has_error(function() optim.SGD({p}, {lr = 1, nesterov = true}) end)
    assert.has_error(function() optim.Adam({p}, {betas = {0.9, 1}}) end)
    assert.has_error(function() optim.Adam({{params = {p}, beta = 1}}) end)
    assert.has_error(function() optim.Adam({p}):load_state_dict({}) end)
    assert.matches("optim.Adan does not exist; did you mean 'Adam'", select(2, pcall(function() return optim.Adan end)))
  end)
end)
