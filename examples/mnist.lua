--- Trains a convolutional network on MNIST, or on any set of 28 x 28 pictures in its format (Fashion-MNIST), for three epochs.
--
--     lunette examples/mnist.lua FOLDER [seed]
--
-- FOLDER holds the four original files: train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and
-- t10k-labels-idx1-ubyte.gz.

local lt = require("lunette")
local nn, F, optim, data = lt.nn, lt.nn.functional, lt.optim, lt.data
local Progress = require("lunette.progress")

local here = arg[0]:match("^(.*/)") or "./"
local load_idx, show = dofile(here .. "idx.lua"), dofile(here .. "picture.lua")

local folder = arg[1]
local seed = tonumber(arg[2]) or 0
local EPOCHS, BATCH = 3, 64
local SAVED = "mnist.safetensors"

if not folder then
  io.stderr:write("usage: lunette examples/mnist.lua FOLDER [seed]\n")
  os.exit(2)
end

--- Pictures stay bytes, [N, 1, 28, 28], until a batch of them is needed.
local function load(part)
  local pictures, classes = load_idx(folder, part)
  return pictures:unsqueeze(1), classes
end

local function normalised(pictures) return pictures:float():div(255):sub(0.1307):div(0.3081) end

local Net = nn.Module:subclass("Net")

function Net:__init()
  self.features = nn.Sequential(
    nn.Conv2d(1, 32, 3, {padding = 1}), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, {padding = 1}), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2))
  self.classes = nn.Sequential(
    nn.Flatten(), nn.Dropout(0.25), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10))
end

function Net:forward(x) return self.classes(self.features(x)) end

local function train(net, loader)
  local optimizer = optim.Adam(net:parameters(), {lr = 2e-3})
  local schedule = optim.lr_scheduler.StepLR(optimizer, 1, {gamma = 0.3})
  net:train()
  for epoch = 1, EPOCHS do
    local progress = Progress(("epoch %d of %d"):format(epoch, EPOCHS), #loader)
    for x, y in loader do
      optimizer:zero_grad()
      local loss = F.cross_entropy(net(normalised(x)), y)
      loss:backward()
      optimizer:step()
      progress:step(x:size(0), loss:item())
    end
    progress:finish()
    schedule:step()
  end
end

local function accuracy(net, pictures, classes)
  net:eval()
  local right = 0
  for x, y in data.DataLoader(data.TensorDataset(pictures, classes), {batch_size = 500}) do
    right = right + lt.no_grad(function() return net(normalised(x)):argmax(1):eq(y):sum():item() end)
  end
  return right / #pictures
end

lt.manual_seed(seed)
local pictures, classes = load("train")
local test_pictures, test_classes = load("t10k")

local net = Net()
train(net, data.DataLoader(data.TensorDataset(pictures, classes), {batch_size = BATCH, shuffle = true}))
print(("accuracy on %d held-out pictures: %.2f %%"):format(#test_pictures, 100 * accuracy(net, test_pictures, test_classes)))

lt.save(net:state_dict(), SAVED)
local fresh = Net()
fresh:load_state_dict(lt.load(SAVED))
print(("saved to %s and loaded into a fresh network: %.2f %%\n"):format(SAVED, 100 * accuracy(fresh, test_pictures, test_classes)))

for i = 0, 2 do
  local said = lt.no_grad(function() return F.softmax(fresh(normalised(test_pictures[{{i}}])), 1) end)
  local sure, class = said:max(1)
  local rows = test_pictures[i][{0, lt.slice(0, 28, 2)}] -- a character is about twice as high as it is wide
  show(rows:float() / 255, 1, ("the network says %d (%.1f %%), it is %d"):format(class:item(), 100 * sure:item(), test_classes[i]:item()))
end
