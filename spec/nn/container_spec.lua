local lt = require("lunette")
local nn = lt.nn

local function keys(map)
  local out = {}
  for name in map:items() do out[#out + 1] = name end
  return out
end

describe("Sequential", function()
  it("takes modules, an array, pairs and an ordered map", function()
    local a, b = nn.Linear(2, 3), nn.ReLU()
    for _, seq in ipairs({nn.Sequential(a, b), nn.Sequential{a, b}}) do
      assert.are.equal(2, #seq)
      assert.is_true(seq[0] == a and seq[1] == b and seq[-1] == b and seq["0"] == a)
    end
    local named = nn.Sequential{{"fc", a}, {"act", b}}
    assert.is_true(named.fc == a and named[1] == b)
    assert.are.equal("fc.weight", named:named_parameters()[1][1])
    assert.are.equal(0, #nn.Sequential())
  end)

  it("hands all values on", function()
    local Two = nn.Module:subclass("Two")
    function Two:forward(x) return x, x + 1 end
    local Sum = nn.Module:subclass("Sum")
    function Sum:forward(x, y, ...) return x + y, select("#", ...) end
    local sum, rest = nn.Sequential(Two(), Sum())(lt.zeros(1))
    assert.are.equal(1, sum:item())
    assert.are.equal(0, rest)
    local x, y = nn.Sequential(Two())(lt.zeros(1))
    assert.is_true(x:item() == 0 and y:item() == 1)
    assert.are.equal(3, (nn.Sequential(Sum())(lt.ones(1), lt.ones(1) * 2)):item())
  end)

  it("runs any number of modules, with several values anywhere among them", function()
    local Plus, Two = nn.Module:subclass("Plus"), nn.Module:subclass("Two")
    function Plus:forward(x, y) return x + 1, y end
    function Two:forward(x) return x, x * 0 end
    local One = nn.Module:subclass("One")
    function One:forward(x) return x + 1 end
    for _, n in ipairs{1, 2, 15, 16, 17, 32, 33, 40} do
      local modules = {}
      for i = 1, n do modules[i] = One() end
      assert.are.equal(n, nn.Sequential(modules)(lt.zeros(1)):item())
      for _, at in ipairs{1, math.ceil(n / 2), n} do
        local mixed = {}
        for i = 1, n do mixed[i] = i < at and One() or i == at and Two() or Plus() end
        local x, y, more = nn.Sequential(mixed)(lt.zeros(1))
        assert.are.same({n - 1, 0}, {x:item(), y:item()})
        assert.is_nil(more)
      end
    end
  end)

  it("is sliced as Python slices and keeps names", function()
    local seq = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU())
    local function classes(slice)
      local out = {}
      for i = 0, #slice - 1 do out[i + 1] = slice[i].class.__name end
      return out
    end
    assert.are.same({"Tanh", "Sigmoid"}, classes(seq["1:3"]))
    assert.are.same({"ReLU", "Sigmoid"}, classes(seq["::2"]))
    assert.are.same({"ReLU", "Tanh", "Sigmoid"}, classes(seq[":-1"]))
    assert.are.same({"GELU", "Sigmoid", "Tanh", "ReLU"}, classes(seq["::-1"]))
    assert.is_true(seq["1:3"]["1"] == seq[1])
    assert.has_error(function() return seq["1:a"] end)
  end)

  it("is assigned to by place and refuses places outside", function()
    local seq = nn.Sequential(nn.ReLU(), nn.Tanh())
    seq[-1] = nn.GELU()
    assert.are.equal(nn.GELU, seq[1].class)
    assert.has_error(function() return seq[2] end, "Sequential: index 2 is out of range for length 2 (indexes start at 0)")
    assert.has_error(function() seq[2] = nn.ReLU() end)
    assert.has_error(function() seq[0] = 3 end)
    assert.has_error(function() nn.Sequential(nn.ReLU(), 3) end)
  end)

  it("prints as PyTorch prints", function()
    local text = tostring(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU())))
    assert.are.equal("Sequential(\n  (0): Linear(in_features=2, out_features=2, bias=True)\n  (1): Sequential(\n    (0): ReLU()\n  )\n)", text)
    assert.are.equal("Sequential()", tostring(nn.Sequential()))
  end)
end)

