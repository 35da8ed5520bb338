--- Mistakes that users make, one way or another, and the messages that show the way.

local lt = require("lunette")
local nn, optim = lt.nn, lt.optim

local x = lt.ones(2, 3)
local net = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
local optimizer = optim.SGD(net:parameters(), {lr = 1})
local scheduler = optim.lr_scheduler.StepLR(optimizer, 1)

-- name of the mistake, what a user writes, the message (a part of it)
local mistakes = {
  {"a dot for a colon, of an optimizer", function() optimizer.step() end, "step is a method of Optimizer, called with a colon: optimizer:step(...)"},
  {"a dot for a colon, of a schedule", function() scheduler.step() end, "step is a method of LRScheduler, called with a colon: scheduler:step(...)"},
  {"a dot for a colon, of forward of a container", function() net.forward(x) end, "forward is a method, called with a colon: m:forward(...)"},
  {"a dot for a colon, of forward of a layer", function() net[0].forward(x) end, "forward is a method, called with a colon"},
  {"a dot for a colon, of any method of modules", function() net.train() end, "train is a method, called with a colon: m:train(...)"},
  {"a colon for a dot", function() lt:zeros(3) end, "zeros is a function, called with a dot: lt.zeros(...)"},
  {"too many values", function() lt.full(2, 3, 4) end, "full takes at most 2 arguments (size, fill_value), 3 given, dtype is given by name: {dtype = ...}"},
  {"a loop over a tensor", function() for _ in x do error("reached") end end, "its rows are gone over with `for i, row in lt.enumerate(t) do`"},
  {"a call of a tensor", function() return x(1) end, "a tensor cannot be called"},
  {"a tensor in a text", function() return "loss " .. x end, "use tostring(t), or t:item()"},
  {"a text behind a tensor", function() return x .. "!" end, "use tostring(t), or t:item()"},
  {"x > 0", function() return x > 0 end, "use t:gt(0)"},
  {"x >= 2", function() return x >= 2 end, "use t:ge(2)"},
  {"x < 0", function() return x < 0 end, "use t:lt(0)"},
  {"x <= 0.5", function() return x <= 0.5 end, "use t:le(0.5)"},
  {"x < y", function() return x < lt.ones(1) end, "use a:lt(b) or a:gt(b)"},
  {"a short name of a dtype", function() lt.zeros(2, {dtype = "float"}) end, "got the string \"float\"; did you mean \"float32\"?"},
  {"a name of PyTorch's of a dtype", function() x:to{dtype = "torch.double"} end, "did you mean \"float64\"?"},
  {"a misspelt dtype", function() nn.Linear(1, 1, {dtype = "flaot32"}) end, "did you mean \"float32\"?"},
  {"a class for a module", function() nn.Sequential(nn.Linear(1, 1), nn.ReLU) end, "entry '1' must be a module, not the class ReLU; call it to make one: nn.ReLU(...)"},
  {"axis =", function() x:sum{axis = 1} end, "sum has no argument 'axis'; there are 'input', 'dim', 'keepdim', 'dtype'"},
  {"learning_rate =", function() optim.SGD({x}, {learning_rate = 1}) end, "SGD has no argument 'learning_rate'; there are 'params', 'lr', 'momentum'"},
  {"a misspelt option of a group", function() optimizer.param_groups[1].Lr = 1 end, "SGD: a group has no option 'Lr'; did you mean 'lr'?"},
  {"a misspelt schedule", function() return optim.lr_scheduler.CosineAnealingLR end, "did you mean 'CosineAnnealingLR'?"},
  {"two dtypes", function() x:matmul(lt.ones(3, 3, {dtype = "float64"})) end,
    "matmul: expected tensors of one dtype, got float32 and float64 (convert one with :to(\"float32\"))"},
  {"two dtypes in a model", function() net(x:double()) end, "in 0: linear: expected tensors of one dtype, got float64 and float32 (convert one with :to(\"float64\"))"},
  {"a negative size of a layer", function() nn.Linear(-1, 3) end, "Linear: argument 'in_features' must be a whole number of at least 0, got -1"},
  {"a computed weight with sparse gradients", function() nn.functional.embedding(lt.LongTensor{0}, lt.ones(2, 2, {requires_grad = true}) * 2, {sparse = true}) end,
    "embedding: sparse = true needs a weight that is a leaf, such as a parameter; this one was computed"},
  {"an unknown form of gelu", function() nn.GELU("erf") end, "GELU: argument 'approximate' must be one of \"none\", \"tanh\""},
}

describe("the message shows the way, for", function()
  for _, mistake in ipairs(mistakes) do
    it(mistake[1], function()
      local ok, message = pcall(mistake[2])
      assert.is_false(ok)
      assert.matches(mistake[3], message, 1, true)
      assert.matches("mistakes_spec.lua", message, 1, true)
    end)
  end
end)

describe("loops over parameters", function()
  it("take one variable or, as a habit of ipairs, two", function()
    local seen = {}
    for p in net:parameters() do seen[#seen + 1] = p.id end
    for _, p in net:parameters() do seen[#seen + 1] = p.id end
    for _, m in net:children() do seen[#seen + 1] = m.class.__name end
    local weight, bias = net[0].weight.id, net[0].bias.id
    assert.are.same({weight, bias, weight, bias, "Linear", "ReLU"}, seen)
  end)
end)

describe("modules in a plain table", function()
  -- What is written to the standard error stream while fn runs.
  local function warnings(fn)
    local lines, real = {}, io.stderr
    io.stderr = {write = function(_, text) lines[#lines + 1] = text end} -- luacheck: ignore
    local ok, message = pcall(fn)
    io.stderr = real -- luacheck: ignore
    assert(ok, message)
    return lines
  end

  local function with(name, make)
    local Net = nn.Module:subclass(name)
    function Net:__init() self.layers = make() end
    return Net
  end

  it("are warned of once, when parameters are asked for", function()
    local Net = with("Tabled", function() return {nn.Linear(1, 1)} end)
    local lines = warnings(function()
      assert.are.equal(0, #Net():parameters())
      Net():parameters()
      nn.Sequential(Net()):named_parameters()
    end)
    assert.are.equal(1, #lines)
    assert.matches("Tabled.layers is a plain table: the modules and parameters in it are not registered", lines[1], 1, true)
  end)

  it("are found by name, deeper, and as parameters", function()
    for i, make in ipairs{function() return {a = nn.ReLU()} end, function() return {{{nn.ReLU()}}} end, function() return {nn.Parameter(lt.ones(1))} end} do
      assert.are.equal(1, #warnings(function() with("Deep" .. i, make)():parameters() end))
    end
  end)

  it("are nothing to warn of where there are none, also in tables that hold themselves", function()
    local knot = {}
    knot[1] = knot
    for i, make in ipairs{function() return {1, "a", x} end, function() return nn.ModuleList{nn.ReLU()} end, function() return knot end} do
      assert.are.equal(0, #warnings(function() with("Fine" .. i, make)():parameters() end))
    end
  end)
end)
