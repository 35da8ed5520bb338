--- nn.utils.parametrize and parametrizations: numbers, names and texts of PyTorch (spec/fixtures/parametrize.py), gradients, assignment, copies, mistakes.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local helper = require("spec.nn.helper")
local nn = lt.nn
local parametrize, parametrizations = nn.utils.parametrize, nn.utils.parametrizations
local refuses = checks.refuses

local here = debug.getinfo(1, "S").source:match("^@(.*)nn/parametrize_spec%.lua$")
local fixtures = dofile(here .. "fixtures/parametrize.lua")

local function keys(m) return {unpack(lt.keys(m:state_dict()))} end

local function train(m, x)
  local y = m(x)
  ;(y * y):sum():backward()
  return y
end

local Double = nn.Module:subclass("Double")
function Double:forward(x) return x * 2 end
function Double:right_inverse(x) return x / 2 end

local Symmetric = nn.Module:subclass("Symmetric")
function Symmetric:forward(x) return x:triu() + x:triu(1):t() end

local Rank1 = nn.Module:subclass("Rank1")
function Rank1:forward(u, v) return u:unsqueeze(1) * v:unsqueeze(0) end
function Rank1:right_inverse(x) return {x:select(1, 0), x:select(0, 0) / x[0][0]} end

describe("a parametrized tensor", function()
  it("is computed whenever it is read, from what is stored", function()
    local m = helper.fill(nn.Linear(3, 3))
    local weight = m.weight
    assert.is_true(parametrize.register_parametrization(m, "weight", Symmetric()) == m)
    assert.is_true(lt.equal(m.weight, m.weight:t()))
    assert.is_true(m.parametrizations.weight.original == weight)
    assert.are.same({"bias", "parametrizations.weight.original"}, keys(m))
    assert.are.equal("ParametrizedLinear(\n  in_features=3, out_features=3, bias=True\n  (parametrizations): ModuleDict(\n    (weight): ParametrizationList(\n"
      .. "      (0): Symmetric()\n    )\n  )\n)", tostring(m))
    assert.is_true(lt.isinstance(m, nn.Linear))
    assert.are.equal(nn.Linear, parametrize.type_before_parametrizations(m))
    m(lt.ones(1, 3)):sum():backward()
    assert.are.same({{1, 2, 2}, {0, 1, 2}, {0, 0, 1}}, weight.grad:tolist())
    assert.is_false(m.weight == m.weight)
    assert.is_true(m.bias.is_leaf)
    assert.is_nil(m.nothing)
  end)

  it("takes an assignment through the right inverse", function()
    local m = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Double())
    local original = m.parametrizations.weight.original
    m.weight = lt.eye(2)
    assert.are.same({{1, 0}, {0, 1}}, m.weight:tolist())
    assert.are.same({{0.5, 0}, {0, 0.5}}, original:tolist())
    assert.is_true(m.parametrizations.weight.original == original)
    parametrize.register_parametrization(m, "weight", Double())
    assert.are.same({{2, 0}, {0, 2}}, m.weight:tolist())
    m.weight = lt.ones(2, 2)
    assert.are.same({{0.25, 0.25}, {0.25, 0.25}}, original:tolist())
    assert.are.equal(2, #m.parametrizations.weight)
    m.bias = nil
    assert.is_nil(m.bias)
    local s = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Symmetric())
    refuses("parametrization Symmetric does not implement right_inverse", function() s.weight = lt.eye(2) end)
    refuses("a parametrized tensor takes a tensor, not 3", function() s.weight = 3 end)
  end)

  it("may be computed from several", function()
    local m = nn.Linear(2, 3)
    m.weight.data:copy_(lt.tensor{{1, 2}, {2, 4}, {3, 6}})
    parametrize.register_parametrization(m, "weight", Rank1())
    assert.are.same({{1, 2}, {2, 4}, {3, 6}}, m.weight:tolist())
    assert.are.same({"bias", "parametrizations.weight.original0", "parametrizations.weight.original1"}, keys(m))
    m(lt.ones(1, 2)):sum():backward()
    assert.are.same({3, 3, 3}, m.parametrizations.weight.original0.grad:tolist())
    m.weight = lt.ones(3, 2)
    assert.are.same({1, 1}, m.parametrizations.weight.original1:tolist())
    refuses("not possible for a tensor that is parametrized in terms of several tensors", function()
      parametrize.remove_parametrizations(m, "weight", {leave_parametrized = false})
    end)
    parametrize.remove_parametrizations(m, "weight")
    assert.are.same({{1, 1}, {1, 1}, {1, 1}}, m.weight:tolist())
    assert.is_true(m.weight.is_leaf and m.weight.requires_grad)
  end)

  it("may be a buffer", function()
    local m = nn.BatchNorm1d(2)
    parametrize.register_parametrization(m, "running_mean", Double())
    m.running_mean = lt.tensor{4, 6}
    assert.are.same({2, 3}, m.parametrizations.running_mean.original:tolist())
    assert.are.equal(2, #m:parameters())
    parametrize.remove_parametrizations(m, "running_mean")
    assert.are.same({4, 6}, m:get_buffer("running_mean"):tolist())
  end)

  it("becomes plain again, with either value", function()
    for _, leave in ipairs{true, false} do
      local m = nn.Linear(2, 2)
      local weight, value = m.weight, m.weight:detach():clone()
      parametrize.register_parametrization(m, "weight", Symmetric())
      parametrize.register_parametrization(m, "bias", Double())
      local symmetric = m.weight:detach()
      parametrize.remove_parametrizations(m, "weight", leave)
      assert.is_true(m.weight == weight)
      assert.is_true(lt.equal(leave and symmetric or value, m.weight:detach()))
      assert.is_true(parametrize.is_parametrized(m))
      assert.is_false(parametrize.is_parametrized(m, "weight"))
      assert.is_true(parametrize.is_parametrized(m, "bias"))
      parametrize.remove_parametrizations(m, "bias")
      assert.is_false(parametrize.is_parametrized(m))
      assert.are.equal(nn.Linear, m.class)
      assert.are.equal("Linear(in_features=2, out_features=2, bias=True)", tostring(m))
      assert.are.same({"weight", "bias"}, keys(m))
      refuses("does not have a parametrization on weight", function() parametrize.remove_parametrizations(m, "weight") end)
    end
  end)

  it("is computed once in cached, and the cache is left behind", function()
    local calls = 0
    local Counting = nn.Module:subclass("Counting")
    function Counting:forward(x)
      calls = calls + 1
      return x * 1
    end
    local m = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Counting())
    calls = 0
    local a, b = parametrize.cached(function()
      local first = m.weight
      parametrize.cached(function() m(lt.ones(1, 2)) end)
      return first == m.weight, 5
    end)
    assert.are.same({true, 5, 1}, {a, b, calls})
    assert.has_error(function() parametrize.cached(function() error("no") end) end)
    m(lt.ones(1, 2))
    m(lt.ones(1, 2))
    assert.are.equal(3, calls)
    m.parametrizations.weight.original.data:fill_(7)
    assert.are.equal(7, parametrize.cached(function() return m.weight[0][0]:item() end))
  end)

  it("is copied, converted, trained and loaded with its module", function()
    local m = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Double())
    local copy = lt.deepcopy(m)
    copy.weight = lt.eye(2)
    assert.are_not.same(m.weight:tolist(), copy.weight:tolist())
    m:load_state_dict(copy:state_dict())
    assert.are.same(copy.weight:tolist(), m.weight:tolist())
    assert.are.equal("float64", m:double().weight.dtype)
    m:float()
    local before = m.weight:detach()
    local optimizer = lt.optim.SGD(m:parameters(), {lr = 0.1})
    m(lt.ones(1, 2)):sum():backward()
    optimizer:step()
    assert.is_true(lt.allclose(m.weight:detach(), before - 0.4))
    m:eval()
    assert.is_false(m.parametrizations.weight[0].training)
    local counted = 0
    m:register_forward_hook(function() counted = counted + 1 end):remove()
    m:register_forward_hook(function() counted = counted + 1 end)
    m(lt.ones(1, 2))
    assert.are.equal(1, counted)
    local container = nn.Sequential(nn.ReLU(), nn.ReLU())
    container.scale = nn.Parameter(lt.ones(1))
    parametrize.register_parametrization(container, "scale", Double())
    assert.are.equal(1, container.scale:item())
    assert.are.equal("ReLU()", tostring(container[0]))
  end)

  it("can be given to another module", function()
    local from, to = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Double()), nn.Linear(2, 2)
    parametrize.register_parametrization(from, "bias", Double())
    assert.is_true(parametrize.transfer_parametrizations_and_params(from, to, "weight") == to)
    assert.is_false(parametrize.is_parametrized(to, "bias"))
    assert.is_true(to.parametrizations.weight.original == from.parametrizations.weight.original)
    parametrize.transfer_parametrizations_and_params(from, to)
    assert.is_true(lt.equal(to.bias, from.bias))
  end)

  it("may be computed by functions that have parametrized tensors themselves", function()
    local Scale = nn.Module:subclass("Scale")
    function Scale:__init() self.by = nn.Parameter(lt.ones(1)) end
    function Scale:forward(x) return x * self.by end
    local m = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Scale())
    local weight = m.weight:detach()
    parametrize.register_parametrization(m.parametrizations.weight[0], "by", Double())
    assert.are.same({"bias", "parametrizations.weight.original", "parametrizations.weight.0.parametrizations.by.original"}, keys(m))
    m.parametrizations.weight[0].by = lt.full({1}, 3)
    assert.is_true(lt.allclose(m.weight, weight * 3))
    parametrize.remove_parametrizations(m.parametrizations.weight[0], "by", false)
    assert.are.equal(1.5, m.parametrizations.weight[0].by:item())
    parametrize.remove_parametrizations(m, "weight")
    assert.is_true(lt.allclose(m.weight, weight * 1.5))
    assert.are.equal(2, #m:parameters())
  end)

  it("must be there, and keep dtype and shape unless that is allowed", function()
    local m = nn.Linear(2, 3)
    local register = parametrize.register_parametrization
    local Wrong = nn.Module:subclass("Wrong")
    function Wrong:__init(fn, inverse) self.fn, self.right_inverse = fn, inverse and function(_, x) return inverse(x) end or nil end
    function Wrong:forward(x) return self.fn(x) end
    local function same(x) return x end
    refuses("does not have a parameter, a buffer, or a parametrized element with name 'wieght'; did you mean 'weight'", function() register(m, "wieght", Double()) end)
    refuses("argument 'parametrization' must be a module", function() register(m, "weight", same) end)
    refuses("may not change the shape of the tensor, unless unsafe = true; it was {3, 2} and is {2, 3}", function()
      register(m, "weight", Wrong(function(x) return x:t() end))
    end)
    refuses("may not change the dtype of the tensor, unless unsafe = true; it was float32 and is float64", function()
      register(m, "weight", Wrong(function(x) return x:double() end))
    end)
    refuses("a parametrization must return a tensor, not 3", function() register(m, "weight", Wrong(function() return 3 end)) end)
    refuses("it may not change the dtype float32, to float64", function() register(m, "weight", Wrong(same, function(x) return x:double() end)) end)
    refuses("'right_inverse' must return a tensor or several, value 0 is 3", function() register(m, "weight", Wrong(same, function() return 3 end)) end)
    assert.are.same({"weight", "bias"}, keys(m))
    assert.are.equal(nn.Linear, m.class)
    register(m, "weight", Wrong(function(x) return x:t() end), {unsafe = true})
    assert.are.same({2, 3}, checks.shape(m.weight))
    refuses("it was {2, 3} and is {3, 2}", function() register(m, "weight", Wrong(function(x) return x:t() end)) end)
    assert.are.equal(1, #m.parametrizations.weight)
    local list = register(nn.Linear(2, 2), "weight", Double()).parametrizations.weight
    assert.is_false(list.unsafe)
    m = register(nn.Linear(2, 2), "weight", Double())
    register(m, "weight", Wrong(function(x) return x:sum() end), {unsafe = true})
    assert.is_true(m.parametrizations.weight.unsafe)
  end)
end)

