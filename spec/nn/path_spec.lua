--- Errors inside a model begin with the path of the running module.

local lt = require("lunette")
local nn = lt.nn

local function message_of(fn)
  local ok, message = pcall(fn)
  assert.is_false(ok)
  return (message:gsub("^.-:%d+: ", ""))
end

local Block = nn.Module:subclass("Block")
function Block:__init(n) self.fc = nn.Linear(n, 2) end
function Block:forward(x) return self.fc(x) end

local Net = nn.Module:subclass("Net")
function Net:__init()
  self.blocks = nn.ModuleList{Block(2), Block(2), Block(3)}
  self.head = nn.Sequential{{"act", nn.ReLU()}, {"out", nn.Linear(7, 1)}}
end
function Net:forward(x, which) return self.blocks[which](x) end

describe("an error inside a model", function()
  local x = lt.ones(1, 2)

  it("names the module that runs, also behind tail calls", function()
    assert.matches("^in blocks%.2%.fc: linear: ", message_of(function() return Net()(x, 2) end))
    assert.matches("^in fc: linear: ", message_of(function() return Block(3)(x) end))
  end)

  it("names what stands in containers", function()
    assert.matches("^in act: ReLU: argument 'input' must be a tensor", message_of(function() return Net().head(3) end))
    assert.matches("^in out: linear: ", message_of(function() return Net().head(x) end))
  end)

  it("names the module of a forward that is called directly", function()
    local Direct = nn.Module:subclass("Direct")
    function Direct:__init() self.fc = nn.Linear(3, 2) end
    function Direct:forward(input)
      local y = self.fc:forward(input)
      return y
    end
    assert.matches("^in fc: linear: ", message_of(function() return Direct()(x) end))
  end)

  it("names the module with hooks, and the hooked one above it", function()
    local net = Net()
    net:register_forward_hook(function() end)
    net.blocks[2]:register_forward_pre_hook(function() end)
    net.blocks[2].fc:register_forward_hook(function() end)
    assert.matches("^in blocks%.2%.fc: linear: ", message_of(function() return net(x, 2) end))
  end)

  it("leaves out a module that is registered nowhere", function()
    local stray = nn.Linear(3, 2)
    local Loose = nn.Module:subclass("Loose")
    function Loose:__init() self.inner = nn.ReLU() end
    function Loose:forward(input) return self.inner(stray(input)) end
    assert.matches("^linear: ", message_of(function() return Loose()(x) end))
  end)

  it("is as before for a module by itself, outside of calls and after them", function()
    local net = Net()
    net(x, 0)
    assert.matches("^linear: ", message_of(function() return nn.Linear(3, 2)(x) end))
    assert.matches("^matmul: ", message_of(function() return x:matmul(3) end))
  end)

  it("stays where it was caught", function()
    local Catch = nn.Module:subclass("Catch")
    function Catch:__init() self.fc = nn.Linear(3, 2) end
    function Catch:forward(input) return pcall(self.fc, input) end
    local ok, message = Catch()(x)
    assert.is_false(ok)
    assert.matches("in fc: linear: ", message)
  end)
end)
