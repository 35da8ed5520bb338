--- Functions written in Lua refuse what is no argument of theirs with an error of their own, which blames the caller's line.

local lt = require("lunette")

-- A call, and what its error says. `knot` is a table that contains itself.
local cases = {
  {"lt.split(lt.ones(2))", "split: argument 'split_size' is missing; it takes (input, split_size, dim)"},
  {"lt.zeros(2 ^ 40, 0):split(1)", "split: 1099511627776 pieces of a tensor of shape {1099511627776, 0} are more than an array holds"},
  {"lt.zeros(2 ^ 40, 0):unbind()", "unbind: 1099511627776 pieces of a tensor of shape {1099511627776, 0} are more than an array holds"},
  {"lt.zeros(2 ^ 40, 0):tolist()", "tolist: a tensor of shape {1099511627776, 0} is more than Lua arrays hold"},
  {"lt.ones(1):expand(2 ^ 13, 2 ^ 14):tolist()", "tolist: a tensor of shape {8192, 16384} is more than Lua arrays hold"},
  {"lt.ones(2):dot(false)", "dot: argument 'tensor' must be a tensor, got false"},
  {"lt.ones(2):view_as(3)", "view_as: argument 'other' must be a tensor, got 3"},
  {"lt.ones(2):type_as()", "type_as: argument 'other' is missing; it takes (self, other)"},
  {"lt.ones(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1):tile({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1})",
    "tile: a tensor has at most 16 dimensions, 17 repetitions were given"},
  {"lt.zeros_like(lt.ones(2), 'float32')", "zeros_like takes at most 1 argument (input), 2 given, dtype is given by name: {dtype = ...}"},
  {"lt.rand_like(lt.ones(2), lt.ones(2))",
    "rand_like takes at most 1 argument (input), 2 given, dtype is given by name: {dtype = ...}"},
  {"lt.tensor({1}, 7)", "tensor takes at most 1 argument (data), 2 given, dtype is given by name: {dtype = ...}"},
  {"lt.linspace('bool', {1}, 2)", [[linspace: argument 'start' must be a number, got the string "bool"]]},
  {"lt.randint(lt.zeros(0, 3), {2, 1, 3}, print)", "randint: argument 'low' must be a whole number, got a tensor of shape {0, 3} and dtype float32; its forms are "
    .. "randint(high:int, size:ints>=0, *, dtype:dtype?, device:device?, requires_grad:bool=false, generator:generator?) and "
    .. "randint(low:int, high:int, size:ints>=0, *, dtype:dtype?, device:device?, requires_grad:bool=false, generator:generator?)"},
  {"lt.full_like(2, 3)", "full_like: argument 'input' must be a tensor, got 2"},
  {"lt.meshgrid(lt.ones(2), 'bool')", [[meshgrid: argument 'indexing' must be one of "ij", "xy", got the string "bool"]]},
  {"lt.enumerate()", "enumerate: an array, a container, a tensor or a Size is expected, got nil"},
  {"lt.unpack(false)", "unpack: argument 'list' must be a table of names, got false"},
  {"lt.unpack({n = 1e9})", "unpack: an array of at most 7000 values is expected, n is 1000000000"},
  {"lt.unpack({n = 'a'})", "unpack: an array of at most 7000 values is expected, n is a"},
  {"lt.merge({}, 1)", "merge: argument 'b' must be a table of names, got 1"},
  {"lt.promote_types('float32', 'float31')", [[promote_types: argument 'type2' must be a dtype such as "float32", got the string "float31"; did you mean "float32"?]]},
  {"lt.len(3)", "len: a map, an array, a container, a tensor or a Size is needed, not 3"},
  {"lt.keys(nn.ReLU())", "items: a map is needed, not a module ReLU"},
  {"data.DataLoader(nn.ReLU())", "DataLoader: a dataset is needed, not a module ReLU"},
  {"data.DataLoader(lt.None)", "DataLoader: a dataset is needed, not lt.None"},
  {"data.Subset(true, {1})", "Subset: a dataset is needed, not true"},
  {"data.random_split(1, {1})", "random_split: a dataset is needed, not 1"},
  {"data.random_split(data.TensorDataset(lt.ones(2)), {lt.ones(1), 1})",
    "random_split: length 0 must be a number from 0, not a tensor of shape {1} and dtype float32"},
  {"data.random_split(data.TensorDataset(lt.ones(2)), {3, -1})", "random_split: length 1 must be a number from 0, not -1"},
  {"data.default_collate(1)", "default_collate: argument 'batch' must be a table of names, got 1"},
  {"data.default_collate({{1}, 2})", "default_collate: item 1 must be a table as item 0 is, not 2"},
  {"data.default_collate(knot)", "default_collate: the items are tables that contain themselves"},
  {"x:scatter(0, x:long(), {1, bogus = 1})", "scatter: a table holds values or names, not both; write scatter(..., 0, ..., 1, {bogus = 1}) or "
    .. "scatter{input = ..., dim = 0, index = ..., src = 1, bogus = 1}; its forms are scatter(input, dim:int, index, src) and "
    .. "scatter(input, dim:int, index, value:scalar)"},
  {"x[{knot}]", "tensor: the data are nested more than 16 deep"},
  {"x[0 / 0]", "an index must be a whole number, got nan"},
  {"lt.enumerate(lt.None)", "enumerate: an array, a container, a tensor or a Size is expected, got lt.None"},
  {"lt.cuda.synchronize(-1)", [[synchronize: argument 'device' must be a device such as "cpu" or "cuda:0", got -1]]},
  {"lt.cuda.synchronize('cpu')", [[synchronize: a CUDA device such as "cuda:0" is expected, got "cpu"]]},
  {"lt.cuda.get_device_name('cpu')", [[get_device_name: a CUDA device such as "cuda:0" is expected, got "cpu"]]},
  {"lt.cuda.memory_allocated('cuda:0', 1)", "memory_allocated takes at most 1 argument (device), 2 given"},
  {"lt.ones(2, {device = 0.5})", [[ones: argument 'device' must be a device such as "cpu" or "cuda:0", got 0.5]]},
  {"optim.Optimizer({x}, {})",
    "Optimizer: this class makes no optimizers: its __init must call self:setup(params, defaults)"},
  {"optim.lr_scheduler.LRScheduler(optim.SGD({x}, {lr = 1}))",
    "LRScheduler: get_lr() is missing: a class of schedules defines it"},
  {"call(step_with(nil))", "SGD: params must be an array of tensors, not nil"},
  {"call(step_with(lt.zeros(2 ^ 40, 0)))", "SGD: params must be an array of tensors, not a tensor of shape {1099511627776, 0} and dtype float32"},
  {"nn.ReLU():named_modules(1)", "named_modules: argument 'memo' must be a table of names, got 1"},
  {"nn.ReLU():state_dict(true)", "state_dict: argument 'destination' must be a table of names, got true"},
}