describe("parametrizations.weight_norm", function()
  it("gives the numbers, names and text of PyTorch", function()
    for _, case in ipairs(fixtures.weight_norm) do
      local m = parametrizations.weight_norm(helper.fill(nn.Conv1d(2, 3, 2)), {dim = case.dim == "none" and lt.None or case.dim})
      local list = m.parametrizations.weight
      assert.are.same(case.keys, keys(m))
      assert.are.equal(case.text, tostring(m))
      list.original0.data:mul_(1.5)
      helper.check(case.y, train(m, helper.wave({1, 2, 4}, 0.3)))
      helper.check(case.g, list.original0.grad, 1e-4)
      helper.check(case.v, list.original1.grad, 1e-4)
    end
  end)

  it("loads what the older function saved", function()
    local old, new = nn.utils.weight_norm(nn.Linear(3, 4)), parametrizations.weight_norm(nn.Linear(3, 4))
    nn.Sequential(new):load_state_dict(nn.Sequential(old):state_dict())
    assert.is_true(lt.equal(old.weight, new.weight))
    new:load_state_dict(new:state_dict())
    refuses("parametrizations.weight.original0", function() new:load_state_dict(nn.Linear(3, 4):state_dict()) end)
  end)

  it("has the gradients of finite differences", function()
    local m = parametrizations.weight_norm(nn.Linear(2, 3)):double()
    local x = checks.double(2, 2)
    checks.differentiable(function(g, v)
      return lt.func.functional_call(m, {["parametrizations.weight.original0"] = g, ["parametrizations.weight.original1"] = v}, x)
    end, checks.double(3, 1), checks.double(3, 2))
  end)
end)

