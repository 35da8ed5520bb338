--- Reads strings of handwritten digits: pictures of MNIST pasted side by side, three to seven of them, at distances that vary. The network is told what a
-- string reads as, never where a digit stands: convolutions look at the strip, a GRU runs along it in both directions, and the loss is CTC.
--
--     lunette examples/ctc.lua FOLDER [CHECKPOINT]
--
-- FOLDER holds the four original files (examples/mnist.lua). After each part of the training the CHECKPOINT, ctc.safetensors when left out, is written;
-- where it is there, training goes on from it, and the result is what it would have been without a break.

local lt = require("lunette")
local nn, F, optim = lt.nn, lt.nn.functional, lt.optim
local Progress = require("lunette.progress")

local here = arg[0]:match("^(.*/)") or "./"
local load_idx, show = dofile(here .. "idx.lua"), dofile(here .. "picture.lua")

local folder, saved = arg[1], arg[2] or "ctc.safetensors"
local PARTS, STEPS, BATCH, LEARNING_RATE = 6, 100, 32, 3e-3
local SHORTEST, LONGEST, HEIGHT, SHRINK = 3, 7, 28, 4
local BLANK = 10 -- the class behind the digits

if not folder then
  io.stderr:write("usage: lunette examples/ctc.lua FOLDER [CHECKPOINT]\n")
  os.exit(2)
end

-- Strings --------------------------------------------------------------------------------------------------------------------------------

