local lt = require("lunette")
local nn = lt.nn

local function names(pairs_array)
  local out = {}
  for i, pair in ipairs(pairs_array) do out[i] = pair[1] end
  return out
end

local function two_layers()
  local Net = nn.Module:subclass("Net")
  function Net:__init(hidden)
    self.fc1 = nn.Linear(3, hidden)
    self.act = nn.ReLU()
    self.fc2 = nn.Linear(hidden, 2)
    self:register_buffer("scale", lt.ones(1))
  end
  function Net:forward(x) return self.fc2(self.act(self.fc1(x))) * self.scale end
  return Net
end

describe("a class of modules", function()
  it("is made by subclass and constructed by a call", function()
    local Net = two_layers()
    local net = Net(4)
    assert.are.equal(Net, net.class)
    assert.are.equal("class Net", tostring(Net))
    assert.are.same({5, 2}, {net(lt.randn(5, 3)).shape:unpack()})
  end)

  it("hands down methods and fields, also later ones", function()
    local Base, parent = nn.Module:subclass("Base")
    local Derived, middle = Base:subclass("Derived")
    function Base:__init(n) self.n = n end
    function Base:twice() return 2 * self.n end
    function Derived:__init(n)
      nn.Module.__init(self)
      middle.__init(self, n + 1)
    end
    assert.are.equal(nn.Module, parent)
    assert.are.equal(Base, middle)
    assert.are.equal(8, Derived(3):twice())
  end)

  it("is told by isinstance", function()
    local Special = nn.Linear:subclass("Special")
    local m = Special(2, 2)
    assert.is_true(lt.isinstance(m, nn.Linear))
    assert.is_true(lt.isinstance(m, nn.ReLU, nn.Module))
    assert.is_false(lt.isinstance(m, nn.ReLU))
    assert.is_false(lt.isinstance(3, nn.Linear))
    assert.is_true(lt.isinstance(m.weight, nn.Parameter))
    assert.is_false(lt.isinstance(lt.ones(1), nn.Parameter))
  end)

  it("says what is missing", function()
    assert.has_error(function() nn.Module()(lt.ones(1)) end, "Module has no forward; write function Module:forward(x)")
    assert.matches("nn.Liner does not exist; did you mean 'Linear'", select(2, pcall(function() return nn.Liner end)))
    assert.matches("called with a dot: nn.Linear", select(2, pcall(function() nn:Linear(2, 3) end)))
  end)

  it("is collected, with itself among its fields", function()
    local watch = setmetatable({}, {__mode = "k"})
    do
      local m = nn.Module:subclass("Loop")()
      m.list = {m}
      m.own = nn.Module()
      m.own.list = {m}
      watch[m] = true
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(watch))
  end)
end)

