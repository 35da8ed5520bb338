--- Prunes a convolutional network on MNIST, or on any set of 28 x 28 pictures in its format: weight by weight until a tenth is left, training on between the rounds, and
--- channel by channel, after which the empty channels are taken out.
--
--     lunette examples/prune.lua FOLDER [CHECKPOINT]
--
-- FOLDER holds the four original files: train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and
-- t10k-labels-idx1-ubyte.gz. What was reached is saved after each round in CHECKPOINT, prune.safetensors when left out; started again, the script goes on from there.

local lt = require("lunette")
local nn, F, optim, data = lt.nn, lt.nn.functional, lt.optim, lt.data
local prune = nn.utils.prune
local Progress = require("lunette.progress")
local read = dofile((arg[0]:match("^(.*/)") or "./") .. "idx.lua")

local folder, saved = arg[1], arg[2] or "prune.safetensors"
local BATCH = 64
local ROUNDS, KEPT = 4, 0.1 -- so many times a share goes, until this part of the weights is left

if not folder then
  io.stderr:write("usage: lunette examples/prune.lua FOLDER [CHECKPOINT]\n")
  os.exit(2)
end

--- LeNet-5 with ReLU and maximum pooling.
local function lenet()
  return nn.Sequential(
    nn.Conv2d(1, 6, 5, {padding = 2}), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
end

local function normalised(pictures) return pictures:float():div(255):sub(0.1307):div(0.3081) end

local pictures, classes = read(folder, "train")
local test_pictures, test_classes = read(folder, "t10k")
pictures, test_pictures = pictures:unsqueeze(1), test_pictures:unsqueeze(1)

local function train(net, title, lr)
  local loader = data.DataLoader(data.TensorDataset(pictures, classes), {batch_size = BATCH, shuffle = true})
  local optimizer, progress = optim.Adam(net:parameters(), {lr = lr}), Progress(title, #loader)
  net:train()
  for x, y in loader do
    optimizer:zero_grad()
    local loss = F.cross_entropy(net(normalised(x)), y)
    loss:backward()
    nn.utils.clip_grad_norm_(net:parameters(), 5)
    optimizer:step()
    progress:step(x:size(0), loss:item())
  end
  progress:finish()
end

local function accuracy(net)
  net:eval()
  local right = 0
  for x, y in data.DataLoader(data.TensorDataset(test_pictures, test_classes), {batch_size = 500}) do
    right = right + lt.no_grad(function() return net(normalised(x)):argmax(1):eq(y):sum():item() end)
  end
  return 100 * tonumber(right) / #test_pictures
end

-- {layer, "weight"} of each layer that has weights.
local function weights_of(net)
  local out = {}
  for m in net:modules() do
    if lt.isinstance(m, nn.Linear, nn.Conv2d) then out[#out + 1] = {m, "weight"} end
  end
  return out
end

-- The part of the weights that is not 0, in per cent.
local function density(net)
  local left, all = 0, 0
  for _, place in ipairs(weights_of(net)) do
    left, all = left + tonumber(place[1].weight:ne(0):sum():item()), all + place[1].weight:numel()
  end
  return 100 * left / all
end

--- The rounds that are behind, and the accuracy of the dense network; a new network begins with none.
local function resume(net)
  local file = io.open(saved)
  if not file then return 0 end
  file:close()
  local state = lt.load(saved)
  local done, dense = state.rounds:item(), state.dense:item()
  state.rounds, state.dense = nil, nil
  if done > 0 then
    for _, place in ipairs(weights_of(net)) do prune.identity(place[1], place[2]) end
  end
  net:load_state_dict(state)
  print(("going on from %s after %d of %d rounds"):format(saved, done, ROUNDS))
  return done, dense
end

local function save(net, done, dense)
  local state = net:state_dict()
  state.rounds, state.dense = lt.tensor(done), lt.tensor(dense)
  lt.save(state, saved)
end

lt.manual_seed(0)
local net = lenet()
print(net:summary(normalised(test_pictures[{{0}}])))

local done, dense = resume(net)
if not dense then
  train(net, "dense", 2e-3)
  dense = accuracy(net)
  save(net, 0, dense)
end
print(("dense: %.2f %% of the test pictures right"):format(dense))

-- Weight by weight: in each round the same share of what is left goes, wherever in the network it is smallest.
for round = done + 1, ROUNDS do
  prune.global_unstructured(weights_of(net), prune.L1Unstructured, {amount = 1 - KEPT ^ (1 / ROUNDS)})
  train(net, ("round %d of %d"):format(round, ROUNDS), 1e-3)
  print(("%.1f %% of the weights left: %.2f %% right"):format(density(net), accuracy(net)))
  save(net, round, dense)
end
for _, place in ipairs(weights_of(net)) do prune.remove(place[1], place[2]) end
local sparse = accuracy(net)
print(("%.1f %% of the weights left: %.2f %% right, %.2f points from the dense network\n"):format(density(net), sparse, sparse - dense))

-- Channel by channel: half of the channels of each layer but the last, with their biases, and then for good.
local layers = weights_of(net)
for i = 1, #layers - 1 do
  local m = layers[i][1]
  prune.ln_structured(m, "weight", 0.5, 2, 0)
  prune.custom_from_mask(m, "bias", m.weight_mask:flatten(1):amax(1))
end
train(net, "half of the channels", 1e-3)
local before = accuracy(net)
local small, report = prune.compact(net, normalised(test_pictures["0:64"]))
print(small)
print(report)
print(("half of the channels: %.2f %% right, taken out: %.2f %%"):format(before, accuracy(small)))
