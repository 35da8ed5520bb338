--- nn.utils: gradients, vectors of parameters, fused layers, normalised weights, calls with other parameters. Numbers are PyTorch's (spec/fixtures/utils.py).

local lt = require("lunette")
local checks = require("spec.nn.checks")
local helper = require("spec.nn.helper")
local ordered = require("lunette.nn.ordered")
local nn = lt.nn
local utils = nn.utils
local refuses = checks.refuses

local here = debug.getinfo(1, "S").source:match("^@(.*)nn/utils_spec%.lua$")
local fixtures = dofile(here .. "fixtures/utils.lua")

local function grown(...)
  local p = nn.Parameter(lt.zeros(...))
  p.grad = lt.zeros(...)
  return p
end

describe("the norm of gradients", function()
  it("is that of all elements together, and limited as in PyTorch", function()
    for _, case in ipairs(fixtures.gradients) do
      local a, b, p = grown(2, 3), grown(4), tonumber(case.p)
      a.grad:copy_(helper.wave({2, 3}, 1))
      b.grad:copy_(helper.wave({4}, 2) * 3)
      helper.check(case.total, utils.get_total_norm({a.grad, b.grad}, p))
      helper.check(case.total, utils.clip_grad_norm_({a, b}, case.limit, p))
      helper.check(case.a, a.grad)
      helper.check(case.b, b.grad)
    end
  end)

  it("takes one tensor, an array, what parameters() gives, and an iterator", function()
    local net = nn.Linear(2, 3)
    net(lt.ones(4, 2)):sum():backward()
    local n = utils.clip_grad_norm_(net:parameters(), 1e3):item()
    local i = 0
    local function iterate()
      i = i + 1
      return net:parameters()[i]
    end
    assert.are.equal(n, utils.clip_grad_norm_(iterate, 1e3):item())
    assert.are.equal(n, utils.clip_grad_norm_({net.bias, net.weight, nn.Parameter(lt.ones(3))}, 1e3):item())
    assert.is_true(utils.clip_grad_norm_(net.weight, 1e3):item() < n)
    assert.are.equal(4, utils.clip_grad_norm_(net:parameters(), {max_norm = 1e3, norm_type = "inf", foreach = true}):item())
    assert.are.equal(0, utils.clip_grad_norm_({}, 1):item())
    assert.are.equal(0, utils.clip_grad_norm_({nn.Parameter(lt.ones(3))}, 1):item())
  end)

  it("goes over dtypes and leaves no history", function()
    local a, b = nn.Parameter(lt.ones(2):half()), nn.Parameter(lt.ones(2):double())
    a.grad, b.grad = lt.full({2}, 3):half(), lt.full({2}, 4):double()
    assert.is_true(math.abs(utils.clip_grad_norm_({a, b}, 1):item() - math.sqrt(50)) < 1e-2)
    assert.are.equal("float16", a.grad.dtype)
    assert.are.equal("float64", b.grad.dtype)
    assert.is_true(math.abs(utils.get_total_norm({a.grad, b.grad}):item() - 1) < 1e-3)
    local x = nn.Parameter(lt.ones(2))
    ;(x * x * x):sum():backward({create_graph = true})
    utils.clip_grad_norm_(x, 1)
    assert.is_true(math.abs(x.grad:norm():item() - 1) < 1e-4)
  end)

  it("may be refused where it is no number", function()
    local p = grown(2)
    for _, bad in ipairs{math.huge, 0 / 0} do
      p.grad:fill_(bad)
      refuses("the total norm of order 2 for gradients from `parameters` is non-finite", function() utils.clip_grad_norm_(p, 1, {error_if_nonfinite = true}) end)
      assert.are.equal(tostring(bad), tostring(p.grad[0]:item()))
      utils.clip_grad_norm_(p, 1)
    end
    refuses("argument 'parameters' must be a tensor or an array of tensors", function() utils.clip_grad_norm_(nn.Linear(1, 1), 1) end)
    refuses("the iterator must give tensors, not 3", function() utils.clip_grad_norm_(function() return 3 end, 1) end)
    refuses("argument 'max_norm' is missing", function() utils.clip_grad_norm_(p) end)
  end)

  it("is given where it is known already, and elements are limited one by one", function()
    local p = grown(3)
    p.grad:copy_(lt.tensor{3, 0, -4})
    utils.clip_grads_with_norm_(p, 1, lt.tensor(10))
    assert.is_true(lt.allclose(p.grad, lt.tensor{0.3, 0, -0.4}, {atol = 1e-6}))
    utils.clip_grads_with_norm_({p}, 1, lt.tensor(0.1))
    assert.is_true(lt.allclose(p.grad, lt.tensor{0.3, 0, -0.4}, {atol = 1e-6}))
    utils.clip_grad_value_({p}, 0.35)
    assert.is_true(lt.allclose(p.grad, lt.tensor{0.3, 0, -0.35}, {atol = 1e-6}))
  end)
end)