describe("parametrizations.spectral_norm", function()
  local makers = {
    Linear = function() return nn.Linear(3, 4), helper.wave({2, 3}, 0.3) end,
    Conv2d = function() return nn.Conv2d(2, 3, 2), helper.wave({1, 2, 3, 3}, 0.3) end,
    ConvTranspose1d = function() return nn.ConvTranspose1d(2, 3, 2), helper.wave({1, 2, 4}, 0.3) end,
  }
  local function unit(t, phase) t:copy_(nn.functional.normalize(helper.wave({t.shape:unpack()}, phase), 2, 0)) end

  it("gives the numbers and names of PyTorch", function()
    for _, case in ipairs(fixtures.spectral_norm.cases) do
      local m, x = makers[case.kind]()
      parametrizations.spectral_norm(helper.fill(m), {n_power_iterations = 2})
      local list = m.parametrizations.weight
      assert.are.same(case.keys, keys(m))
      unit(list[0]._u, 4)
      unit(list[0]._v, 5)
      m(x)
      helper.check(case.y, train(m, x))
      helper.check(case.u, list[0]._u)
      helper.check(case.v, list[0]._v)
      helper.check(case.grad, list.original.grad, 1e-4)
      helper.check(case.eval, m:eval()(x))
    end
    local vector = parametrizations.spectral_norm(helper.fill(nn.Linear(3, 4)), "bias")
    assert.are.same(fixtures.spectral_norm.keys, keys(vector))
    helper.check(fixtures.spectral_norm.bias, vector.bias)
  end)

  it("is near the norm from the start, loads what the older function saved, and takes an assignment as it is", function()
    local m = parametrizations.spectral_norm(nn.Linear(20, 10)):eval()
    local w = m.weight:detach()
    local top = w:t():mm(w)
    for _ = 1, 12 do top = top:mm(top) / top:norm() end
    assert.is_true(math.abs((w:mm(top):norm() / top:norm()):item() - 1) < 0.05)
    local old, new = nn.utils.spectral_norm(nn.Linear(3, 4)):eval(), parametrizations.spectral_norm(nn.Linear(3, 4)):eval()
    new:load_state_dict(old:state_dict())
    local x = lt.randn(2, 3)
    assert.is_true(lt.allclose(old(x), new(x), {atol = 1e-6}))
    new.weight = lt.ones(4, 3)
    assert.are.same(lt.ones(4, 3):tolist(), new.parametrizations.weight.original:tolist())
    refuses("dim 2 is out of range", function() parametrizations.spectral_norm(nn.Linear(1, 1), {dim = 2}) end)
    refuses("has no parameter or buffer with name 'w'", function() parametrizations.spectral_norm(nn.Linear(1, 1), "w") end)
    refuses("argument 'n_power_iterations' must be a whole number from 1 to 10000", function() parametrizations.spectral_norm(nn.Linear(1, 1), "weight", 0) end)
  end)

  it("has the gradients of finite differences", function()
    local m = parametrizations.spectral_norm(nn.Linear(2, 3)):double():eval()
    local x = checks.double(2, 2)
    checks.differentiable(function(w) return lt.func.functional_call(m, {["parametrizations.weight.original"] = w}, x) end, checks.double(3, 2))
  end)
end)

