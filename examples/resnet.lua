--- Trains a small residual network (He et al., 2015) on Fashion-MNIST, or on any set of 28 x 28 pictures in its format.
--
--     lunette examples/resnet.lua FOLDER [EPOCHS]
--
-- FOLDER holds the four original files (see idx.lua). After each epoch everything is saved in resnet.pt; an interrupted run goes on from there.

local lt = require("lunette")
local nn, F, optim, data = lt.nn, lt.nn.functional, lt.optim, lt.data
local load_idx = dofile((arg[0]:match("^(.*/)") or "./") .. "idx.lua")

local folder, EPOCHS = arg[1], tonumber(arg[2]) or 4
local BATCH, CHECKPOINT = 64, "resnet.pt"

if not folder then
  io.stderr:write("usage: lunette examples/resnet.lua FOLDER [EPOCHS]\n")
  os.exit(2)
end

local Block = nn.Module:subclass("Block")

function Block:__init(from, to, stride)
  self.conv1, self.bn1 = nn.Conv2d(from, to, 3, {stride = stride, padding = 1, bias = false}), nn.BatchNorm2d(to)
  self.conv2, self.bn2 = nn.Conv2d(to, to, 3, {padding = 1, bias = false}), nn.BatchNorm2d(to)
  if stride ~= 1 or from ~= to then
    self.shortcut = nn.Sequential(nn.Conv2d(from, to, 1, {stride = stride, bias = false}), nn.BatchNorm2d(to))
  end
end

function Block:forward(x)
  local y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
  return F.relu(y + (self.shortcut and self.shortcut(x) or x))
end

local function network()
  return nn.Sequential(
    nn.Conv2d(1, 16, 3, {padding = 1, bias = false}), nn.BatchNorm2d(16), nn.ReLU(),
    Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2), Block(64, 64, 1),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
end

local function normalised(pictures) return pictures:unsqueeze(1):float():div(255):sub(0.286):div(0.353) end

--- Half of the pictures mirrored, and all moved by up to two pixels: clothes stay what they are.
local function varied(x)
  local mirrored = lt.where(lt.rand(x:size(0), 1, 1, 1):lt(0.5), x, x:flip(3))
  local dy, dx = lt.randint(0, 5, {1}):item(), lt.randint(0, 5, {1}):item()
  return F.pad(mirrored, {2, 2, 2, 2}):narrow(2, dy, 28):narrow(3, dx, 28)
end

lt.manual_seed(0)
local pictures, classes = load_idx(folder, "train")
local test_pictures, test_classes = load_idx(folder, "t10k")
local training = data.DataLoader(data.TensorDataset(pictures, classes), {batch_size = BATCH, shuffle = true})
local test = data.DataLoader(data.TensorDataset(test_pictures, test_classes), {batch_size = 500})

local net = network()
local optimizer = optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9, weight_decay = 5e-4, nesterov = true})
local schedule = optim.lr_scheduler.OneCycleLR(optimizer, {max_lr = 0.2, total_steps = EPOCHS * #training})

lt.fit{
  model = net, data = training, validation = test, optimizer = optimizer, schedule = schedule, schedule_each = "step", epochs = EPOCHS,
  metrics = {accuracy = lt.metrics.Accuracy()}, checkpoint = CHECKPOINT,
  step = function(model, x, y)
    x = normalised(x)
    local scores = model(model.training and varied(x) or x)
    return F.cross_entropy(scores, y, {label_smoothing = model.training and 0.1 or 0}), scores, y
  end,
  callbacks = {on_epoch_end = function(run)
    local record = run.record
    print(("epoch %d: loss %.3f, held-out loss %.3f, accuracy on %d held-out pictures %.2f %%"):format(
      run.epoch, record.loss, record.validation.loss, #test_pictures, 100 * record.validation.accuracy))
  end},
}