describe("parameters as a vector", function()
  it("stand one after another, and lead gradients back", function()
    local net = helper.fill(nn.Linear(2, 3))
    local vector = utils.parameters_to_vector(net:parameters())
    assert.are.same({9}, checks.shape(vector))
    assert.is_true(lt.equal(vector["6:"]:detach(), net.bias:detach()))
    vector:sum():backward()
    assert.are.equal(6, net.weight.grad:sum():item())
    refuses("at least one parameter is needed", function() utils.parameters_to_vector({}) end)
  end)

  it("take their elements from a vector", function()
    local net = nn.Linear(2, 3)
    local weight, vector = net.weight, lt.arange(9)
    utils.vector_to_parameters(vector, net:parameters())
    assert.is_true(net.weight == weight)
    assert.are.same({{0, 1}, {2, 3}, {4, 5}}, net.weight:tolist())
    assert.are.same({6, 7, 8}, net.bias:tolist())
    vector[0] = 10
    assert.are.equal(10, net.weight[0][0]:item())
    refuses("a vector of at least 9 elements is needed", function() utils.vector_to_parameters(lt.ones(8), net:parameters()) end)
    refuses("a vector of at least 9 elements is needed", function() utils.vector_to_parameters(lt.ones(3, 3), net:parameters()) end)
  end)
end)

-- A batch normalisation whose statistics are no starting values.
local function used(bn)
  bn.running_mean:copy_(helper.wave({bn.num_features}, 2))
  bn.running_var:copy_(helper.wave({bn.num_features}, 3):abs() + 0.5)
  return helper.fill(bn):eval()
end

describe("a fused batch normalisation", function()
  local function agrees(layer, bn, fuse, x, ...)
    local fused = fuse(layer, bn, ...)
    assert.is_true(lt.allclose(fused(x), bn(layer(x)), {atol = 1e-5}))
    assert.are.equal(layer.class, fused.class)
    assert.is_true(fused.weight.requires_grad)
    assert.are.equal(layer.bias ~= nil, fused.bias.requires_grad)
    assert.is_false(fused.weight == layer.weight)
  end

  it("is part of the layer before it", function()
    for _, bias in ipairs{true, false} do
      for _, affine in ipairs{true, false} do
        local function norm(name) return used(nn[name](4, {affine = affine})) end
        agrees(nn.Conv2d(2, 4, 3, {bias = bias}):eval(), norm("BatchNorm2d"), utils.fuse_conv_bn_eval, lt.randn(2, 2, 5, 5))
        agrees(nn.Conv1d(2, 4, 3, {bias = bias}):eval(), norm("BatchNorm1d"), utils.fuse_conv_bn_eval, lt.randn(2, 2, 5))
        agrees(nn.ConvTranspose2d(2, 4, 3, {bias = bias}):eval(), norm("BatchNorm2d"), utils.fuse_conv_bn_eval, lt.randn(2, 2, 5, 5), true)
        agrees(nn.Linear(3, 4, {bias = bias}):eval(), norm("BatchNorm1d"), utils.fuse_linear_bn_eval, lt.randn(2, 3))
      end
    end
  end)

  it("is computed of weights alone too", function()
    local w, b = utils.fuse_conv_bn_weights(lt.ones(1, 1, 1), lt.None, lt.ones(1), lt.full({1}, 4), 0, lt.None, lt.None)
    assert.are.same({{{0.5}}}, w:tolist())
    assert.are.same({-0.5}, b:tolist())
    w, b = utils.fuse_linear_bn_weights{linear_w = lt.ones(1, 2), bn_rm = lt.zeros(1), bn_rv = lt.ones(1), bn_eps = 0, bn_w = lt.full({1}, 3), bn_b = lt.ones(1)}
    assert.are.same({{3, 3}}, w:tolist())
    assert.are.same({1}, b:tolist())
  end)

  it("needs evaluation, statistics and as many channels", function()
    local conv, bn = nn.Conv2d(2, 4, 3):eval(), nn.BatchNorm2d(4):eval()
    refuses("call Conv2d:eval() first", function() utils.fuse_conv_bn_eval(nn.Conv2d(2, 4, 3), bn) end)
    refuses("call BatchNorm2d:eval() first", function() utils.fuse_conv_bn_eval(conv, nn.BatchNorm2d(4)) end)
    refuses("must have running_mean and running_var", function() utils.fuse_conv_bn_eval(conv, nn.BatchNorm2d(4, {track_running_stats = false}):eval()) end)
    refuses("4 channels after it, the batch normalisation 5", function() utils.fuse_conv_bn_eval(conv, nn.BatchNorm2d(5):eval()) end)
    refuses("3 channels after it, the batch normalisation 4", function() utils.fuse_linear_bn_eval(nn.Linear(2, 3):eval(), nn.BatchNorm1d(4):eval()) end)
  end)
end)

