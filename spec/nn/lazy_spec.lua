--- Lazy modules: before the first call, the call, and what they are from then on.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local nn, optim = lt.nn, lt.optim
local refuses = checks.refuses

--- {lazy class, its arguments, PyTorch's text, an input, the first argument of the full class, its text}
local layers = {
  {"LazyLinear", {3}, "LazyLinear(in_features=0, out_features=3, bias=True)", {2, 5}, 5, "Linear(in_features=5, out_features=3, bias=True)"},
  {"LazyLinear", {3, {bias = false}}, "LazyLinear(in_features=0, out_features=3, bias=False)", {5}, 5, "Linear(in_features=5, out_features=3, bias=False)"},
  {"LazyConv1d", {4, 2, {groups = 2}}, "LazyConv1d(0, 4, kernel_size=(2,), stride=(1,), groups=2)", {6, 5}, 6,
    "Conv1d(6, 4, kernel_size=(2,), stride=(1,), groups=2)"},
  {"LazyConv2d", {4, {2, 3}, {stride = 2, padding = 1}}, "LazyConv2d(0, 4, kernel_size=(2, 3), stride=(2, 2), padding=(1, 1))", {1, 6, 5, 5}, 6,
    "Conv2d(6, 4, kernel_size=(2, 3), stride=(2, 2), padding=(1, 1))"},
  {"LazyConv3d", {4, 2, {bias = false}}, "LazyConv3d(0, 4, kernel_size=(2, 2, 2), stride=(1, 1, 1), bias=False)", {1, 2, 3, 3, 3}, 2,
    "Conv3d(2, 4, kernel_size=(2, 2, 2), stride=(1, 1, 1), bias=False)"},
  {"LazyConvTranspose1d", {4, 2}, "LazyConvTranspose1d(0, 4, kernel_size=(2,), stride=(1,))", {1, 6, 5}, 6,
    "ConvTranspose1d(6, 4, kernel_size=(2,), stride=(1,))"},
  {"LazyConvTranspose2d", {4, 3, {stride = 2, output_padding = 1}},
    "LazyConvTranspose2d(0, 4, kernel_size=(3, 3), stride=(2, 2), output_padding=(1, 1))", {3, 5, 5}, 3,
    "ConvTranspose2d(3, 4, kernel_size=(3, 3), stride=(2, 2), output_padding=(1, 1))"},
  {"LazyConvTranspose3d", {4, 2}, "LazyConvTranspose3d(0, 4, kernel_size=(2, 2, 2), stride=(1, 1, 1))", {1, 2, 3, 3, 3}, 2,
    "ConvTranspose3d(2, 4, kernel_size=(2, 2, 2), stride=(1, 1, 1))"},
  {"LazyBatchNorm1d", {}, "LazyBatchNorm1d(0, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)", {4, 3}, 3,
    "BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"},
  {"LazyBatchNorm2d", {1e-3, 0.2}, "LazyBatchNorm2d(0, eps=0.001, momentum=0.2, affine=True, bias=True, track_running_stats=True)", {4, 3, 2, 2}, 3,
    "BatchNorm2d(3, eps=0.001, momentum=0.2, affine=True, bias=True, track_running_stats=True)"},
  {"LazyBatchNorm3d", {{affine = false}}, "LazyBatchNorm3d(0, eps=1e-05, momentum=0.1, affine=False, bias=False, track_running_stats=True)", {4, 3, 2, 2, 2}, 3,
    "BatchNorm3d(3, eps=1e-05, momentum=0.1, affine=False, bias=False, track_running_stats=True)"},
  {"LazyInstanceNorm1d", {}, "LazyInstanceNorm1d(0, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)", {4, 3, 5}, 3,
    "InstanceNorm1d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)", {affine = true, track_running_stats = true}},
  {"LazyInstanceNorm2d", {{track_running_stats = false}},
    "LazyInstanceNorm2d(0, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=False)", {3, 5, 2}, 3,
    "InstanceNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=False)", {affine = true}},
  {"LazyInstanceNorm3d", {{affine = false}},
    "LazyInstanceNorm3d(0, eps=1e-05, momentum=0.1, affine=False, bias=False, track_running_stats=True)", {1, 3, 5, 2, 2}, 3,
    "InstanceNorm3d(3, eps=1e-05, momentum=0.1, affine=False, bias=False, track_running_stats=True)", {track_running_stats = true}},
}

local function same_state(a, b)
  assert.are.same(lt.keys(a), lt.keys(b))
  for name, t in lt.items(a) do assert.is_true(lt.equal(t, b[name]), name) end
end

-- The full layer with the same arguments.
local function full(layer)
  local arguments = {layer[5], unpack(layer[2])}
  if layer[7] then
    local options = type(arguments[#arguments]) == "table" and table.remove(arguments) or {}
    arguments[#arguments + 1] = lt.merge(layer[7], options)
  end
  return nn[layer[1]:match("^Lazy(.*)$")](unpack(arguments))
end

describe("of every family:", function()
  for i, layer in ipairs(layers) do
    it(("%s, case %d, becomes the layer that the same arguments make"):format(layer[1], i), function()
      local lazy, x = nn[layer[1]](unpack(layer[2])), (lt.arange(lt.Size(layer[4]):numel()) * 0.3):sin():reshape(layer[4])
      assert.are.equal(layer[3], tostring(lazy))
      assert.are.equal(lazy.weight ~= nil or lazy.running_mean ~= nil, lazy:has_uninitialized_params())
      assert.is_true(lt.isinstance(lazy, nn[layer[1]]) and lt.isinstance(lazy, lazy.cls_to_become))
      lt.manual_seed(5)
      local y = lazy(x)
      lt.manual_seed(5)
      local other = full(layer)
      assert.is_true(lt.equal(y, other(x)))
      assert.are.equal(layer[6], tostring(lazy))
      assert.are.equal(other.class, lazy.class)
      assert.is_false(lt.isinstance(lazy, nn[layer[1]]))
      same_state(lazy:state_dict(), other:state_dict())
      assert.is_nil(lazy.has_uninitialized_params)
      assert.is_true(lt.equal(lazy:eval()(x), other:eval()(x)))
    end)

    it(("%s, case %d, takes the state of the full layer"):format(layer[1], i), function()
      local lazy, other = nn[layer[1]](unpack(layer[2])), full(layer)
      local x = lt.ones(layer[4])
      for p in other:parameters() do p.data:uniform_() end
      lazy:load_state_dict(other:state_dict())
      same_state(lazy:state_dict(), other:state_dict())
      assert.are.equal(layer[3], tostring(lazy))
      assert.is_true(lt.equal(lazy(x), other(x)))
      assert.are.equal(layer[6], tostring(lazy))
    end)
  end
end)

describe("an uninitialised parameter", function()
  it("prints, and is refused by operators and where its shape is asked for", function()
    local lazy = nn.LazyBatchNorm1d()
    assert.are.equal("<UninitializedParameter>", tostring(lazy.weight))
    assert.are.equal("<UninitializedBuffer>", tostring(lazy.running_mean))
    assert.are.equal(0, lazy.num_batches_tracked:item())
    assert.is_true(lt.isinstance(lazy.weight, nn.UninitializedParameter) and lt.isinstance(lazy.weight, nn.Parameter))
    assert.is_true(lt.isinstance(lazy.running_mean, nn.UninitializedBuffer) and not lt.isinstance(lazy.weight, nn.UninitializedBuffer))
    for _, fn in ipairs{function(w) return w + 1 end, function(w) return w:clone() end, function(w) return w:sum() end} do
      refuses("attempted to use an uninitialized parameter", function() fn(lazy.weight) end)
    end
    refuses("an uninitialised parameter or buffer has no shape", function() return lazy.weight.shape end)
    refuses("an uninitialised parameter or buffer has no shape", function() return lazy.weight:size(0) end)
  end)

  it("gets a shape and stays the same object, also for an optimizer", function()
    local p = nn.UninitializedParameter{dtype = "float64"}
    local opt = optim.SGD({p}, {lr = 1})
    refuses("SGD: parameter 0 is uninitialised", function() opt:step() end)
    p:materialize({2, 3})
    assert.are.same({2, 3}, checks.shape(p))
    assert.are.equal("float64", p.dtype)
    assert.is_true(p.requires_grad and lt.isinstance(p, nn.Parameter) and not lt.isinstance(p, nn.UninitializedParameter))
    p.data:fill_(1)
    p:sum():backward()
    opt:step()
    assert.are.same({{0, 0, 0}, {0, 0, 0}}, p:tolist())
    refuses("materialize: the tensor is no uninitialised parameter or buffer", function() p:materialize({2}) end)
    local b = nn.UninitializedBuffer()
    b:materialize(4, "cpu", "int64")
    assert.are.equal("int64", b.dtype)
  end)
end)

describe("a lazy module", function()
  it("is copied, converted and saved before its first call", function()
    local lazy = nn.LazyLinear(3):double()
    local copy = lt.deepcopy(lazy)
    assert.are.equal("float64", copy.weight.dtype)
    assert.is_true(lt.isinstance(copy.weight, nn.UninitializedParameter))
    assert.are.equal("LazyLinear(in_features=0, out_features=3, bias=True)", tostring(copy))
    copy(lt.ones(1, 4, {dtype = "float64"}))
    assert.are.same({3, 4}, checks.shape(copy.weight))
    assert.is_true(lazy:has_uninitialized_params())
    lazy(lt.ones(1, 2, {dtype = "float64"}))
    assert.are.same({3, 2}, checks.shape(lazy.weight))
    local again = lt.deepcopy(lazy)
    assert.are.equal(nn.Linear, again.class)
    assert.is_true(lt.equal(again(lt.ones(1, 2, {dtype = "float64"})), lazy(lt.ones(1, 2, {dtype = "float64"}))))
  end)

  it("has a state of uninitialised tensors, which only a lazy one takes", function()
    local state = nn.LazyLinear(3):state_dict()
    assert.are.equal("<UninitializedParameter>", tostring(state.weight))
    local lazy = nn.LazyLinear(3)
    lazy:load_state_dict(state)
    assert.is_true(lazy:has_uninitialized_params())
    refuses("weight: the state dict has an uninitialised parameter or buffer", function() nn.Linear(2, 3):load_state_dict(state) end)
    refuses("save: weight is uninitialised", function() lt.save(state, os.tmpname() .. ".safetensors") end)
  end)

  it("keeps what hooks see and the seed draws in order, inside others and called by name", function()
    local seen = {}
    local lazy = nn.LazyLinear(2)
    lazy:register_forward_pre_hook(function(m) seen[#seen + 1] = m.class.__name end)
    lazy:register_forward_hook(function(m) seen[#seen + 1] = tostring(m.in_features) end)
    local net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), lazy)
    assert.are.same({2, 2}, checks.shape(net(lt.ones(2, 1, 5, 5))))
    assert.are.same({"Linear", "36"}, seen)
    assert.are.same({2, 2}, checks.shape(net(lt.ones(2, 1, 5, 5))))
    assert.are.equal(4, #seen)
    assert.are.same({1, 3}, checks.shape(nn.LazyLinear{out_features = 3}{input = lt.ones(1, 2)}))
    local y = nn.LazyConvTranspose2d(2, 3, {stride = 2})(lt.ones(1, 1, 3, 3), {output_size = {8, 8}})
    assert.are.same({1, 2, 8, 8}, checks.shape(y))
  end)

  it("stays lazy when an input does not fit", function()
    local lazy = nn.LazyConv1d(4, 2, {groups = 2})
    refuses("LazyConv1d: expected 2D (unbatched) or 3D (batched) input, got shape {3}", function() lazy(lt.ones(3)) end)
    refuses("LazyConv1d: in_channels 3 must be divisible by groups 2", function() lazy(lt.ones(3, 4)) end)
    refuses("LazyConv1d: argument 'input' must be a tensor", function() lazy(3) end)
    assert.are.equal("LazyConv1d(0, 4, kernel_size=(2,), stride=(1,), groups=2)", tostring(lazy))
    assert.are.same({4, 3}, checks.shape(lazy(lt.ones(2, 4))))
    refuses("LazyLinear: expected at least 1D input", function() nn.LazyLinear(2)(lt.tensor(1)) end)
    refuses("LazyBatchNorm1d: expected at least 2D input", function() nn.LazyBatchNorm1d()(lt.ones(2)) end)
    refuses("LazyLinear has no argument 'in_features'", function() nn.LazyLinear{in_features = 2, out_features = 3} end)
  end)

  it("of one's own defines initialize_parameters", function()
    local Scale, Done = nn.modules.lazy.LazyModuleMixin:subclass("Scale"), nn.Module:subclass("Done")
    function Scale:__init() self.scale = nn.UninitializedParameter() end
    function Scale:forward(x) return x * self.scale end
    refuses("Scale: initialize_parameters is missing", function() Scale()(lt.ones(2)) end)
    function Scale.initialize_parameters() end
    refuses("Scale: initialize_parameters left a parameter or buffer without a shape", function() Scale()(lt.ones(2)) end)
    function Scale:initialize_parameters(x)
      self.scale:materialize({x.shape[-1]})
      self.scale.data:fill_(2)
    end
    local m = Scale()
    assert.are.same({2, 2}, m(lt.ones(2)):tolist())
    assert.are.equal(Scale, m.class)
    assert.is_false(m:has_uninitialized_params())
    function Done:forward(x) return x - self.scale end
    Scale.cls_to_become = Done
    m = Scale()
    assert.are.same({-1, -1}, m(lt.ones(2)):tolist())
    assert.are.equal(Done, m.class)
    assert.are.same({-1, -1}, m(lt.ones(2)):tolist())
  end)
end)
