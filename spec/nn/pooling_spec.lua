--- Pooling, unpooling and padding beyond the cases of fixtures/layers: errors, sizes that depend on the input, derivatives of the functions of F.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local nn, F = lt.nn, lt.nn.functional
local shape, double, differentiable, refuses = checks.shape, checks.double, checks.differentiable, checks.refuses

describe("pooling", function()
  it("has the derivatives of first and second order that finite differences show", function()
    differentiable(function(x) return F.lp_pool1d(x * x + 0.5, 3, 2) end, double(2, 3, 6))
    differentiable(function(x) return F.lp_pool2d(x * x + 0.5, 1.5, 2, {ceil_mode = true}) end, double(1, 2, 3, 5))
    differentiable(function(x) return F.lp_pool3d(x * x + 0.5, 2, 2) end, double(1, 1, 2, 3, 4))
    differentiable(function(x) return F.adaptive_avg_pool1d(x, 3) end, double(2, 5))
    differentiable(function(x) return F.adaptive_avg_pool2d(x, {3, lt.None}) end, double(1, 2, 4, 3))
    differentiable(function(x) return F.adaptive_avg_pool3d(x, 1) end, double(1, 2, 2, 3, 2))
    differentiable(function(x) return (F.adaptive_max_pool1d(x, 3)) end, double(2, 5))
    differentiable(function(x) return (F.adaptive_max_pool3d(x, {2, 1, 3})) end, double(1, 2, 3, 2, 4))
  end)

  it("gives the same in rows, in channels-last memory and across the pieces that rows are cut into, with its gradients", function()
    local inputs = {
      {lt.randn(2, 3, 700), 3, {1}}, {lt.randn(2, 5, 9, 11), {3, 2}, {2, 1}}, {lt.randn(1, 2, 6, 7, 8), 2, {1, 2, 3}},
    }
    for _, case in ipairs(inputs) do
      local x, kernel = case[1], case[2]
      x["0, 0"]:fill_(-math.huge)
      x["1:, 1"]:narrow(-1, 3, 1):fill_(0 / 0)
      local n = x:dim() - 2
      for _, options in ipairs{{}, {stride = 1, padding = 1}, {stride = 2, ceil_mode = true}, {stride = 3, padding = 1}} do
        for _, dilation in ipairs{1, 2} do
          local last = x:transpose(1, -1):contiguous():transpose(1, -1)
          local function run(name, t, given)
            local leaf = t:detach():requires_grad_()
            local y, indices = F[name .. n .. "d"](leaf, kernel, given)
            local g = lt.arange(y:numel()):reshape(y.shape)
            return y:detach(), lt.autograd.grad({y}, {leaf}, {g})[1], indices
          end
          local function same(a, b) assert.is_true(lt.allclose(a, b, 1e-5, 1e-6, true)) end
          local mine, dx, at = run("max_pool", x, lt.merge(options, {dilation = dilation, return_indices = true}))
          local other, other_dx, other_at = run("max_pool", last, lt.merge(options, {dilation = dilation, return_indices = true}))
          same(mine, other)
          same(dx, other_dx)
          assert.is_true(lt.equal(at, other_at))
          local plain = lt.where(x:isfinite(), x, lt.zeros(x.shape))
          for _, more in ipairs{{}, {count_include_pad = false}, {divisor_override = n > 1 and 5 or nil}} do
            mine, dx = run("avg_pool", plain, lt.merge(options, more))
            other, other_dx = run("avg_pool", plain:transpose(1, -1):contiguous():transpose(1, -1), lt.merge(options, more))
            same(mine, other)
            same(dx, other_dx)
          end
        end
      end
    end
  end)

  it("undoes max pooling", function()
    local x = lt.randn(2, 3, 5, 7)
    local y, indices = F.max_pool2d(x, 2, {return_indices = true})
    local back = F.max_unpool2d(y, indices, 2, {output_size = {5, 7}})
    assert.are.same({2, 3, 5, 7}, shape(back))
    assert.is_true(lt.equal(back, lt.where(back:ne(0), x, lt.zeros(2, 3, 5, 7))))
    assert.are.equal(y:numel(), back:ne(0):sum():item())
    assert.is_true(lt.equal(back, nn.MaxUnpool2d(2)(y, indices, {2, 3, 5, 7})))
    assert.is_true(lt.equal(back, nn.MaxUnpool2d(2)(y, indices, {output_size = x.shape})))
    differentiable(function(t) return F.max_unpool2d(t, indices, 2, {output_size = {5, 7}}) end, double(2, 3, 2, 3))
  end)

  it("refuses sizes and indices that no pooling gives", function()
    local y, indices = F.max_pool2d(lt.randn(1, 1, 4, 4), 2, {return_indices = true})
    refuses("max_unpool2d: output_size 6 of dimension 0 must lie between 3 and 5", function() F.max_unpool2d(y, indices, 2, {output_size = {6, 4}}) end)
    refuses("max_unpool2d: output_size takes 2 numbers, or a whole shape, got 3", function() F.max_unpool2d(y, indices, 2, {output_size = {4, 4, 4}}) end)
    refuses("index 16 is out of bounds", function() F.max_unpool2d(y, lt.full({1, 1, 2, 2}, 16, {dtype = "int64"}), 2) end)
    refuses("indices of shape {1, 2, 2} do not fit input of shape {1, 1, 2, 2}", function() F.max_unpool2d(y, indices[0], 2) end)
    refuses("int64", function() F.max_unpool2d(y, y, 2) end)
  end)

  it("takes windows at random distances that repeat with the seed and the samples", function()
    local x = lt.randn(2, 3, 12, 12)
    lt.manual_seed(3)
    local first = nn.FractionalMaxPool2d(2, {output_ratio = 0.6})(x)
    local second = nn.FractionalMaxPool2d(2, {output_ratio = 0.6})(x)
    lt.manual_seed(3)
    assert.is_true(lt.equal(first, F.fractional_max_pool2d(x, 2, {output_ratio = 0.6})))
    assert.is_false(lt.equal(first, second))
    assert.are.same({2, 3, 7, 7}, shape(first))
    local y, indices = F.fractional_max_pool3d(lt.randn(2, 5, 6, 7), 2, {output_size = {2, 3, 4}, return_indices = true})
    assert.are.same({2, 2, 3, 4}, shape(y))
    assert.are.equal("int64", indices.dtype)
    local samples = lt.rand(2, 3, 2)
    assert.is_true(lt.equal(F.fractional_max_pool2d(x, 3, 5, {_random_samples = samples}), F.fractional_max_pool2d(x, 3, 5, {_random_samples = samples})))
  end)

  it("keeps the samples of fractional pooling in its state", function()
    local m = nn.FractionalMaxPool2d(2, 3, {_random_samples = lt.rand(2, 3, 2)})
    assert.are.same({"_random_samples"}, lt.keys(m:state_dict()))
    assert.are.equal(0, lt.len(nn.FractionalMaxPool2d(2, 3):state_dict()))
  end)

  it("names what is wrong", function()
    local x = lt.randn(1, 2, 4, 4)
    refuses("exactly one of output_size and output_ratio", function() nn.FractionalMaxPool2d(2) end)
    refuses("exactly one of output_size and output_ratio", function() F.fractional_max_pool2d(x, 2, 2, 0.5) end)
    refuses("output_ratio must hold numbers between 0 and 1, got 1.5", function() F.fractional_max_pool2d(x, 2, {output_ratio = 1.5}) end)
    refuses("4 windows of 2 do not fit into 4 elements", function() F.fractional_max_pool2d(x, 2, 4) end)
    refuses("samples must have shape {1, 2, 2}", function() F.fractional_max_pool2d(x, 2, 2, {_random_samples = lt.rand(1, 2)}) end)
    refuses("samples must lie between 0 and 1, got 2", function() F.fractional_max_pool2d(x, 2, 2, {_random_samples = lt.full({1, 2, 2}, 2)}) end)
    refuses("adaptive_avg_pool2d: output_size takes 1 or 2 numbers, got 3", function() F.adaptive_avg_pool2d(x, {1, 2, 3}) end)
    refuses("adaptive_max_pool1d: input must have 3 dimensions, or 2 without a batch, got shape {1, 2, 4, 4}", function() F.adaptive_max_pool1d(x, 2) end)
    refuses("has no elements to average", function() F.adaptive_avg_pool2d(lt.zeros(1, 2, 0, 3), 1) end)
    refuses("has no elements to choose from", function() F.adaptive_max_pool2d(lt.zeros(1, 2, 0, 3), 1) end)
    refuses("max_pool1d: input must have 3 dimensions", function() F.max_pool1d(x, 2) end)
    refuses("avg_pool3d: input must have 5 dimensions", function() F.avg_pool3d(x[0], 2) end)
    refuses("floating dtype", function() F.max_pool1d(lt.ones(1, 1, 4, {dtype = "int64"}), 2) end)
    refuses("padding {2} must lie between 0 and half the kernel {2}", function() F.avg_pool1d(x[0], 2, 2, 2) end)
  end)

  it("gives nothing for nothing", function()
    assert.are.same({1, 2, 0}, shape(F.adaptive_avg_pool1d(lt.ones(1, 2, 3), 0)))
    assert.are.same({1, 2, 0}, shape((F.adaptive_max_pool1d(lt.ones(1, 2, 3), 0))))
    local x = lt.ones(0, 2, 3):requires_grad_()
    F.adaptive_avg_pool1d(x, 2):sum():backward()
    assert.are.same({0, 2, 3}, shape(x.grad))
  end)
end)