describe("skip_init", function()
  it("makes a layer without drawing numbers", function()
    lt.manual_seed(3)
    local before = lt.get_rng_state()
    local m = utils.skip_init(nn.Linear, 3, 4, {bias = false, dtype = "float64"})
    assert.are.same({4, 3}, checks.shape(m.weight))
    assert.are.equal("float64", m.weight.dtype)
    assert.is_nil(m.bias)
    lt.set_rng_state(before)
    local same = nn.Linear(3, 4)
    m:reset_parameters()
    assert.are_not.same(same.weight:tolist(), m.weight:tolist())
    refuses("a class of modules is needed", function() utils.skip_init(nn.Linear(1, 1)) end)
    refuses("a class of modules is needed", function() utils.skip_init(lt.optim.SGD, {lt.ones(1)}) end)
    refuses("gives no starting values", function() utils.skip_init(nn.Sequential) end)
  end)
end)

local makers = {
  Linear = function() return nn.Linear(3, 4), helper.wave({2, 3}, 0.3) end,
  Conv2d = function() return nn.Conv2d(2, 3, 2), helper.wave({1, 2, 3, 3}, 0.3) end,
  ConvTranspose1d = function() return nn.ConvTranspose1d(2, 3, 2), helper.wave({1, 2, 4}, 0.3) end,
}

describe("weight_norm", function()
  it("gives the numbers and names of PyTorch", function()
    for _, case in ipairs(fixtures.weight_norm) do
      local m, x = makers[case.kind]()
      utils.weight_norm(helper.fill(m), {dim = case.dim == "none" and lt.None or case.dim})
      assert.are.same(case.keys, {unpack(lt.keys(m:state_dict()))})
      m.weight_g.data:mul_(1.5)
      local y = m(x)
      ;(y * y):sum():backward()
      helper.check(case.y, y)
      helper.check(case.g, m.weight_g)
      helper.check(case.dg, m.weight_g.grad, 1e-4)
      helper.check(case.dv, m.weight_v.grad, 1e-4)
    end
  end)

  it("has the gradients of finite differences", function()
    local m = utils.weight_norm(nn.Linear(2, 3)):double()
    local x = checks.double(2, 2)
    checks.differentiable(function(g, v)
      return lt.func.functional_call(m, {weight_g = g, weight_v = v}, x)
    end, checks.double(3, 1), checks.double(3, 2))
  end)

  it("is taken off again", function()
    local m = utils.weight_norm(helper.fill(nn.Linear(3, 4)))
    local x = lt.randn(2, 3)
    m.weight_g.data:mul_(2)
    local y = m(x)
    assert.is_true(utils.remove_weight_norm(m) == m)
    assert.is_true(lt.allclose(y, m(x), {atol = 1e-6}))
    assert.are.same({"bias", "weight"}, {unpack(lt.keys(m:state_dict()))})
    assert.is_true(m.weight.requires_grad and m.weight.is_leaf)
    refuses("weight_norm of 'weight' not found in Linear", function() utils.remove_weight_norm(m) end)
    refuses("cannot register two weight_norm hooks on the same parameter weight", function() utils.weight_norm(utils.weight_norm(m)) end)
    refuses("'wieght' is no parameter of Linear; did you mean 'weight'", function() utils.weight_norm(nn.Linear(1, 1), "wieght") end)
    refuses("dim 2 is out of range", function() utils.weight_norm(nn.Linear(1, 1), {dim = 2}) end)
  end)

  it("goes with copies, dtypes and loaded states", function()
    local m = utils.weight_norm(nn.Linear(3, 4))
    local copy = lt.deepcopy(m)
    copy.weight_g.data:mul_(3)
    local x = lt.randn(2, 3)
    assert.is_true(lt.allclose(copy(x) - copy.bias, (m(x) - m.bias) * 3, {atol = 1e-5}))
    m:load_state_dict(copy:state_dict())
    assert.is_true(lt.equal(m.weight, copy.weight))
    assert.are.equal("float64", m:double().weight.dtype)
    assert.are.equal("float64", m(x:double()).dtype)
  end)
end)