--- A strip [28, width] of digits drawn from the pictures, each 20 to 28 columns behind the one before, and their classes.
local function draw_string(pictures, classes)
  local count = lt.randint(SHORTEST, LONGEST + 1, {1}):item()
  local chosen, apart = lt.randint(0, #pictures, {count}):tolist(), lt.randint(20, 29, {count}):tolist()
  local width, labels, from = HEIGHT, {}, 0
  for i = 1, count - 1 do width = width + apart[i] end
  local strip = lt.zeros(HEIGHT, width)
  for i, index in ipairs(chosen) do
    local place = strip:narrow(1, from, HEIGHT)
    place:copy_(lt.maximum(place, pictures[index]:float()))
    labels[i], from = classes[index]:item(), from + apart[i]
  end
  return strip:div(255), labels
end

--- A batch of strings: pictures [N, 1, 28, widest], the steps that each leaves to the network, all labels one after another, how many belong to each.
local function draw_batch(pictures, classes, n)
  local strips, steps, labels, lengths, widest = {}, {}, {}, {}, 0
  for i = 1, n do
    local strip, own = draw_string(pictures, classes)
    strips[i], lengths[i], steps[i] = strip, #own, math.floor(strip:size(1) / SHRINK)
    widest = math.max(widest, strip:size(1))
    for _, label in ipairs(own) do labels[#labels + 1] = label end
  end
  local x = lt.zeros(n, 1, HEIGHT, widest)
  for i, strip in ipairs(strips) do x[i - 1][0]:narrow(1, 0, strip:size(1)):copy_(strip) end
  return x, steps, lt.LongTensor(labels), lengths
end

-- The network ----------------------------------------------------------------------------------------------------------------------------

local Reader = nn.Module:subclass("Reader")

function Reader:__init()
  self.eye = nn.Sequential(
    nn.Conv2d(1, 16, 3, {padding = 1}), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, {padding = 1}), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
  self.gru = nn.GRU(32 * HEIGHT / SHRINK, 64, {bidirectional = true})
  self.classes = nn.Linear(128, BLANK + 1)
end

--- Log-probabilities [steps, N, classes] of strips [N, 1, 28, width].
function Reader:forward(x)
  local seen = self.eye(x):permute(3, 0, 1, 2):flatten(2)
  return self.classes((self.gru(seen))):log_softmax(-1)
end

-- Training -------------------------------------------------------------------------------------------------------------------------------

local function train_part(net, optimizer, title, pictures, classes)
  local progress = Progress(title, STEPS)
  net:train()
  for _ = 1, STEPS do
    lt.scope(function()
      local x, steps, labels, lengths = draw_batch(pictures, classes, BATCH)
      optimizer:zero_grad()
      local loss = F.ctc_loss(net(x), labels, steps, lengths, BLANK)
      loss:backward()
      optimizer:step()
      progress:step(BATCH, loss:item())
    end)
  end
  progress:finish()
end

--- The state of each parameter with every value handed through `change`: files hold tensors alone, the optimizer counts its steps with numbers.
local function converted(state, change)
  local out = {}
  for parameter, values in pairs(state) do
    out[parameter] = {}
    for name, value in pairs(values) do out[parameter][name] = change(value) end
  end
  return out
end

local function to_tensor(value) return type(value) == "number" and lt.tensor(value) or value end
local function to_number(value) return value:dim() == 0 and value:item() or value end

--- Goes on where the checkpoint ends; without one it starts.
local function train(net, pictures, classes)
  local optimizer, done = optim.Adam(net:parameters(), {lr = LEARNING_RATE}), 0
  local file = io.open(saved)
  if file then
    file:close()
    local checkpoint = lt.load(saved)
    net:load_state_dict(checkpoint.net)
    local state = optimizer:state_dict()
    state.state = converted(checkpoint.optimizer, to_number)
    optimizer:load_state_dict(state)
    done = checkpoint.done:item()
    print(("%s: %d of %d parts are done"):format(saved, done, PARTS))
  end
  for part = done + 1, PARTS do
    lt.manual_seed(part)
    if part == PARTS then optimizer.param_groups[1].lr = LEARNING_RATE / 10 end
    train_part(net, optimizer, ("part %d of %d"):format(part, PARTS), pictures, classes)
    lt.save({net = net:state_dict(), optimizer = converted(optimizer:state_dict().state, to_tensor), done = lt.tensor(part)}, saved)
  end
end

-- Reading --------------------------------------------------------------------------------------------------------------------------------

--- What the likeliest path reads as, for each of a batch: arrays of digits.
local function read(net, x, steps)
  local best, out = lt.no_grad(function() return net(x):argmax(-1):t():tolist() end), {}
  for i, path in ipairs(best) do
    local digits, last = {}, BLANK
    for t = 1, steps[i] do
      if path[t] ~= last and path[t] ~= BLANK then digits[#digits + 1] = path[t] end
      last = path[t]
    end
    out[i] = digits
  end
  return out
end

--- How many characters must be changed, added or taken away to make one string of the other (Levenshtein, 1966).
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local corner = row[0]
    row[0] = i
    for j = 1, #b do
      local changed = corner + (a[i] == b[j] and 0 or 1)
      corner, row[j] = row[j], math.min(changed, row[j] + 1, row[j - 1] + 1)
    end
  end
  return row[#b]
end

--- The share of wrong characters over some batches of strings; the last of them.
local function error_rate(net, pictures, classes, batches)
  local wrong, total, last = 0, 0, nil
  net:eval()
  lt.manual_seed(0)
  for _ = 1, batches do
    local x, steps, labels, lengths = draw_batch(pictures, classes, BATCH)
    local from, said = 0, read(net, x, steps)
    labels = labels:tolist()
    for i, digits in ipairs(said) do
      local own = {unpack(labels, from + 1, from + lengths[i])}
      wrong, total, from = wrong + distance(digits, own), total + #own, from + lengths[i]
      last = {picture = x[i - 1][0]:narrow(1, 0, steps[i] * SHRINK), said = table.concat(digits), is = table.concat(own)}
    end
  end
  return wrong / total, total, last
end

lt.manual_seed(0)
local net = Reader()
train(net, load_idx(folder, "train"))
local test, test_classes = load_idx(folder, "t10k")
local rate, total, last = error_rate(net, test, test_classes, 32)
print(("character error rate on %d held-out digits: %.2f %%\n"):format(total, 100 * rate))
show(last.picture["::2"], 1, ("the network says %s, it is %s"):format(last.said, last.is))
