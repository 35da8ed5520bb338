--- nn.utils.prune: masks and numbers of PyTorch (spec/fixtures/utils.py), pruning again, across parameters, of copies and saved models; mistakes.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local helper = require("spec.nn.helper")
local nn, F = lt.nn, lt.nn.functional
local prune = nn.utils.prune
local refuses = checks.refuses

local here = debug.getinfo(1, "S").source:match("^@(.*)nn/prune_spec%.lua$")
local fixtures = dofile(here .. "fixtures/utils.lua")

local function value_of(argument)
  if argument.sign then return argument.sign * math.huge end
  local value = argument.value
  return type(value) == "table" and lt.tensor(value.data):reshape(value.shape) or value
end

local function count(t) return tonumber(t:ne(0):sum():item()) end

describe("a mask", function()
  it("is that of PyTorch, for one way of pruning and for several one after another", function()
    for _, case in ipairs(fixtures.masks) do
      local m = helper.fill(nn.Conv2d(3, 4, 2))
      for _, way in ipairs(case.way) do
        local values = {}
        for i, argument in ipairs(way.arguments) do values[i] = value_of(argument) end
        assert.is_true(prune[way.name](m, "weight", unpack(values)) == m)
      end
      helper.check(case.mask, m.weight_mask)
      helper.check(case.weight, m.weight)
    end
  end)

  it("goes across parameters", function()
    local a, b = helper.fill(nn.Linear(3, 4)), helper.fill(nn.Linear(4, 2))
    b.weight.data:add_(0.05)
    local places = {{a, "weight"}, {b, "weight"}, {b, "bias"}}
    for i, options in ipairs{{amount = 0.4}, {amount = 3}} do
      prune.global_unstructured(places, prune.L1Unstructured, options)
      for k, place in ipairs(places) do helper.check(fixtures.across[i == 1 and "first" or "second"][k], place[1][place[2] .. "_mask"]) end
    end
    assert.are.equal(12 + 8 + 2 - 9 - 3, count(a.weight_mask) + count(b.weight_mask) + count(b.bias_mask))
  end)

  it("of random places has as many as are asked for", function()
    lt.manual_seed(1)
    local m = prune.random_unstructured(nn.Linear(10, 10), "weight", 0.37)
    assert.are.equal(63, count(m.weight_mask))
    prune.random_unstructured(m, "weight", {amount = 3})
    assert.are.equal(60, count(m.weight_mask))
    prune.random_unstructured(m, "weight", 0.5)
    assert.are.equal(30, count(m.weight_mask))
    local c = prune.random_structured(nn.Conv2d(4, 6, 3), "weight", 2, 0)
    assert.are.equal(4, count(c.weight_mask:sum({1, 2, 3})))
    prune.random_structured(c, "weight", {amount = 0.5, dim = 0})
    assert.are.equal(2, count(c.weight_mask:sum({1, 2, 3})))
    assert.are.equal(36, c.weight_mask:sum({1, 2, 3}):max():item())
    assert.are.equal(3, count(prune.random_structured(nn.Linear(4, 2), "weight", 1, -1).weight_mask[0]))
  end)

  it("takes the nuclear norm of matrices", function()
    local m = nn.Conv1d(2, 3, 4)
    m.weight.data:copy_(lt.stack({lt.eye(4)["0:2"] * 1.2, lt.ones(2, 4) * 0.8, lt.eye(4)["2:4"]}, 0)) -- nuclear norms 2.4, 2.26, 2
    assert.are.same({1, 1, 0}, prune.LnStructured(1, "nuc", 0):prune(m.weight:detach()):ne(0):any(2):any(1):float():tolist())
    assert.are.same({1, 0, 0}, prune.LnStructured(2, "nuc", 0):prune(m.weight:detach()):ne(0):any(2):any(1):float():tolist())
    refuses("the norm \"nuc\" is that of matrices", function() prune.ln_structured(nn.Linear(2, 2), "weight", 1, "nuc", 0) end)
  end)

  it("counts halves to the even side and takes equal elements in their order", function()
    local t = lt.ones(5)
    assert.are.same({0, 0, 1, 1, 1}, prune.L1Unstructured(0.5):prune(t):tolist())
    assert.are.same({0, 0, 1}, prune.L1Unstructured(0.5):prune(lt.ones(3)):tolist())
    assert.are.same({1, 0, 0}, prune.L1Unstructured(2):prune(lt.tensor{0 / 0, 1, 2}):isnan():float():tolist())
    assert.are.same({}, prune.L1Unstructured(0):prune(lt.ones(0)):tolist())
  end)
end)