describe("spectral_norm", function()
  local function unit(n, phase) return nn.functional.normalize(helper.wave({n}, phase), 2, 0) end

  it("gives the numbers and names of PyTorch", function()
    for _, case in ipairs(fixtures.spectral_norm) do
      local m, x = makers[case.kind]()
      assert.is_true(utils.spectral_norm(helper.fill(m), {n_power_iterations = 2}) == m)
      assert.are.same(case.keys, {unpack(lt.keys(m:state_dict()))})
      m.weight_u:copy_(unit(m.weight_u.shape[0], 4))
      m.weight_v:copy_(unit(m.weight_v.shape[0], 5))
      local y
      for _ = 1, 3 do y = m(x) end
      ;(y * y):sum():backward()
      helper.check(case.y, y)
      helper.check(case.u, m.weight_u)
      helper.check(case.v, m.weight_v)
      helper.check(case.grad, m.weight_orig.grad, 1e-4)
      helper.check(case.eval, m:eval()(x))
      helper.check(case.u, m.weight_u)
    end
  end)

  it("has the gradients of finite differences", function()
    local m = utils.spectral_norm(nn.Linear(2, 3)):double():eval()
    local x = checks.double(2, 2)
    checks.differentiable(function(w) return lt.func.functional_call(m, {weight_orig = w}, x) end, checks.double(3, 2))
  end)

  it("reads its first saved form", function()
    local old = fixtures.old_spectral
    local m, state = utils.spectral_norm(nn.Linear(3, 4)):eval(), {}
    for name, value in pairs(old.state) do state[name] = lt.tensor(value.data):reshape(value.shape) end
    m:load_state_dict(state)
    helper.check(old.v, m.weight_v, 1e-4)
    helper.check(old.y, m(helper.wave({2, 3}, 7)), 1e-4)
    state.weight = nil
    refuses("weight_v", function() m:load_state_dict(state) end)
    assert.are.same({["weight.version"] = 1}, ordered.metadata(m:state_dict())[""].spectral_norm)
    local new = utils.spectral_norm(nn.Linear(3, 4))
    new:load_state_dict(m:state_dict())
    assert.is_true(lt.equal(new.weight_v, m.weight_v))
  end)

  it("is taken off again", function()
    local m = utils.spectral_norm(helper.fill(nn.Linear(3, 4)))
    local x = lt.randn(2, 3)
    m(x)
    local copy = lt.deepcopy(m)
    local y = m:eval()(x)
    assert.is_true(utils.remove_spectral_norm(m) == m)
    assert.is_true(lt.allclose(y, m(x), {atol = 1e-6}))
    assert.are.same({"bias", "weight"}, {unpack(lt.keys(m:state_dict()))})
    m:load_state_dict(m:state_dict())
    assert.is_true(lt.allclose(y, utils.remove_spectral_norm(copy)(x), {atol = 1e-6}))
    refuses("spectral_norm of 'weight' not found", function() utils.remove_spectral_norm(m) end)
    refuses("cannot register two spectral_norm hooks", function() utils.spectral_norm(utils.spectral_norm(m)) end)
    refuses("dim 2 is out of range", function() utils.spectral_norm(nn.Linear(1, 1), {dim = 2}) end)
    refuses("'n_power_iterations' must be a whole number from 1 to 10000", function() utils.spectral_norm(nn.Linear(1, 1), "weight", 0) end)
  end)
end)