describe("padding", function()
  it("has the derivatives of first and second order that finite differences show", function()
    for _, mode in ipairs {"constant", "reflect", "replicate", "circular"} do
      differentiable(function(x) return F.pad(x, {2, 1}, mode) end, double(2, 3))
      differentiable(function(x) return F.pad(x, {-1, 2, 1, -1, 1, 1}, mode) ^ 2 end, double(1, 3, 3, 3))
    end
  end)

  it("keeps the layout of its input in memory", function()
    local x = lt.randn(2, 3, 4, 5):transpose(1, 3)
    for _, mode in ipairs {"constant", "reflect", "replicate", "circular"} do
      local y = F.pad(x, {1, 1, 1, 0}, mode)
      assert.is_true(y:transpose(1, 3):is_contiguous())
      assert.is_true(lt.equal(y, F.pad(x:contiguous(), {1, 1, 1, 0}, mode)))
    end
  end)

  it("names what is wrong", function()
    local x = lt.ones(1, 2, 3)
    refuses("pad: 3 numbers do not pair with the dimensions of shape {1, 2, 3}", function() F.pad(x, {1, 1, 1}) end)
    refuses("pad: 8 numbers do not pair", function() F.pad(x, {1, 1, 1, 1, 1, 1, 1, 1}) end)
    refuses("pad: 3 and 0 are out of range for dimension 2 of shape {1, 2, 3}, mode reflect", function() F.pad(x, {3, 0}, "reflect") end)
    refuses("pad: 4 and 0 are out of range for dimension 2 of shape {1, 2, 3}, mode circular", function() F.pad(x, {4, 0}, "circular") end)
    refuses("pad: -2 and -2 are out of range", function() F.pad(x, {-2, -2}) end)
    refuses("pad: -4 and 3 are out of range", function() F.pad(x, {-4, 3}) end)
    refuses("pad: a value goes with mode constant, not with reflect", function() F.pad(x, {1, 1}, "reflect", 2) end)
    refuses("mode replicate", function() F.pad(lt.ones(2, 0), {1, 1}, "replicate") end)
    refuses("could not be allocated", function() F.pad(x, {2 ^ 52, 2 ^ 52}) end)
    local nine, pads = {}, {}
    for d = 1, 9 do nine[d], pads[2 * d - 1], pads[2 * d] = 1, 1, 1 end
    for _, mode in ipairs{"constant", "circular"} do
      refuses("pad: at most 8 dimensions are padded at once, got 18 numbers", function() F.pad(lt.ones(nine), pads, mode) end)
    end
    refuses("ConstantPad1d: argument 'value' is missing", function() nn.ConstantPad1d(2) end)
    refuses("ReflectionPad2d: argument 'padding' must be", function() nn.ReflectionPad2d({1, 2}) end)
  end)
end)