describe("registration", function()
  it("is immediate and in order of assignment", function()
    local net = two_layers()(4)
    assert.are.same({"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}, names(net:named_parameters()))
    assert.are.same({"scale"}, names(net:named_buffers()))
    assert.are.same({"fc1", "act", "fc2"}, names(net:named_children()))
    assert.are.same({"", "fc1", "act", "fc2"}, names(net:named_modules()))
    net.extra = nn.Parameter(lt.ones(2))
    assert.are.same("extra", net:named_parameters()[1][1])
  end)

  it("replaces a plain field and keeps the place of a registered one", function()
    local net = two_layers()(4)
    net.plain = 3
    net.plain = nn.Parameter(lt.ones(1))
    net.fc1 = nn.Linear(3, 4, {bias = false})
    assert.are.same({"plain", "fc1.weight", "fc2.weight", "fc2.bias"}, names(net:named_parameters()))
  end)

  it("is undone by nil", function()
    local net = two_layers()(4)
    net.fc2 = nil
    assert.is_nil(net.fc2)
    assert.are.same({"fc1.weight", "fc1.bias"}, names(net:named_parameters()))
    net.fc1.bias = nil
    net.fc1.bias = 7
    assert.are.equal(7, net.fc1.bias)
  end)

  it("refuses plain values over registered ones", function()
    local net = two_layers()(4)
    assert.has_error(function() net.fc1.weight = lt.ones(4, 3) end,
      "Linear: 'weight' is a parameter and takes an nn.Parameter or nil, not a tensor of shape {4, 3} and dtype float32")
    assert.has_error(function() net.fc1 = 3 end)
    assert.has_error(function() net.scale = 3 end)
    net.scale = lt.zeros(1)
    assert.are.equal(0, net:state_dict().scale:item())
  end)

  it("refuses bad names", function()
    local net = two_layers()(4)
    assert.has_error(function() net:add_module("a.b", nn.ReLU()) end, "Net: the name of a module must not contain a dot: 'a.b'")
    assert.has_error(function() net:add_module("", nn.ReLU()) end, "Net: the name of a module must not be empty")
    assert.has_error(function() net.forward = nn.ReLU() end, "Net: 'forward' cannot name a module: it is a method or field of the class")
    assert.has_error(function() net:register_buffer("fc1", lt.ones(1)) end, "Net: attribute 'fc1' already exists")
    assert.has_error(function() net:register_parameter("w", lt.ones(1)) end)
    assert.has_error(function() net:add_module("m", 3) end)
  end)

  it("keeps the name of a parameter without a value", function()
    local m = nn.Linear(2, 2, {bias = false})
    assert.is_nil(m.bias)
    m.bias = nn.Parameter(lt.ones(2))
    assert.are.same({"weight", "bias"}, names(m:named_parameters()))
  end)

  it("lists shared modules and parameters once", function()
    local l = nn.Linear(2, 2)
    local net = nn.Sequential(l, l)
    assert.are.equal(1, #net:children())
    assert.are.equal(2, #net:modules())
    assert.are.equal(2, #net:parameters())
    assert.are.equal(4, lt.len(net:state_dict()))
  end)
end)

describe("arrays of parameters and modules", function()
  it("stand after in, nest and have a length", function()
    local net = two_layers()(4)
    local count = 0
    for p in net:parameters() do
      for q in net:parameters() do
        assert.is_true(p.requires_grad and q.requires_grad)
        count = count + 1
      end
    end
    assert.are.equal(16, count)
    local seen = {}
    for name, child in net:named_children() do seen[#seen + 1] = name .. ":" .. child.class.__name end
    assert.are.same({"fc1:Linear", "act:ReLU", "fc2:Linear"}, seen)
  end)

  it("leave out what lies deeper when asked", function()
    local net = two_layers()(4)
    assert.are.equal(0, #net:parameters(false))
    assert.are.equal(0, #net:parameters{recurse = false})
    assert.are.same({"net.fc1.weight"}, {net:named_parameters("net")[1][1]})
  end)
end)

describe("a module", function()
  it("switches training in the whole tree", function()
    local net = two_layers()(4)
    assert.are.equal(net, net:eval())
    assert.is_false(net.training or net.fc1.training)
    net:train()
    assert.is_true(net.training and net.act.training)
    assert.has_error(function() net:train(3) end)
  end)

  it("switches training at any depth, through train methods of its own", function()
    local deep = nn.Sequential(nn.Sequential(nn.Sequential(nn.Dropout())))
    assert.is_false(deep:eval()[0][0][0].training)
    assert.is_true(deep:train()[0][0][0].training)
    local Frozen, parent = nn.Module:subclass("Frozen")
    function Frozen:train() return parent.train(self, false) end
    local holder = nn.Sequential(Frozen())
    holder:train()
    assert.is_false(holder[0].training)
  end)

  it("applies a function to children first", function()
    local order = {}
    two_layers()(4):apply(function(m) order[#order + 1] = m.class.__name end)
    assert.are.same({"Linear", "ReLU", "Linear", "Net"}, order)
  end)

  it("converts floating parameters and buffers and keeps their identity", function()
    local net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    local weight = net[0].weight
    net(lt.randn(3, 2)):sum():backward()
    assert.are.equal(net, net:double())
    assert.is_true(net[0].weight == weight)
    assert.are.equal("float64", weight.dtype)
    assert.are.equal("float64", weight.grad.dtype)
    assert.are.equal("float64", net[1].running_mean.dtype)
    assert.are.equal("int64", net[1].num_batches_tracked.dtype)
    assert.are.equal("float16", net:half()[0].weight.dtype)
    assert.are.equal("float32", net:to("float32")[0].weight.dtype)
    assert.are.equal("float64", net:to(lt.zeros(1, {dtype = "float64"}))[0].weight.dtype)
    assert.are.equal("float32", net:to("cpu", "float32")[0].weight.dtype)
    assert.are.equal("float64", net:type("float64")[1].num_batches_tracked.dtype)
    assert.has_error(function() net:to("int64") end)
  end)

  it("fills or drops gradients", function()
    local net = two_layers()(4)
    net(lt.randn(5, 3)):sum():backward()
    assert.is_true(net.fc2.bias.grad:abs():sum():item() > 0)
    net:zero_grad()
    for p in net:parameters() do assert.are.equal(0, p.grad:abs():sum():item()) end
    net:zero_grad{set_to_none = true}
    assert.is_nil(net.fc1.weight.grad)
  end)

  it("zeroes the gradients of parameters that came after the last time", function()
    local net = nn.Sequential(nn.Linear(2, 2))
    net:zero_grad()
    net:append(nn.Linear(2, 2))
    net(lt.ones(1, 2)):sum():backward()
    net:zero_grad()
    for p in net:parameters() do assert.are.equal(0, p.grad:abs():sum():item()) end
    net[0].weight = nn.Parameter(lt.ones(2, 2))
    net(lt.ones(1, 2)):sum():backward()
    net:zero_grad()
    assert.are.equal(0, net[0].weight.grad:abs():sum():item())
  end)

  it("freezes its parameters", function()
    local net = two_layers()(4):requires_grad_(false)
    assert.is_false(net(lt.randn(1, 3)).requires_grad)
  end)

  it("is copied deeply, sharing kept", function()
    local net = two_layers()(4)
    net.again = net.fc1
    net.note = {net.fc1, "text"}
    local copy = lt.deepcopy(net)
    assert.is_false(copy.fc1 == net.fc1)
    assert.is_true(copy.again == copy.fc1 and copy.note[1] == copy.fc1)
    assert.are.equal("text", copy.note[2])
    copy.fc1.weight.data:fill_(0)
    assert.is_true(net.fc1.weight:abs():sum():item() > 0)
    assert.are.same(names(net:named_parameters()), names(copy:named_parameters()))
    assert.is_true(lt.isinstance(copy.fc1.weight, nn.Parameter))
  end)

  it("refuses what tables allow", function()
    local net = two_layers()(4)
    assert.has_error(function() return #net end, "Net has no length")
    assert.has_error(function() net[1] = nn.ReLU() end)
    assert.has_error(function() net.train() end)
    assert.has_error(function() for _ in ipairs(net) do error("reached") end end)
  end)

  it("prints as PyTorch prints", function()
    assert.are.equal(table.concat({
      "Net(", "  (fc1): Linear(in_features=3, out_features=4, bias=True)", "  (act): ReLU()",
      "  (fc2): Linear(in_features=4, out_features=2, bias=True)", ")"}, "\n"), tostring(two_layers()(4)))
    local Lines = nn.Module:subclass("Lines")
    function Lines.extra_repr() return "one\ntwo" end
    assert.are.equal("Lines(\n  one\n  two\n)", tostring(Lines()))
    assert.are.equal("Module()", tostring(nn.Module()))
  end)
end)

describe("by path", function()
  local function net() return nn.Sequential{{"layers", nn.ModuleList{nn.Linear(2, 2), nn.BatchNorm1d(2)}}, {"act", nn.ReLU()}} end

  it("modules, parameters and buffers are found", function()
    local m = net()
    assert.is_true(m:get_submodule("") == m and m:get_submodule("layers.1") == m.layers[1])
    assert.is_true(m:get_parameter("layers.0.weight") == m.layers[0].weight)
    assert.is_true(m:get_buffer("layers.1.running_mean") == m.layers[1].running_mean)
    assert.is_true(m.layers[0]:get_parameter("bias") == m.layers[0].bias)
  end)

  it("what is absent or of another kind is an error with the nearest name", function()
    local m = net()
    assert.has_error(function() m:get_submodule("layer.0") end, "get_submodule: Sequential has no module 'layer'; did you mean 'layers'? (path 'layer.0')")
    assert.has_error(function() m:get_submodule("layers.0.weight") end, "get_submodule: Linear has no module 'weight' (path 'layers.0.weight')")
    assert.has_error(function() m:get_parameter("layers.0.wieght") end, "get_parameter: Linear has no parameter 'wieght'; did you mean 'weight'?")
    assert.has_error(function() m:get_buffer("layers.1.weight") end, "get_buffer: BatchNorm1d has no buffer 'weight'; there are 'running_mean', 'running_var', 'num_batches_tracked'")
    assert.has_error(function() m:get_parameter("") end, "get_parameter: Sequential has no parameter ''")
    assert.has_error(function() m:get_submodule("layers..0") end)
  end)

  it("modules are put", function()
    local m = net()
    m:set_submodule("layers.0", nn.Identity())
    m:set_submodule("new", nn.Tanh())
    assert.are.same({nn.Identity, nn.Tanh}, {m.layers[0].class, m.new.class})
    assert.has_error(function() m:set_submodule("newer", nn.Tanh(), true) end)
    assert.has_error(function() m:set_submodule("", nn.Tanh()) end, "set_submodule: the path must not be empty")
    assert.has_error(function() m:set_submodule("a.b", nn.Tanh()) end)
  end)
end)

describe("lists of named things", function()
  it("list shared ones under each of their names when asked", function()
    local l = nn.Linear(2, 2)
    local net = nn.Sequential(l, l)
    assert.are.same({"0.weight", "0.bias", "1.weight", "1.bias"}, names(net:named_parameters{remove_duplicate = false}))
    assert.are.same({"0.weight", "0.bias"}, names(net:named_parameters()))
    assert.are.same({"", "0", "1"}, names(net:named_modules{remove_duplicate = false}))
    assert.are.equal(3, #net:modules(false))
    local norm = nn.BatchNorm1d(1)
    assert.are.equal(6, #nn.Sequential(norm, norm):named_buffers{remove_duplicate = false})
  end)

  it("leave out modules in a memo and add the others to it", function()
    local l = nn.Linear(2, 2)
    local net, memo = nn.Sequential(l, nn.ReLU()), {[l] = true}
    assert.are.same({"top", "top.1"}, names(net:named_modules(memo, "top")))
    assert.is_true(memo[net] and memo[net[1]])
  end)

  it("raise for a module that contains itself, where shared ones are listed again", function()
    local net = nn.Sequential(nn.ReLU())
    net.own = net
    assert.are.equal(2, #net:modules())
    assert.has_error(function() net:modules(false) end, "the module at 'own' contains itself")
  end)

  it("take their methods' arguments by name, and refuse others", function()
    local net = nn.Sequential(nn.Linear(1, 1))
    assert.are.equal("a.0.weight", net:named_parameters{prefix = "a"}[1][1])
    for _, wrong in ipairs{function() net:parameters{recursive = true} end, function() net:children(1) end, function() net:eval(true) end, function() net:named_modules(3) end,
      function() net:zero_grad(1) end, function() net.parameters() end, function() nn.Module.train(3) end} do
      assert.has_error(wrong)
    end
    assert.matches("parameters is a method, called with a colon: m:parameters%(%.%.%.%)", select(2, pcall(net.parameters)))
  end)
end)

describe("conversions", function()
  it("share what was shared", function()
    local norm = nn.BatchNorm1d(1)
    local net = nn.Sequential(norm, norm)
    net.again = net[0]
    net:double()
    assert.is_true(net[0].running_mean == net.again.running_mean)
    local one = nn.Module()
    one.a = nn.Buffer(lt.ones(1))
    one.b = one.a
    one:register_buffer("c", one.a)
    one:double()
    assert.is_true(one.a == one.c)
    assert.are.equal("float64", one.a.dtype)
  end)

  it("to_empty keeps shapes and dtypes", function()
    local net = nn.Sequential(nn.BatchNorm1d(3))
    local weight = net[0].weight
    assert.is_true(net:to_empty{device = lt.get_default_device()} == net)
    assert.is_true(net[0].weight == weight)
    assert.are.same({"float32", "int64", "{3}"}, {net[0].running_var.dtype, net[0].num_batches_tracked.dtype, tostring(net[0].weight.shape)})
    local mean = net[0].running_mean
    net:to_empty{device = lt.get_default_device(), recurse = false}
    assert.is_true(net[0].running_mean == mean)
    assert.has_error(function() net:to_empty() end)
    assert.has_error(function() net:to_empty("cpu") end)
  end)

  it("refuse what is no dtype or device", function()
    local net = nn.Linear(1, 1)
    for _, wrong in ipairs{function() net:type("flaot32") end, function() net:type() end, function() net:cuda("gpu") end, function() net:to("gpu") end, function() net:half(1) end} do
      assert.has_error(wrong)
    end
  end)
end)
