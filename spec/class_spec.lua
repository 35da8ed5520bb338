--- One system of classes for modules, optimizers, datasets, loaders and custom Functions.

local lt = require("lunette")
local class = require("lunette.class")
local nn = lt.nn

local function raises(text, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.matches(text, message, 1, true)
end

describe("a class", function()
  it("may give a module a length, items, slices and a text, as it may give them to a dataset", function()
    local Bag = nn.Module:subclass("Bag")
    function Bag:__init(...) self.things = {...} end
    function Bag:__len() return #self.things end
    function Bag:__getitem(i) return self.things[i + 1] end
    function Bag:__setitem(i, value) self.things[i + 1] = value end
    function Bag:__slice(text) return text .. #self end
    function Bag:__repr() return "a bag of " .. #self end
    local bag = Bag("a", "b")
    bag[1] = "c"
    assert.are.same({2, "a", "c", "1:2", "a bag of 2"}, {#bag, bag[0], bag[1], bag["1:"], tostring(bag)})
    assert.is_nil(bag.absent)
  end)

  it("refuses what it does not define", function()
    local Plain = lt.data.Dataset:subclass("Plain")
    local plain = Plain()
    raises("Plain has no length", function() return #plain end)
    raises("Plain cannot be called", function() plain() end)
    raises("Plain cannot be assigned to by number: [1]", function() plain[1] = 2 end)
    raises("Loader cannot be indexed by number: [0]", function() return (lt.data.DataLoader:subclass("Loader")(lt.data.TensorDataset(lt.ones(1))))[0] end)
    raises("Linear has no length", function() return #nn.Linear(1, 1) end)
    raises("Linear cannot be assigned to by number: [0]", function() nn.Linear(1, 1)[0] = 3 end)
  end)

  it("is told by isinstance, whatever it is a class of", function()
    local optimizer = lt.optim.Adam({lt.ones(1)})
    assert.is_true(lt.isinstance(optimizer, lt.optim.Optimizer))
    assert.is_false(lt.isinstance(optimizer, lt.optim.SGD))
    assert.is_true(lt.isinstance(lt.data.TensorDataset(lt.ones(1)), lt.data.Dataset))
    assert.is_true(lt.isinstance(nn.Buffer(lt.ones(1)), nn.Buffer))
    assert.is_false(lt.isinstance(nn.Buffer(lt.ones(1)), nn.Parameter))
    raises("argument 2 must be a class, not 3", lt.isinstance, optimizer, 3)
    assert.are.equal("class Adam", tostring(lt.optim.Adam))
  end)

  it("has subclasses by a method with a colon and a name", function()
    for _, parent in ipairs{nn.Module, lt.optim.SGD, lt.data.Dataset, lt.autograd.Function, nn.Parameter} do
      local Sub, above = parent:subclass("Sub")
      assert.is_true(above == parent and class.is_class(Sub) and class.parent_of(Sub) == parent)
      raises("subclass is a method of a class, called with a colon", parent.subclass, "Sub")
      raises("subclass: the name must be a string, not 3", parent.subclass, parent, 3)
    end
  end)

  it("of custom Functions is called with apply, also below a class below", function()
    local Twice = lt.autograd.Function:subclass("Twice")
    function Twice.forward(_, x) return x * 2 end
    function Twice.backward(_, g) return g * 2 end
    local Same = Twice:subclass("Same")
    local x = lt.ones(1, {requires_grad = true})
    Same.apply(x):sum():backward()
    assert.are.equal(2, x.grad:item())
    raises("Twice is called with apply: Twice.apply(...)", function() Twice(x) end)
  end)
end)

describe("deepcopy", function()
  it("copies optimizers, datasets and loaders", function()
    local data = lt.data.TensorDataset(lt.arange(4))
    local copy = lt.deepcopy(data)
    copy.tensors[1]:fill_(7)
    assert.are.equal(0, data[0]:item())
    assert.are.equal(7, copy[0]:item())
    local net = nn.Linear(1, 1)
    local both = lt.deepcopy{net, lt.optim.SGD(net:parameters(), {lr = 1})}
    assert.is_true(both[2].param_groups[1].params[1] == both[1].weight)
  end)
end)

describe("handles of hooks", function()
  it("take a hook off once, of tensors and of modules", function()
    local x = lt.ones(1, {requires_grad = true})
    local m, calls = nn.Identity(), 0
    local handles = {x:register_hook(function() calls = calls + 1 end), m:register_forward_hook(function() calls = calls + 1 end)}
    m(x):sum():backward()
    assert.are.equal(2, calls)
    for _, handle in ipairs(handles) do
      handle:remove()
      handle:remove()
      raises("remove is a method of RemovableHandle", handle.remove)
    end
    m(x):sum():backward()
    assert.are.equal(2, calls)
  end)
end)
