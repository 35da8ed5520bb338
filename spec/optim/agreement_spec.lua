--- A hundred steps of every optimizer with every option lead where PyTorch's lead; saved at 50 and resumed, they lead there bit for bit.

local lt = require("lunette")
local nn, optim = lt.nn, lt.optim
local fixtures = dofile("spec/fixtures/optimizers.lua")

local function wave(shape, phase)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return (lt.arange(n, {dtype = "float64"}) * 0.7 + (phase or 0)):sin():view(unpack(shape))
end

local targets = {a = wave({2, 3}, 2), b = wave({4}, 3)}

-- The losses of optimizers.py.
local losses = {}

function losses.valley(a, b, step)
  local loss = (a - targets.a):pow(2):sum() + (a:sum() + 1):pow(2) * 0.1 + (a * 3):sin():sum() * 0.05
  if step > 0 then loss = loss + b:pow(4):sum() * 0.5 + (b * targets.b):sum() end
  return loss
end

function losses.rosenbrock(a, b)
  local x = lt.cat({a:reshape(-1), b}, 0)
  local n = x:numel() - 1
  local left, right = x:narrow(0, 0, n), x:narrow(0, 1, n)
  return ((right - left:pow(2)):pow(2) * 100 + (left * -1 + 1):pow(2)):sum()
end

local function parameters() return nn.Parameter(wave{2, 3}), nn.Parameter(wave({4}, 1)) end

-- Steps `from` to `to` (from 0) of the fixtures' run. @return the last loss and how often it was computed
local function train(opt, a, b, from, to, loss_of)
  local last, calls = nil, 0
  for step = from, to do
    local function closure()
      opt:zero_grad{set_to_none = true}
      local loss = loss_of(a, b, step)
      loss:backward()
      last, calls = loss:item(), calls + 1
      return loss
    end
    opt:step(closure)
  end
  return last, calls
end

