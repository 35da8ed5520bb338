--- Trains a convolutional network on 1,797 real handwritten digits, saves it, loads it into a fresh network and lets that read a few.
--
--     lunette examples/digits.lua [seed]

local lt = require("lunette")
local nn, F, optim, data = lt.nn, lt.nn.functional, lt.optim, lt.data
local Progress = require("lunette.progress")

local here = arg[0]:match("^(.*/)") or "./"
local show = dofile(here .. "picture.lua")
local seed = tonumber(arg[1]) or 0
local EPOCHS, BATCH, HELD_OUT = 60, 64, 360
local SAVED = "digits.safetensors"

--- Pictures [1797, 1, 8, 8] from 0 to 1 and their classes.
local function load_digits()
  local pictures, classes = {}, {}
  for line in lt.read_file(here .. "data/digits.csv.gz"):gmatch("[^\n]+") do
    local row = {}
    for value in line:gmatch("[^,]+") do row[#row + 1] = tonumber(value) end
    classes[#classes + 1] = table.remove(row)
    pictures[#pictures + 1] = row
  end
  return lt.tensor(pictures):div(16):view(-1, 1, 8, 8), lt.LongTensor(classes)
end

local Net = nn.Module:subclass("Net")

function Net:__init()
  self.features = nn.Sequential(
    nn.Conv2d(1, 32, 3, {padding = 1}), nn.BatchNorm2d(32), nn.ReLU(),
    nn.Conv2d(32, 64, 3, {padding = 1}), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(64, 64, 3, {padding = 1}), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2))
  self.classes = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 2 * 2, 10))
end

function Net:forward(x) return self.classes(self.features(x)) end

--- The pictures moved by dy, dx from -1 to 1 pixel: a digit stays what it is.
local function shifted(x, dy, dx)
  local wide = lt.zeros(x:size(0), 1, 10, 10)
  wide[":, :, 1:9, 1:9"] = x
  return wide:narrow(2, 1 - dy, 8):narrow(3, 1 - dx, 8)
end

--- Each eighth of a batch moved its own way.
local function anywhere(x)
  local parts = x:chunk(8)
  for i = 1, #parts do
    local move = lt.randint(-1, 2, {2}):tolist()
    parts[i] = shifted(parts[i], move[1], move[2])
  end
  return lt.cat(parts)
end

--- What the network says of pictures looked at in nine positions: probabilities [N, 10], those of the middle counting most.
local function read(net, x)
  return lt.no_grad(function()
    local sum = lt.zeros(x:size(0), 10)
    for dy = -1, 1 do
      for dx = -1, 1 do sum = sum + F.softmax(net(shifted(x, dy, dx)), 1) * ((2 - math.abs(dy)) * (2 - math.abs(dx)) / 16) end
    end
    return sum
  end)
end

local function accuracy(net, x, y) return read(net, x):argmax(1):eq(y):float():mean():item() end

local function train(net, loader, x_test, y_test)
  local optimizer = optim.Adam(net:parameters(), {lr = 3e-3})
  local schedule = optim.lr_scheduler.StepLR(optimizer, 20, {gamma = 0.2})
  local progress = Progress("training", EPOCHS * #loader)
  for _ = 1, EPOCHS do
    net:train()
    for x, y in loader do
      optimizer:zero_grad()
      local loss = F.cross_entropy(net(anywhere(x)), y, {label_smoothing = 0.1})
      loss:backward()
      optimizer:step()
      progress:step(x:size(0), loss:item())
    end
    schedule:step()
  end
  progress:finish()
  net:eval()
  return accuracy(net, x_test, y_test)
end

lt.manual_seed(seed)
local pictures, classes = load_digits()
local order = lt.randperm(pictures:size(0))
local test, rest = order:narrow(0, 0, HELD_OUT), order:narrow(0, HELD_OUT, order:size(0) - HELD_OUT)
local x_test, y_test = pictures[test], classes[test]
local training = data.TensorDataset(pictures[rest], classes[rest])
local loader = data.DataLoader(training, {batch_size = BATCH, shuffle = true, drop_last = true})

local net = Net()
local right = train(net, loader, x_test, y_test)
print(("accuracy on %d held-out digits: %.2f %%"):format(HELD_OUT, 100 * right))

lt.save(net:state_dict(), SAVED)
local fresh = Net():eval()
fresh:load_state_dict(lt.load(SAVED))
print(("saved to %s and loaded into a fresh network: %.2f %%\n"):format(SAVED, 100 * accuracy(fresh, x_test, y_test)))

for i = 0, 2 do
  local sure, class = read(fresh, x_test[{{i}}]):max(1)
  show(x_test[i][0], 2, ("the network says %d (%.1f %%), it is %d"):format(class:item(), 100 * sure:item(), y_test[i]:item()))
end