describe("ModuleList", function()
  it("grows by append, extend and insert", function()
    local list = nn.ModuleList{nn.ReLU()}
    assert.is_true(list:append(nn.Tanh()) == list)
    assert.is_true(list:extend{nn.GELU(), nn.Sigmoid()} == list)
    list:extend(nn.ModuleList{nn.ELU()})
    list:insert(1, nn.Identity())
    local classes = {}
    for i = 0, #list - 1 do classes[i + 1] = list[i].class.__name end
    assert.are.same({"ReLU", "Identity", "Tanh", "GELU", "Sigmoid", "ELU"}, classes)
    assert.are.equal("5", list:named_children()[6][1])
  end)

  it("is gone over with lt.enumerate, from 0", function()
    local seen = {}
    for i, m in lt.enumerate(nn.ModuleList{nn.ReLU(), nn.Tanh()}) do seen[#seen + 1] = i .. m.class.__name end
    assert.are.same({"0ReLU", "1Tanh"}, seen)
  end)

  it("numbers slices anew", function()
    local list = nn.ModuleList{nn.ReLU(), nn.Tanh(), nn.GELU()}
    assert.are.equal("0", list["1:"]:named_children()[1][1])
    assert.are.equal(nn.Tanh, list["1:"][0].class)
  end)

  it("refuses what is no module, and being called", function()
    assert.has_error(function() nn.ModuleList{nn.ReLU(), 3} end, "ModuleList: entry '1' must be a module, not 3")
    assert.has_error(function() nn.ModuleList(nn.ReLU(), nn.ReLU()) end)
    assert.has_error(function() nn.ModuleList{a = nn.ReLU()} end)
    assert.has_error(function() nn.ModuleList()(1) end)
    assert.has_error(function() table.insert(nn.ModuleList(), nn.ReLU()) end)
  end)
end)

describe("ModuleDict", function()
  it("keeps the order of pairs and sorts plain tables", function()
    assert.are.same({"b", "a"}, keys(nn.ModuleDict{{"b", nn.ReLU()}, {"a", nn.Tanh()}}))
    assert.are.same({"conv", "pool"}, keys(nn.ModuleDict{pool = nn.ReLU(), conv = nn.Tanh()}))
  end)

  it("is read, written, popped, updated and cleared", function()
    local d = nn.ModuleDict{{"a", nn.ReLU()}}
    d.b = nn.Tanh()
    d["c"] = nn.GELU()
    assert.are.equal(3, #d)
    assert.are.equal(nn.Tanh, d.b.class)
    assert.are.equal(nn.ReLU, d:pop("a").class)
    d:update{{"c", nn.ELU()}, {"z", nn.ReLU()}}
    d:update(nn.ModuleDict{y = nn.ReLU()})
    assert.are.same({"b", "c", "z", "y"}, keys(d))
    d.b = nil
    local names = {}
    for name in d:keys() do names[#names + 1] = name end
    assert.are.same({"c", "z", "y"}, names)
    assert.are.equal(nn.ELU, d:values()[1].class)
    d:clear()
    assert.are.equal(0, #d)
  end)

  it("refuses keys that are methods, absent keys and other values", function()
    assert.has_error(function() nn.ModuleDict{pop = nn.ReLU()} end, "ModuleDict: 'pop' cannot name a module: it is a method or field of the class")
    assert.has_error(function() nn.ModuleDict():pop("a") end)
    assert.has_error(function() nn.ModuleDict().a = 3 end)
  end)
end)

describe("ParameterList and ParameterDict", function()
  it("register parameters", function()
    local list = nn.ParameterList{nn.Parameter(lt.ones(2)), nn.Parameter(lt.ones(2, 3))}
    list:append(nn.Parameter(lt.zeros(1))):extend{nn.Parameter(lt.zeros(1))}
    assert.are.equal(4, #list)
    assert.are.equal(4, #list:parameters())
    assert.are.equal("1", list:named_parameters()[2][1])
    assert.are.equal(0, list[-1]:item())
    assert.is_true(lt.isinstance(list:append(lt.ones(3))[-1], nn.Parameter))
    assert.has_error(function() list:append("text") end, "ParameterList: entry '5' must be a tensor or an nn.Parameter, not the string \"text\"")
    local d = nn.ParameterDict{right = nn.Parameter(lt.ones(1)), left = nn.Parameter(lt.zeros(1))}
    assert.are.same({"left", "right"}, keys(d))
    assert.are.equal(1, d:pop("right"):item())
    assert.are.equal(1, #d)
  end)

  it("print as PyTorch prints", function()
    local options = {device = "cpu"}
    local list = nn.ParameterList{nn.Parameter(lt.ones(2, options)), nn.Parameter(lt.ones(2, 3, options))}
    assert.are.equal("ParameterList(\n    (0): Parameter containing: [torch.float32 of size 2]\n"
      .. "    (1): Parameter containing: [torch.float32 of size 2x3]\n)", tostring(list))
    local d = nn.ParameterDict{{"a", lt.ones(2, options)}, {"b", lt.ones({}, {dtype = "float64", device = "cpu"})}}
    assert.are.equal("ParameterDict(\n    (a): Parameter containing: [torch.FloatTensor of size 2]\n"
      .. "    (b): Parameter containing: [torch.DoubleTensor of size ]\n)", tostring(d))
  end)

  it("make parameters of tensors, wherever they come in", function()
    local w, d = lt.ones(2), nn.ParameterDict{a = lt.ones(1)}
    d.b = w
    d:update{c = lt.LongTensor{1}}
    w:fill_(5)
    assert.are.same({"a", "b", "c"}, keys(d))
    assert.are.same({5, 5}, d.b:tolist())
    assert.are.same({true, false}, {d.b.requires_grad, d.c.requires_grad})
    local list = nn.ParameterList{lt.ones(1), lt.zeros(1)}
    list[0] = lt.ones(4)
    assert.are.equal(2, #list:parameters())
    assert.are.equal(4, list[0]:numel())
  end)

  it("have the methods of a dict", function()
    local d = nn.ParameterDict{{"a", lt.ones(1)}, {"b", lt.zeros(1)}}
    assert.is_true(d:has("a") and not d:has("z"))
    assert.are.equal(1, d:get("a"):item())
    assert.are.same({nil, 3}, {d:get("z"), d:get("z", 3)})
    assert.are.equal(7, d:setdefault("z", lt.tensor{7}):item())
    assert.are.equal(7, d:setdefault("z", lt.tensor{8}):item())
    local copy = d:copy()
    assert.is_true(copy.a == d.a and copy ~= d)
    local key, value = d:popitem()
    assert.are.same({"z", 7}, {key, value:item()})
    assert.are.same({"p", "q"}, keys(d:fromkeys({"p", "q"}, lt.ones(1))))
    assert.has_error(function() nn.ParameterDict():popitem() end, "ParameterDict: popitem: it is empty")
    assert.has_error(function() d:pop("zz") end)
  end)
end)

describe("lists of modules", function()
  local function classes(list)
    local out = {}
    for i = 0, #list - 1 do out[i + 1] = list[i].class.__name end
    return out
  end

  local function names(list)
    local out = {}
    for i, pair in ipairs(list:named_children()) do out[i] = pair[1] end
    return out
  end

  for _, class in ipairs{nn.Sequential, nn.ModuleList} do
    local function make() return class{nn.ReLU(), nn.Tanh(), nn.GELU()} end

    it("of class " .. class.__name .. " lose entries by pop and nil, and number the rest anew", function()
      local list = make()
      assert.are.equal(nn.GELU, list:pop().class)
      assert.are.equal(nn.ReLU, list:pop(0).class)
      assert.are.same({{"Tanh"}, {"0"}}, {classes(list), names(list)})
      list = make()
      list[0] = nil
      list[-1] = nil
      assert.are.same({{"Tanh"}, {"0"}}, {classes(list), names(list)})
      assert.has_error(function() list:pop(1) end, class.__name .. ": index 1 is out of range for length 1 (indexes start at 0)")
      assert.has_error(function() list[3] = nil end)
    end)

    it("of class " .. class.__name .. " grow by insert, append and extend", function()
      local list = make()
      assert.is_true(list:insert(-1, nn.ELU()) == list)
      assert.is_true(list:insert(4, nn.SiLU()):append(nn.Sigmoid()):extend{nn.ReLU6()} == list)
      list:extend(class{nn.Identity()})
      assert.are.same({"ReLU", "Tanh", "ELU", "GELU", "SiLU", "Sigmoid", "ReLU6", "Identity"}, classes(list))
      assert.are.same({"0", "1", "2", "3", "4", "5", "6", "7"}, names(list))
      assert.has_error(function() list:insert(9, nn.ReLU()) end, class.__name .. ": insert: index 9 is out of range for length 8 (indexes start at 0)")
      assert.has_error(function() list:insert(0, 3) end, class.__name .. ": the inserted value must be a module, not 3")
      assert.has_error(function() list:extend(nn.ReLU()) end)
    end)

    it("of class " .. class.__name .. " tell a class from a module", function()
      assert.has_error(function() class{nn.ReLU(), nn.Tanh} end, class.__name .. ": entry '1' must be a module, not the class Tanh; call it to make one: nn.Tanh(...)")
    end)
  end

  it("take Torch7's add", function()
    local seq = nn.Sequential():add(nn.Linear(2, 3)):add(nn.ReLU())
    assert.are.same({"Linear", "ReLU"}, classes(seq))
    assert.are.same({4, 3}, {seq(lt.ones(4, 2)).shape:unpack()})
    assert.has_error(function() nn.Sequential(nn.ReLU) end, "Sequential: entry '0' must be a module, not the class ReLU; call it to make one: nn.ReLU(...)")
  end)

  it("print equal neighbours of a ModuleList once", function()
    local list = nn.ModuleList{nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU())}
    assert.are.equal("ModuleList(\n  (0-1): 2 x Linear(in_features=2, out_features=2, bias=True)\n  (2): ReLU()\n  (3-4): 2 x Sequential(\n    (0): ReLU()\n  )\n)",
      tostring(list))
    assert.are.equal("Sequential(\n  (0): ReLU()\n  (1): ReLU()\n)", tostring(nn.Sequential(nn.ReLU(), nn.ReLU())))
  end)
end)