local function words(case)
  local list = {}
  for name, value in pairs(case.options) do
    list[#list + 1] = name .. " = " .. (type(value) == "table" and "{" .. table.concat(value, ", ") .. "}" or tostring(value))
  end
  table.sort(list)
  return ("%s{%s}"):format(case.name, table.concat(list, ", "))
end

local function check(case, a, b, tolerance)
  for name, p in pairs{a = a, b = b} do
    local wanted = lt.tensor(case[name], {dtype = "float64"})
    local off = (p:detach() - wanted):abs():max():item()
    assert.is_true(off <= tolerance, ("%s is off by %g"):format(name, off))
  end
end

-- PyTorch keeps mu_product of NAdam, and eta and mu of ASGD, in float32.
local TOLERANCE = {NAdam = 1e-7, ASGD = 1e-7}

describe("100 steps agree with PyTorch's:", function()
  for _, case in ipairs(fixtures.elementwise) do
    it(words(case), function()
      local a, b = parameters()
      local opt = optim[case.name]({a, b}, case.options)
      local last = train(opt, a, b, 0, case.steps - 1, losses.valley)
      check(case, a, b, TOLERANCE[case.name] or 1e-10)
      assert.are.near(case.losses, last, 1e-6)
    end)

    it(words(case) .. ", resumed after 50", function()
      local a, b = parameters()
      local opt = optim[case.name]({a, b}, case.options)
      train(opt, a, b, 0, 49, losses.valley)
      local c, d = nn.Parameter(a:detach():clone()), nn.Parameter(b:detach():clone())
      local resumed = optim[case.name]({c, d}, {lr = 7})
      resumed:load_state_dict(opt:state_dict())
      train(opt, a, b, 50, 99, losses.valley)
      train(resumed, c, d, 50, 99, losses.valley)
      assert.is_true(lt.equal(a:detach(), c:detach()) and lt.equal(b:detach(), d:detach()))
    end)
  end
end)

describe("LBFGS agrees with PyTorch's:", function()
  for i, case in ipairs(fixtures.lbfgs) do
    it(("case %d, %s of the %s"):format(i, words(case), case.loss), function()
      local a, b = parameters()
      local _, calls = train(optim.LBFGS({a, b}, case.options), a, b, 0, case.steps - 1, losses[case.loss])
      check(case, a, b, 1e-6)
      assert.are.equal(case.calls, calls)
    end)
  end

  it("resumed in the middle", function()
    local a, b = parameters()
    local opt = optim.LBFGS({a, b}, {lr = 0.1, max_iter = 4})
    train(opt, a, b, 1, 2, losses.valley)
    local c, d = nn.Parameter(a:detach():clone()), nn.Parameter(b:detach():clone())
    local resumed = optim.LBFGS{c, d}
    resumed:load_state_dict(opt:state_dict())
    train(opt, a, b, 3, 4, losses.valley)
    train(resumed, c, d, 3, 4, losses.valley)
    assert.is_true(lt.equal(a:detach(), c:detach()) and lt.equal(b:detach(), d:detach()))
  end)

  it("going up where it is asked to", function()
    local p = nn.Parameter(lt.tensor({0.3}, {dtype = "float64"}))
    local opt = optim.LBFGS({p}, {maximize = true, line_search_fn = "strong_wolfe"})
    opt:step(function()
      opt:zero_grad()
      local loss = (p - 2):pow(2):sum():neg()
      loss:backward()
      return loss
    end)
    assert.are.near(2, p:item(), 1e-6)
  end)

  it("and refuses what it cannot do", function()
    local p = nn.Parameter(lt.ones(2))
    assert.has_error(function() optim.LBFGS{{params = {p}}, {params = {nn.Parameter(lt.ones(1))}}} end,
      "LBFGS: all parameters form one group; it has no options for each group")
    assert.has_error(function() optim.LBFGS{p}:step() end, "LBFGS: step takes a function that computes the loss and its gradients, not nil")
    assert.has_error(function() optim.LBFGS{p}:step(function() end) end,
      "LBFGS: the closure must return the loss, a number or a tensor of one element, not nil")
  end)
end)

describe("Muon agrees with PyTorch's, as far as bfloat16 goes:", function()
  for _, case in ipairs(fixtures.muon) do
    it(words(case), function()
      local a, b = parameters()
      train(optim.Muon({a}, case.options), a, b, 0, case.steps - 1, function(x, y) return losses.valley(x, y, 0) end)
      check(case, a, b, 20 * (case.options.lr or 1e-3) * 2 ^ -7)
    end)
  end

  it("and takes matrices alone", function()
    assert.has_error(function() optim.Muon{nn.Parameter(lt.ones(3))} end, "Muon: parameters must be matrices, one has shape {3}")
  end)
end)

describe("parameters with names", function()
  local function named(...)
    local list = {}
    for i, name in ipairs{...} do list[i] = {name, nn.Parameter(lt.ones(2))} end
    return list
  end

  it("are what named_parameters gives", function()
    local net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    local opt = optim.SGD(net:named_parameters(), {lr = 1})
    assert.are.same({"0.weight", "0.bias", "1.weight", "1.bias"}, opt.param_groups[1].param_names)
    assert.are.same(opt.param_groups[1].param_names, opt:state_dict().param_groups[1].param_names)
  end)

  it("catch a model that was reordered", function()
    local opt = optim.Adam(named("first", "second"))
    local other = optim.Adam(named("second", "first"))
    assert.has_error(function() other:load_state_dict(opt:state_dict()) end,
      "Adam: parameter 1 of param_groups[1] is 'first' in the state dict, 'second' here: was the model reordered?")
    optim.Adam(named("first", "second")):load_state_dict(opt:state_dict())
  end)

  it("have one each", function()
    local list = named("first", "second")
    list[2] = list[2][2]
    assert.has_error(function() optim.Adam(list) end, "Adam: 1 of 2 parameters have a name; name all or none")
  end)
end)

describe("options", function()
  it("of a group are its own", function()
    local betas = {0.5, 0.6}
    local p, q = nn.Parameter(lt.ones(1)), nn.Parameter(lt.ones(1))
    local opt = optim.Adam({{params = {p}}, {params = {q}}}, {betas = betas})
    betas[1] = 0.9
    opt.param_groups[1].betas[2] = 0.1
    assert.are.same({0.5, 0.1}, opt.param_groups[1].betas)
    assert.are.same({0.5, 0.6}, opt.param_groups[2].betas)
  end)

  it("that are nil by default may stand in a group", function()
    local p = nn.Parameter(lt.ones(2, 2))
    assert.are.equal("original", optim.Muon{{params = {p}, adjust_lr_fn = "original"}}.param_groups[1].adjust_lr_fn)
  end)

  for _, case in ipairs{
    {"Adam", {betas = {0.9}}, "Adam: argument 'betas' must be an array of 2 numbers between 0 and 1, got the array {0.9}"},
    {"Adam", {betas = {0.9, 1}}, "Adam: argument 'betas' must be an array of 2 numbers between 0 and 1, got the array {0.9, 1}"},
    {"Adam", {betas = {0.9, 0 / 0}}, "Adam: argument 'betas' must be an array of 2 numbers between 0 and 1, got the array {0.9, nan}"},
    {"Adadelta", {rho = 1.5}, "Adadelta: argument 'rho' must be a number from 0 to 1, got 1.5"},
    {"Rprop", {etas = {1.5, 2}}, "Rprop: etas must be a number below 1 and one above it, not 1.5 and 2"},
    {"SGD", {nesterov = true}, "SGD: nesterov needs a momentum above 0 and no dampening"},
    {"Adafactor", {eps = {1}}, "Adafactor: eps must be two numbers of at least 0, the first may be lt.None, not the array {1}"},
    {"Muon", {adjust_lr_fn = "none"}, "Muon: argument 'adjust_lr_fn' must be one of \"original\", \"match_rms_adamw\", \"spectral_unclamped\", got the string \"none\""},
  } do
    it("are refused: " .. case[3], function()
      assert.has_error(function() optim[case[1]]({nn.Parameter(lt.ones(2, 2))}, case[2]) end, case[3])
    end)
  end
end)
