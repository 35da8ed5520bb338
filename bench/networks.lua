--- Seven networks whose training step is measured: {name, module, loss(module), optimizer}. bench/networks.py holds the same.

local lt = require("lunette")
local nn, F, optim = lt.nn, lt.nn.functional, lt.optim

local networks = {}

local function add(name, make) networks[#networks + 1] = {name = name, make = make} end

local function classify(x, classes)
  local y = lt.randint(0, classes, {x:size(0)})
  return function(net) return F.cross_entropy(net(x), y) end
end

--- The network of a first lesson: two inputs, one output, one point at a time.
add("micro", function()
  local net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
  local x, y = lt.randn(1, 2), lt.ones(1, 1)
  return net, function() return F.mse_loss(net(x), y) end, optim.SGD(net:parameters(), {lr = 0.01})
end)

--- Names letter by letter: three letters embedded, one hidden layer.
add("makemore", function()
  local net = nn.Sequential(nn.Embedding(27, 10), nn.Flatten(), nn.Linear(30, 200), nn.Tanh(), nn.Linear(200, 27))
  return net, classify(lt.randint(0, 27, {32, 3}), 27), optim.SGD(net:parameters(), {lr = 0.1})
end)

add("mlp", function()
  local net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
  return net, classify(lt.rand(64, 784), 10), optim.Adam(net:parameters())
end)

add("lenet", function()
  local net = nn.Sequential(
    nn.Conv2d(1, 16, 3, {padding = 1}), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, {padding = 1}), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 7 * 7, 10))
  return net, classify(lt.rand(64, 1, 28, 28), 10), optim.Adam(net:parameters())
end)

local Block = nn.Module:subclass("Block")

function Block:__init(from, to, stride)
  self.conv1, self.bn1 = nn.Conv2d(from, to, 3, {stride = stride, padding = 1, bias = false}), nn.BatchNorm2d(to)
  self.conv2, self.bn2 = nn.Conv2d(to, to, 3, {padding = 1, bias = false}), nn.BatchNorm2d(to)
  if stride ~= 1 or from ~= to then self.shortcut = nn.Sequential(nn.Conv2d(from, to, 1, {stride = stride, bias = false}), nn.BatchNorm2d(to)) end
end

function Block:forward(x)
  local y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
  return (F.relu(y + (self.shortcut and self.shortcut(x) or x)))
end

add("resnet20", function()
  local net = nn.Sequential(nn.Conv2d(3, 16, 3, {padding = 1, bias = false}), nn.BatchNorm2d(16), nn.ReLU())
  local from = 16
  for stage, width in ipairs{16, 32, 64} do
    for i = 1, 3 do
      net:append(Block(from, width, stage > 1 and i == 1 and 2 or 1))
      from = width
    end
  end
  net:extend{nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)}
  return net, classify(lt.rand(32, 3, 32, 32), 10), optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9, weight_decay = 1e-4})
end)

local CharLSTM = nn.Module:subclass("CharLSTM")

function CharLSTM:__init()
  self.embedding, self.lstm, self.head = nn.Embedding(65, 128), nn.LSTM(128, 128, 2), nn.Linear(128, 65)
end

function CharLSTM:forward(ids) return (self.head((self.lstm(self.embedding(ids)))):flatten(0, 1)) end

add("charlstm", function()
  local net, x, y = CharLSTM(), lt.randint(0, 65, {64, 32}), lt.randint(0, 65, {64 * 32})
  return net, function() return F.cross_entropy(net(x), y) end, optim.Adam(net:parameters())
end)

local NanoGPT = nn.Module:subclass("NanoGPT")

function NanoGPT:__init()
  self.embedding, self.position, self.head = nn.Embedding(65, 128), nn.Embedding(64, 128), nn.Linear(128, 65)
  self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(128, 4, 512, 0, "gelu", {norm_first = true, batch_first = true}), 4)
  self.norm = nn.LayerNorm(128)
  self:register_buffer("mask", nn.Transformer:generate_square_subsequent_mask(64))
  self:register_buffer("places", lt.arange(64, {dtype = "int64"}))
end

function NanoGPT:forward(ids)
  local x = self.layers(self.embedding(ids) + self.position(self.places), {mask = self.mask, is_causal = true})
  return (self.head(self.norm(x)):flatten(0, 1))
end

add("nanogpt", function()
  local net, x, y = NanoGPT(), lt.randint(0, 65, {16, 64}), lt.randint(0, 65, {16 * 64})
  return net, function() return F.cross_entropy(net(x), y) end, optim.AdamW(net:parameters())
end)

return networks
