--- Normalisation beyond the cases of fixtures/layers: derivatives, errors, inputs without elements, half types.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local nn, F = lt.nn, lt.nn.functional
local double, differentiable, refuses = checks.double, checks.differentiable, checks.refuses

describe("normalisation by groups, instances and neighbours", function()
  it("has the derivatives of first and second order that finite differences show", function()
    differentiable(function(x, w, b) return F.group_norm(x, 2, w, b) end, double(2, 4, 3), double(4), double(4))
    differentiable(function(x, w, b) return F.instance_norm(x, {weight = w, bias = b}) end, double(2, 2, 3), double(2), double(2))
    differentiable(function(x) return F.local_response_norm(x, 3, 0.5, 0.75, 1.5) end, double(1, 4, 2))
    differentiable(function(x) return nn.CrossMapLRN2d(3, 0.5)(x) end, double(1, 4, 1, 2))
    differentiable(function(x, w) return F.rms_norm(x, {3}, w, 0.1) end, double(2, 3), double(3))
  end)

  it("weighs channels that are longer than the pieces of a row", function()
    local x, w, b = lt.randn(2, 6, 17, 19, {dtype = "float64"}), lt.randn(6, {dtype = "float64"}), lt.randn(6, {dtype = "float64"})
    local function by_hand(t, weight, bias)
      local groups = t:reshape(2, 3, -1)
      local centred = groups - groups:mean(2, true)
      local hat = (centred / (centred:square():mean(2, true) + 1e-5):sqrt()):reshape(t.shape)
      return hat * weight:view(6, 1, 1) + bias:view(6, 1, 1)
    end
    local function run(fn)
      local leaves = {x:detach():requires_grad_(), w:detach():requires_grad_(), b:detach():requires_grad_()}
      local y = fn(unpack(leaves))
      return y, lt.autograd.grad({y}, leaves, {x * 2})
    end
    local y, gradients = run(function(...) return F.group_norm(select(1, ...), 3, select(2, ...)) end)
    local want, wanted = run(by_hand)
    assert.is_true(lt.allclose(y, want, 1e-9, 1e-9))
    for i = 1, 3 do assert.is_true(lt.allclose(gradients[i], wanted[i], 1e-8, 1e-8), "of input " .. i) end
  end)

  it("takes a batch of zero and half types", function()
    assert.are.same({0, 4, 3}, {F.group_norm(lt.ones(0, 4, 3), 2).shape:unpack()})
    assert.are.same({0, 4, 3}, {F.instance_norm(lt.ones(0, 4, 3)).shape:unpack()})
    assert.are.same({0, 4, 3}, {F.local_response_norm(lt.ones(0, 4, 3), 2).shape:unpack()})
    for _, dtype in ipairs {"float16", "bfloat16"} do
      local x = lt.randn(2, 4, 6):to(dtype)
      local y = F.group_norm(x, 2)
      assert.are.equal(dtype, y.dtype)
      assert.is_true(lt.equal(y, F.group_norm(x:to("float32"), 2):to(dtype)))
      assert.is_true(lt.equal(F.rms_norm(x, 6), F.rms_norm(x:to("float32"), 6):to(dtype)))
    end
  end)

  it("uses running statistics on request", function()
    local x, mean, var = lt.randn(2, 3, 4), lt.tensor{0.5, 0, 1}, lt.tensor{1, 2, 4}
    local y = F.instance_norm(x, mean, var, {use_input_stats = false})
    assert.is_true(lt.allclose(y, (x - mean:view(1, 3, 1)) / (var:view(1, 3, 1) + 1e-5):sqrt(), 1e-4, 1e-5))
  end)

  it("names what is wrong", function()
    refuses("group_norm: 4 channels must be divisible by num_groups 3 (input {2, 4})", function() F.group_norm(lt.ones(2, 4), 3) end)
    refuses("group_norm: weight must have one number for each of 4 channels, got shape {3}", function() F.group_norm(lt.ones(2, 4), 2, lt.ones(3)) end)
    refuses("group_norm: input must have at least 2 dimensions", function() F.group_norm(lt.ones(4), 2) end)
    refuses("GroupNorm: num_channels 4 must be divisible by num_groups 3", function() nn.GroupNorm(3, 4) end)
    refuses("instance_norm: more than 1 value per channel is needed", function() F.instance_norm(lt.ones(2, 3, 1)) end)
    refuses("running_mean and running_var are needed", function() F.instance_norm(lt.ones(2, 3, 2), {use_input_stats = false}) end)
    refuses("InstanceNorm1d: expected 3 channels in dimension 1, got shape {2, 4, 5}", function() nn.InstanceNorm1d(3)(lt.ones(2, 4, 5)) end)
    refuses("InstanceNorm2d: expected 3D or 4D input, got 2D", function() nn.InstanceNorm2d(3)(lt.ones(3, 4)) end)
    refuses("rms_norm: normalized_shape must be the last dimensions", function() F.rms_norm(lt.ones(2, 3), {2}) end)
    refuses("rms_norm: weight must have the shape normalized_shape", function() F.rms_norm(lt.ones(2, 3), {3}, lt.ones(2)) end)
    refuses("local_response_norm: input must have at least 3 dimensions", function() F.local_response_norm(lt.ones(2, 3), 2) end)
    refuses("CrossMapLRN2d: expected 4D input", function() nn.CrossMapLRN2d(3)(lt.ones(2, 3, 4)) end)
  end)
end)