describe("a pruned parameter", function()
  it("has the names of PyTorch, is computed before every call, and trains", function()
    local m = prune.l1_unstructured(helper.fill(nn.Linear(2, 3)), "weight", 4)
    assert.are.same({"bias", "weight_orig", "weight_mask"}, {unpack(lt.keys(m:state_dict()))})
    assert.are.equal(2, #m:parameters())
    local before = m.weight
    assert.is_true(before.requires_grad and not before.is_leaf)
    local x = lt.ones(4, 2)
    m(x):sum():backward()
    assert.is_true(lt.equal(m.weight_orig.grad, m.weight_mask * 4))
    m.weight_orig.data:mul_(2)
    m(x)
    assert.is_true(lt.equal(m.weight:detach(), before:detach() * 2))
  end)

  it("can be any, of any layer", function()
    local layer = prune.l1_unstructured(nn.LSTM(3, 4), "weight_hh_l0", 0.5)
    local y = layer(lt.randn(5, 2, 3))
    layer.weight_hh_l0_orig.data:zero_()
    assert.is_false(lt.equal(y, (layer(lt.randn(5, 2, 3)))))
    assert.are.equal(32, count(layer.weight_hh_l0_mask))
    local e = prune.ln_structured(nn.Embedding(4, 2), "weight", 2, 1, 0)
    assert.are.equal(2, count(e(lt.LongTensor{0, 1, 2, 3}):abs():sum(1)))
    local b = prune.identity(nn.Linear(2, 2), "bias")
    assert.are.equal(2, count(b.bias_mask))
  end)

  it("is copied with what prunes it", function()
    local m = prune.l1_unstructured(nn.Linear(4, 4), "weight", 8)
    local copy = lt.deepcopy(m)
    assert.is_true(lt.equal(m.weight, copy.weight))
    copy.weight_orig.data:mul_(3)
    copy(lt.ones(1, 4))
    assert.is_true(lt.allclose(copy.weight, m.weight * 3))
    local container = prune.L1Unstructured:apply(copy, "weight", 2)
    assert.are.equal(2, #container)
    assert.are.equal(6, count(copy.weight_mask))
    assert.are.equal(8, count(m.weight_mask))
    local again = lt.deepcopy(copy)
    prune.L1Unstructured:apply(again, "weight", 2)
    assert.are.equal(2, #container)
    assert.are.equal(4, count(again.weight_mask))
  end)

  it("is saved and loaded, and follows dtypes", function()
    local path = os.tmpname()
    local m = prune.ln_structured(nn.Conv2d(2, 4, 3), "weight", 2, 2, 0)
    lt.save(m:state_dict(), path .. ".safetensors")
    local other = prune.identity(nn.Conv2d(2, 4, 3), "weight")
    other:load_state_dict(lt.load(path .. ".safetensors"))
    os.remove(path)
    os.remove(path .. ".safetensors")
    assert.is_true(lt.equal(m.weight, other.weight))
    local x = lt.randn(1, 2, 5, 5)
    assert.is_true(lt.equal(m(x), other(x)))
    m:double()
    assert.are.same({"float64", "float64", "float64"}, {m.weight.dtype, m.weight_mask.dtype, m.weight_orig.dtype})
    assert.are.equal("float64", m(x:double()).dtype)
    assert.are.equal("float16", m:half().weight.dtype)
  end)

  it("outlives a scope", function()
    local m = nn.Linear(2, 2)
    lt.scope(function()
      prune.l1_unstructured(m, "weight", 2)
      m(lt.ones(1, 2))
    end)
    assert.are.equal(2, count(m.weight))
  end)

  it("becomes plain again, as pruned as it is", function()
    local m = nn.Linear(4, 4)
    local weight = m.weight
    prune.l1_unstructured(m, "weight", 8)
    m.weight_orig.data:mul_(2)
    assert.is_true(prune.is_pruned(nn.Sequential(nn.ReLU(), m)))
    assert.is_true(prune.remove(m, "weight") == m)
    assert.is_false(prune.is_pruned(m))
    assert.is_true(m.weight == weight)
    assert.are.equal(8, count(m.weight))
    assert.are.same({"bias", "weight"}, {unpack(lt.keys(m:state_dict()))})
    local before = m.weight:detach():clone()
    m(lt.ones(1, 4)):sum():backward()
    assert.is_true(lt.equal(before, m.weight:detach()))
    assert.are.equal(16, count(m.weight.grad))
    refuses("parameter 'weight' of module Linear(in_features=4, out_features=4, bias=True) has to be pruned before pruning can be removed",
      function() prune.remove(m, "weight") end)
  end)
end)

describe("a way of pruning", function()
  it("can be used on tensors alone", function()
    local t = lt.tensor{{1, -2}, {-3, 4}}
    assert.are.same({{0, 0}, {-3, 4}}, prune.LnStructured{amount = 1, n = 1, dim = 0}:prune(t):tolist())
    assert.are.same({{0, -2}, {0, 4}}, prune.LnStructured(0.5, 2):prune(t):tolist())
    assert.are.same({{0, 0}, {-3, 4}}, prune.L1Unstructured(1):prune(t, {default_mask = lt.tensor{{1, 0}, {1, 1}}}):tolist())
    assert.are.same({{1, -2}, {-3, 0}}, prune.L1Unstructured(1):prune(t, nil, lt.tensor{{9, 8}, {7, 1}}):tolist())
    assert.are.same({{1, -2}, {-3, 4}}, prune.Identity():prune(t):tolist())
    assert.are.same({{1, 0}, {0, 4}}, prune.CustomFromMask(lt.eye(2)):prune(t):tolist())
    assert.are.equal(1, count(prune.RandomUnstructured(3):prune(t)))
    assert.are.equal(2, count(prune.RandomStructured(0.5):prune(t)))
  end)

  it("is applied by a method of its class, which gives it back", function()
    local m = nn.Linear(4, 4)
    local method = prune.L1Unstructured:apply(m, "weight", {amount = 4})
    assert.is_true(lt.isinstance(method, prune.L1Unstructured, prune.BasePruningMethod))
    assert.is_true(lt.equal(m.weight, method:apply_mask(m)))
    local container = prune.LnStructured:apply(m, "weight", 1, 2, 0)
    assert.is_true(lt.isinstance(container, prune.PruningContainer))
    assert.is_true(container[0] == method)
    assert.is_true(lt.isinstance(container[-1], prune.LnStructured))
    assert.is_true(prune.RandomStructured:apply(m, "weight", 0.5) == container)
    assert.are.equal(3, #container)
    container:remove(m)
    assert.is_true(m.weight.is_leaf)
    refuses("index 3 is out of range for 3 methods", function() return container[3] end)
  end)

  it("can be written by anyone", function()
    local Odd = prune.BasePruningMethod:subclass("Odd")
    Odd.PRUNING_TYPE = "unstructured"
    function Odd:__init(first, options) self.first, self.step = first, options and options.step or 2 end
    function Odd:compute_mask(_, mask)
      mask = mask:clone()
      mask:view(-1)[("%d::%d"):format(self.first, self.step)] = 0
      return mask
    end
    local m = nn.Linear(6, 1)
    Odd:apply(m, "weight", 1)
    assert.are.same({{1, 0, 1, 0, 1, 0}}, m.weight_mask:tolist())
    Odd:apply(m, "weight", 0, {step = 2})
    assert.are.same({{0, 0, 1, 0, 0, 0}}, m.weight_mask:tolist())
    Odd.PRUNING_TYPE = "strange"
    refuses("unrecognized PRUNING_TYPE strange of Odd", function() Odd:apply(m, "weight", 0) end)
    Odd.PRUNING_TYPE = "structured"
    refuses("Odd is structured and must have the field `dim`", function() Odd:apply(m, "weight", 0) end)
    assert.are.same({{0, 0, 1, 0, 0, 0}}, m.weight_mask:tolist())
    m(lt.ones(1, 6))
    assert.are.equal(1, count(m.weight))
    Odd.PRUNING_TYPE = "global"
    local scores = lt.ones(1, 6)
    Odd:apply(m, "weight", 5, {importance_scores = scores})
    assert.are.equal(2, #prune.remove(m, "weight"):parameters())
    function Odd.compute_mask() return 3 end
    refuses("compute_mask of Odd must return a mask of shape {1, 6}, not 3", function() Odd:apply(m, "weight", 1) end)
    assert.are.same({"bias", "weight"}, {unpack(lt.keys(m:state_dict()))})
  end)

  it("refuses amounts, names, shapes and dims that make no sense", function()
    local m = nn.Linear(4, 3)
    local function l1(...) return prune.l1_unstructured(m, "weight", ...) end
    refuses("amount = -1 should either be a fraction in the range [0, 1] or a non-negative whole number", function() l1(-1) end)
    refuses("amount = 1.5 should either be", function() l1(1.5) end)
    refuses("amount = nan should either be", function() l1(math.abs(0 / 0)) end)
    refuses("amount = 13 should be smaller than the number of parameters to prune = 12", function() l1(13) end)
    refuses("argument 'amount' must be a number, got the string \"0.3\"", function() l1("0.3") end)
    refuses("should have the same shape as parameter weight of Linear(in_features=4, out_features=3, bias=True), got {2} vs {3, 4}",
      function() l1(1, {importance_scores = lt.ones(2)}) end)
    refuses("'wieght' is no parameter of Linear; did you mean 'weight'?", function() prune.l1_unstructured(m, "wieght", 1) end)
    refuses("argument 'module' must be a module", function() prune.l1_unstructured(lt.ones(1), "weight", 1) end)
    refuses("invalid dim 2 for a tensor of shape {3, 4}", function() prune.ln_structured(m, "weight", 1, 2, 2) end)
    refuses("invalid dim -3 for a tensor of shape {3, 4}", function() prune.random_structured(m, "weight", 1, -3) end)
    refuses("argument 'dim' is missing", function() prune.LnStructured:apply(m, "weight", 1, 2) end)
    refuses("can only be applied to multidimensional tensors, found a tensor of shape {3} with 1 dims", function() prune.ln_structured(m, "bias", 1, 2, 0) end)
    refuses("must have the shape of the parameter, {3, 4}", function() prune.custom_from_mask(m, "weight", lt.ones(4, 3)) end)
    refuses("called with a colon: prune.L1Unstructured:apply", function() prune.L1Unstructured.apply(m, "weight", 1) end)
    refuses("BasePruningMethod has no compute_mask", function() prune.BasePruningMethod:apply(m, "weight") end)
    refuses("has to be pruned by this method first", function() prune.L1Unstructured(1):apply_mask(m) end)
    refuses("has to be pruned by this method first", function() prune.L1Unstructured(1):remove(m) end)
    refuses("apply_mask is a method, called with a colon", function() prune.L1Unstructured(1).apply_mask(m) end)
    refuses("a method of pruning is needed, not 3", function() prune.PruningContainer(3) end)
    refuses("acting on the parameter named 'nil'", function() prune.PruningContainer():add_pruning_method(prune.L1Unstructured:apply(nn.Linear(1, 1), "bias", 0)) end)
    refuses("there is no method in it", function() prune.PruningContainer():compute_mask(lt.ones(1), lt.ones(1)) end)
    assert.are.same({"weight", "bias"}, {unpack(lt.keys(m:state_dict()))})
    refuses("argument 'default_mask' is missing", function() prune.L1Unstructured(1):compute_mask(lt.ones(2)) end)
    refuses("default_mask of shape {3} must have the shape of t, {2}", function() prune.L1Unstructured(1):compute_mask(lt.ones(2), lt.ones(3)) end)
    refuses("compute_mask is a method, called with a colon", function() prune.Identity.compute_mask(lt.ones(2), lt.ones(2)) end)
    l1(2)
    local container = prune.L1Unstructured:apply(m, "weight", 1)
    refuses("should be smaller than the number of parameters to prune = 9", function() l1(10) end)
    assert.are.equal(2, #container)
    m(lt.ones(1, 4))
    assert.are.equal(9, count(m.weight))
    refuses("'weight' is computed from other parameters of Linear", function() nn.utils.weight_norm(m) end)
  end)
end)

describe("global_unstructured", function()
  it("takes other scores, other ways and names", function()
    local a, b = nn.Linear(3, 4), nn.Linear(4, 2)
    prune.global_unstructured({{a, "weight"}, {b, "weight"}}, prune.L1Unstructured, {
      amount = 12, importance_scores = {{a, "weight", lt.full({4, 3}, -9)}, {b, "weight", lt.full({2, 4}, 10)}},
    })
    assert.are.same({0, 8}, {count(a.weight_mask), count(b.weight_mask)})
    prune.global_unstructured{parameters = {{b, "bias"}, {a, "bias"}}, pruning_method = prune.RandomUnstructured, amount = 0.5}
    assert.are.equal(3, count(a.bias_mask) + count(b.bias_mask))
  end)

  it("refuses what it cannot do", function()
    local m = nn.Linear(2, 2)
    local global = prune.global_unstructured
    refuses("only \"unstructured\" PRUNING_TYPE supported", function() global({{m, "weight"}}, prune.LnStructured, {amount = 1, n = 1}) end)
    refuses("must be a class of pruning", function() global({{m, "weight"}}, prune.l1_unstructured, {amount = 1}) end)
    refuses("is given by name: {amount = 0.2}", function() global({{m, "weight"}}, prune.L1Unstructured, 0.2) end)
    refuses("an entry of parameters must be {module, \"weight\"}", function() global({m}, prune.L1Unstructured, {amount = 1}) end)
    refuses("Linear has no parameter 'w'", function() global({{m, "w"}}, prune.L1Unstructured, {amount = 1}) end)
    refuses("parameters must be an array", function() global({}, prune.L1Unstructured, {amount = 1}) end)
    refuses("have the shape {3}", function() global({{m, "weight"}}, prune.L1Unstructured, {amount = 1, importance_scores = {{m, "weight", lt.ones(3)}}}) end)
    refuses("argument 'amount' is missing", function() global({{m, "weight"}}, prune.L1Unstructured) end)
    assert.is_false(prune.is_pruned(m))
  end)
end)

describe("training with masks", function()
  it("leaves what is pruned at 0", function()
    lt.manual_seed(0)
    local net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    prune.l1_unstructured(net[0], "weight", 0.5)
    local optimizer = lt.optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9, weight_decay = 0.01})
    local x, y = lt.randn(16, 4), lt.randint(0, 2, {16})
    local first, last
    for _ = 1, 40 do
      optimizer:zero_grad()
      local loss = F.cross_entropy(net(x), y)
      loss:backward()
      optimizer:step()
      first, last = first or loss:item(), loss:item()
    end
    assert.is_true(last < first)
    net(x)
    assert.are.equal(16, count(net[0].weight))
  end)
end)
