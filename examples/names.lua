--- Learns how names are spelt from three letters to the next (Bengio et al., 2003) and makes up new ones.
--
--     lunette examples/names.lua FILE [EPOCHS]
--
-- FILE holds a name a line, letters a to z, such as makemore's names.txt. After each epoch everything is saved in names.pt; an interrupted run goes on
-- from there.

local lt = require("lunette")
local nn, F, optim, data = lt.nn, lt.nn.functional, lt.optim, lt.data

local path, EPOCHS = arg[1], tonumber(arg[2]) or 10
local BEFORE, LETTERS, BATCH, CHECKPOINT = 3, 27, 256, "names.pt"

if not path then
  io.stderr:write("usage: lunette examples/names.lua FILE [EPOCHS]\n")
  os.exit(2)
end

-- a is 1 ... z is 26; 0 stands before and after a name.
local function number_of(letter) return letter:byte() - 96 end

--- The letters before each letter [N, 3] and the letter itself [N], of an array of names.
local function examples_of(names)
  local before, after = {}, {}
  for _, name in ipairs(names) do
    local last = {0, 0, 0}
    for letter in (name .. "`"):gmatch(".") do -- the character before "a" is number 0
      before[#before + 1], after[#after + 1] = last, number_of(letter)
      last = {last[2], last[3], number_of(letter)}
    end
  end
  return data.TensorDataset(lt.LongTensor(before), lt.LongTensor(after))
end

local function read_names()
  local known, held_out = {}, {}
  for name in io.lines(path) do
    assert(name:find("^[a-z]+$"), "a name of letters a to z is expected, not " .. name)
    table.insert(#held_out < #known / 9 and held_out or known, name)
  end
  return known, held_out
end

lt.manual_seed(0)
local known, held_out = read_names()
local net = nn.Sequential(
  nn.Embedding(LETTERS, 24), nn.Flatten(), nn.Linear(24 * BEFORE, 256), nn.BatchNorm1d(256), nn.Tanh(), nn.Linear(256, LETTERS))
local training = data.DataLoader(examples_of(known), {batch_size = BATCH, shuffle = true})
local test = data.DataLoader(examples_of(held_out), {batch_size = 4096})
local optimizer = optim.AdamW(net:parameters(), {lr = 5e-3})

--- A name that the network makes up.
local function make_up()
  local last, letters = {0, 0, 0}, {}
  while #letters < 20 do
    local chances = F.softmax(net(lt.LongTensor{last}), {dim = 1})[0]
    local drawn = chances:multinomial(1):item()
    if drawn == 0 then break end
    letters[#letters + 1] = string.char(96 + drawn)
    last = {last[2], last[3], drawn}
  end
  return table.concat(letters)
end

lt.fit{
  model = net, data = training, validation = test, loss = F.cross_entropy, optimizer = optimizer, epochs = EPOCHS, checkpoint = CHECKPOINT,
  schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS),
  callbacks = {on_epoch_end = function(run)
    print(("epoch %d: loss %.4f, on names held out %.4f"):format(run.epoch, run.record.loss, run.record.validation.loss))
  end},
}

for _ = 1, 10 do print("  " .. lt.no_grad(make_up)) end
