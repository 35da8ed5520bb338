--- Optimizers over row-sparse gradients: 100 steps lead where PyTorch's lead; saved at 50 and resumed, they lead there bit for bit.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local nn, optim, F = lt.nn, lt.optim, lt.nn.functional
local fixtures = dofile("spec/fixtures/sparse.lua")

local function wave(shape, phase)
  return (lt.arange(lt.Size(shape):numel(), {dtype = "float64"}) * 0.7 + (phase or 0)):sin():view(unpack(shape))
end

local target = wave({3, 3}, 2)

-- Steps `from` to `to` of sparse.py's run.
local function train(opt, weight, from, to, sparse)
  for step = from, to do
    opt:zero_grad{set_to_none = true}
    local ids = lt.LongTensor{step % 5, (step * 3 + 1) % 6, step % 5}
    local loss = (F.embedding(ids, weight, {sparse = sparse ~= false}) - target):square():sum()
    loss:backward()
    opt:step()
  end
end

local function words(case) return case.name .. (next(case.options) and " with options" or "") end

describe("100 steps over rows agree with PyTorch's:", function()
  for i, case in ipairs(fixtures) do
    it(("%d, %s"):format(i, words(case)), function()
      local weight = nn.Parameter(wave{7, 3})
      train(optim[case.name]({weight}, case.options), weight, 0, 99)
      assert.is_true(lt.allclose(weight:detach(), lt.tensor(case.weight, {dtype = "float64"}), 1e-10, 1e-10))
      assert.is_true(lt.equal(weight[6]:detach(), wave{7, 3}[6]))
    end)

    it(("%d, %s, resumed after 50"):format(i, words(case)), function()
      local weight = nn.Parameter(wave{7, 3})
      local opt = optim[case.name]({weight}, case.options)
      train(opt, weight, 0, 49)
      local other = nn.Parameter(weight:detach():clone())
      local resumed = optim[case.name]({other}, {lr = 7})
      resumed:load_state_dict(opt:state_dict())
      train(opt, weight, 50, 99)
      train(resumed, other, 50, 99)
      assert.is_true(lt.equal(weight:detach(), other:detach()))
    end)
  end

  it("SGD and Adagrad, whose dense steps leave the other rows alone, move as those", function()
    for _, name in ipairs{"SGD", "Adagrad"} do
      local a, b = nn.Parameter(wave{7, 3}), nn.Parameter(wave{7, 3})
      train(optim[name]({a}, {lr = 0.05}), a, 0, 20)
      train(optim[name]({b}, {lr = 0.05}), b, 0, 20, false)
      assert.is_true(lt.allclose(a:detach(), b:detach(), 1e-12, 1e-12))
    end
  end)
end)

describe("row-sparse gradients", function()
  local function embedding()
    local e = nn.Embedding(4, 2, {sparse = true})
    e(lt.LongTensor{1, 3, 1}):sum():backward()
    return e
  end

  it("move a table that has gaps, and none when they are empty", function()
    local whole = lt.zeros(4, 4)
    local p = nn.Parameter(whole[":, ::2"])
    F.embedding(lt.LongTensor{2}, p, {sparse = true}):sum():backward()
    local opt = optim.SGD({p}, {lr = 1})
    opt:step()
    assert.are.same({{0, 0, 0, 0}, {0, 0, 0, 0}, {-1, 0, -1, 0}, {0, 0, 0, 0}}, whole:tolist())
    opt:zero_grad()
    opt:step()
    assert.are.equal(-2, whole:sum():item())
  end)

  it("leave what other rows remember alone", function()
    local e = embedding()
    local opt = optim.SparseAdam(e:parameters())
    opt:step()
    local state = opt.state[e.weight.id]
    assert.are.equal(1, state.step)
    assert.are.same({0, 0}, state.exp_avg[0]:tolist())
    assert.is_true(state.exp_avg[1][0]:item() > 0)
  end)

  it("are refused by the other optimizers, as PyTorch refuses them", function()
    local instead = {Adam = ", please consider SparseAdam instead", AdamW = ", please consider SparseAdam instead"}
    for _, name in ipairs{"Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adadelta", "RMSprop", "Rprop", "ASGD", "Lion", "Adafactor", "Muon"} do
      local e = embedding()
      local before = e.weight:detach():clone()
      checks.refuses(name .. " does not support sparse gradients" .. (instead[name] or ""), function() optim[name](e:parameters()):step() end)
      assert.is_true(lt.equal(before, e.weight:detach()))
    end
    checks.refuses("SGD: momentum does not go with sparse gradients", function() optim.SGD(embedding():parameters(), {momentum = 0.5}):step() end)
    for _, name in ipairs{"SGD", "Adagrad"} do
      checks.refuses(name .. ": weight_decay option is not compatible with sparse gradients",
        function() optim[name](embedding():parameters(), {weight_decay = 0.5}):step() end)
    end
  end)

  it("alone are taken by SparseAdam", function()
    local p = nn.Parameter(lt.ones(2))
    p:sum():backward()
    checks.refuses("SparseAdam does not support dense gradients, please consider Adam instead", function() optim.SparseAdam{p}:step() end)
    checks.refuses("SparseAdam: argument 'lr' must be a number above 0", function() optim.SparseAdam({p}, {lr = 0}) end)
    checks.refuses("SparseAdam: argument 'eps' must be a number above 0", function() optim.SparseAdam({p}, {eps = 0}) end)
  end)

  it("are made dense by LBFGS", function()
    local e = embedding()
    local before = e.weight:detach():clone()
    optim.LBFGS(e:parameters(), {lr = 0.1, max_iter = 1}):step(function() return e.weight:detach():sum() end)
    assert.is_true(e.weight[1][0]:item() < before[1][0]:item())
  end)
end)