describe("parametrizations.orthogonal", function()
  local function make(map, rows, columns, based)
    return parametrizations.orthogonal(nn.Linear(columns, rows), "weight", map, {use_trivialization = based})
  end

  it("gives the numbers and names of PyTorch", function()
    for _, case in ipairs(fixtures.orthogonal) do
      local m = helper.fill(nn.Linear(case.columns, case.rows))
      parametrizations.orthogonal(m, "weight", case.map, {use_trivialization = case.based})
      local list = m.parametrizations.weight
      assert.are.same(case.keys, keys(m))
      local stored = helper.wave({case.rows, case.columns}, 0.2)
      stored:diagonal():copy_(lt.tensor{1, -1, 1}:narrow(0, 0, math.min(case.rows, case.columns)))
      list.original.data:copy_(stored)
      if case.base then list[0].base:copy_(lt.tensor(case.base.data):reshape(case.base.shape)) end
      helper.check(case.y, train(m, helper.wave({2, case.columns}, 0.3)))
      helper.check(case.weight, m.weight)
      helper.check(case.grad, list.original.grad, 1e-4)
      if case.assigned then
        m.weight = lt.tensor(case.assigned.data):reshape(case.assigned.shape)
        helper.check(case.assigned, m.weight)
        helper.check(case.stored, list.original)
      end
    end
  end)

  it("takes an orthogonal matrix, and begins with one made of the weight", function()
    for _, map in ipairs{"matrix_exp", "cayley", "householder"} do
      for _, size in ipairs{{3, 3}, {4, 2}, {2, 4}} do
        local m = make(map, size[1], size[2], true)
        local w = m.weight
        local gram = size[1] >= size[2] and w:t():mm(w) or w:mm(w:t())
        assert.is_true(lt.allclose(gram, lt.eye(math.min(size[1], size[2])), {atol = 1e-5}))
        local q = lt.linalg.qr(lt.randn(math.max(size[1], size[2]), math.min(size[1], size[2])))
        if size[1] < size[2] then q = q:t() end
        m.weight = q
        assert.is_true(lt.allclose(m.weight, q, {atol = 1e-5}))
        local copy = lt.deepcopy(m)
        copy:load_state_dict(m:state_dict())
        assert.is_true(lt.allclose(copy.weight, q, {atol = 1e-5}))
      end
    end
  end)

  it("goes over batches of matrices", function()
    local m = nn.Module()
    m.w = nn.Parameter(lt.randn(2, 4, 3))
    for _, based in ipairs{true, false} do
      parametrizations.orthogonal(m, "w", "householder", {use_trivialization = based})
      local w = m.w
      assert.is_true(lt.allclose(w:transpose(1, 2):matmul(w), lt.eye(3):expand(2, 3, 3), {atol = 1e-5}))
      parametrize.remove_parametrizations(m, "w")
    end
  end)

  it("has the gradients of finite differences", function()
    for _, map in ipairs{"matrix_exp", "cayley", "householder"} do
      local m = make(map, 3, 2, false):double()
      local x = checks.double(2, 2)
      checks.differentiable(function(w) return lt.func.functional_call(m, {["parametrizations.weight.original"] = w}, x) end,
        (checks.double(3, 2):detach() + lt.eye(3, {dtype = "float64"}):narrow(1, 0, 2) * 1.5):requires_grad_())
    end
  end)

  it("refuses vectors, other maps, other shapes, and assignments that have no inverse", function()
    refuses("a matrix or a batch of matrices is needed, not a tensor of shape {2}", function() parametrizations.orthogonal(nn.Linear(2, 2), "bias") end)
    refuses("'orthogonal_map' must be", function() parametrizations.orthogonal(nn.Linear(2, 2), "weight", "qr") end)
    refuses("of shape {3, 2} is expected, got {2, 3}", function() make("cayley", 3, 2, true).weight = lt.ones(2, 3) end)
    refuses("does not implement right_inverse", function() make("cayley", 2, 2, false).weight = lt.eye(2) end)
  end)
end)