describe("functional_call", function()
  local call = lt.func.functional_call

  it("computes with what is given and leaves the module as it was", function()
    local net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    local weight = net[0].weight
    local given = {["0.weight"] = lt.ones({3, 2}, {requires_grad = true}), ["0.bias"] = lt.zeros(3)}
    local y = call(net, given, lt.ones(1, 2))
    assert.is_true(lt.allclose(y, net[2](lt.full({1, 3}, 2))))
    assert.is_true(net[0].weight == weight)
    y:sum():backward()
    assert.is_not_nil(given["0.weight"].grad)
    assert.is_nil(weight.grad)
    assert.is_true(lt.equal(net(lt.ones(1, 2)), call(net, net:state_dict(), {lt.ones(1, 2)})))
    assert.is_true(lt.equal(y, call(net, {{["0.weight"] = given["0.weight"]}, {["0.bias"] = given["0.bias"]}}, lt.ones(1, 2))))
  end)

  it("leaves the module as it was after an error too", function()
    local net = nn.Linear(2, 3)
    local weight = net.weight
    assert.has_error(function() call(net, {weight = lt.ones(7)}, lt.ones(1, 2)) end)
    assert.is_true(net.weight == weight)
  end)

  it("hands arguments on, by place and by name, and all values back", function()
    local Net = nn.Module:subclass("Net")
    function Net:__init() self.scale = nn.Parameter(lt.ones(1)) end
    function Net:forward(a, b, options) return a * self.scale, b, options and options.name end
    local a, b, name = call(Net(), {scale = lt.full({1}, 3)}, {lt.ones(1), 5}, {name = "x"})
    assert.are.same({3, 5, "x"}, {a:item(), b, name})
    assert.are.equal(3, (call(nn.Linear(2, 3), {}, nil, {input = lt.ones(1, 2)})).shape[1])
  end)

  it("gives buffers that were replaced back", function()
    local Count = nn.Module:subclass("Count")
    function Count:__init() self:register_buffer("n", lt.zeros(1)) end
    function Count:forward(x)
      self.n = self.n + 1
      return x
    end
    local m, given = Count(), {n = lt.full({1}, 4)}
    call(m, given, lt.ones(1))
    assert.are.equal(5, given.n:item())
    assert.are.equal(0, m.n:item())
  end)

  it("gives all names of a shared tensor what one is given", function()
    local net = nn.Sequential(nn.Linear(2, 2, {bias = false}), nn.Linear(2, 2, {bias = false}))
    net[1].weight = net[0].weight
    local eye, x = lt.eye(2), lt.ones(1, 2)
    assert.are.same({{1, 1}}, call(net, {["0.weight"] = eye}, x):tolist())
    assert.is_true(lt.equal(net[1](x), call(net, {["0.weight"] = eye}, x, nil, {tie_weights = false})))
    refuses("multiple values for keys '0.weight', '1.weight'", function() call(net, {["0.weight"] = eye, ["1.weight"] = lt.ones(2, 2)}, x) end)
    assert.are.same({{2, 2}}, call(net, {["0.weight"] = eye, ["1.weight"] = lt.ones(2, 2)}, x, nil, {tie_weights = false}):tolist())
  end)

  it("may insist on all names and no others", function()
    local net = nn.Linear(2, 1)
    refuses("Unexpected key(s): 'bogus'.\n\tMissing key(s): 'weight', 'bias'.", function() call(net, {bogus = lt.ones(1)}, lt.ones(1, 2), nil, {strict = true}) end)
    assert.are.equal(1, call(net, {bogus = lt.ones(1)}, lt.ones(1, 2)).shape[1])
    refuses("'weight' is 3", function() call(net, {weight = 3}, lt.ones(1, 2)) end)
    refuses("'weight' appeared in multiple dictionaries", function() call(net, {{weight = lt.ones(1, 2)}, {weight = lt.ones(1, 2)}}, lt.ones(1, 2)) end)
    assert.are.equal(call, utils.stateless.functional_call)
  end)
end)