local function knot()
  local t = {}
  t[1] = t
  return t
end

local function step_with(params)
  local optimizer = lt.optim.SGD({lt.ones(1)}, {lr = 1})
  optimizer.param_groups[1].params = params
  return optimizer.step, optimizer
end

local environment = setmetatable({
  lt = lt, nn = lt.nn, F = lt.nn.functional, optim = lt.optim, data = lt.data, x = lt.ones(2, 3), knot = knot(), step_with = step_with, call = function(fn, ...) return fn(...) end,
}, {__index = _G})

describe("refused:", function()
  for _, case in ipairs(cases) do
    it(case[1], function()
      local fn = setfenv(assert(loadstring("local result = " .. case[1] .. " return result", "=wrong")), environment)
      local ok, message = pcall(fn)
      assert.is_false(ok)
      assert.are.equal("wrong:1: " .. case[2], message)
    end)
  end
end)

describe("accepted:", function()
  it("repetitions in a table that stays as it is", function()
    local reps = {2}
    assert.are.same({3, 4}, lt.ones(3, 2):tile(reps).shape:totable())
    assert.are.same({2}, reps)
  end)

  it("every whole low bound and size of randint, by position or by name", function()
    assert.are.same({2, 3}, lt.randint(5, {2, 3}).shape:totable())
    assert.are.same({4, 4}, lt.randint(4, 5, 2):tolist())
    assert.are.same({-1}, lt.randint{low = -1, high = 0, size = {1}}:tolist())
    assert.are.equal("int8", lt.randint(5, {2}, {dtype = "int8"}).dtype)
  end)

  it("NULL pointers, which equal nil, where an argument may be left out", function()
    local null = require("ffi").new("void *")
    assert.are.equal(2, lt.ones(2):sum(null):item())
    local x = lt.ones(2, {requires_grad = true})
    x.grad = lt.ones(2)
    x.grad = null
    assert.is_nil(x.grad)
  end)

  it("padding as long as memory lasts, by its result alone", function()
    assert.is_falsy(pcall(lt.nn.functional.pad, lt.ones(2, 3), {0, 2 ^ 44}, "replicate"))
    assert.is_true(lt.nn.functional.pad(lt.zeros(0, 3), {0, 2 ^ 10}, "replicate").shape == {0, 2 ^ 10 + 3})
  end)

  it("triangles of tensors without elements at once, whatever their size", function()
    for _, shape in ipairs{{2 ^ 40, 0}, {0, 2 ^ 40}, {2 ^ 40, 0, 0}} do
      assert.is_true(lt.zeros(shape):tril().shape == shape)
      assert.is_true(lt.zeros(shape):triu(1).shape == shape)
    end
  end)

  it("names that a state dict should not have, as such", function()
    local ok, message = pcall(function() lt.nn.Linear(1, 1):load_state_dict({[lt.ones(1)] = lt.ones(1)}) end)
    assert.is_false(ok)
    assert.is_truthy(message:find("a tensor of shape {1}", 1, true), message)
  end)
end)
