--- Trains an LSTM to write letter by letter (Karpathy, 2015), and prints what it writes.
--
--     lunette examples/char_lstm.lua FILE [STEPS]
--
-- FILE is any text, such as tinyshakespeare's input.txt. Every 500 steps everything is saved in char_lstm.pt; an interrupted run goes on from there.

local lt = require("lunette")
local nn, F, optim = lt.nn, lt.nn.functional, lt.optim
local here = arg[0]:match("^(.*/)") or "./"
local Text = dofile(here .. "text.lua")

local path, STEPS = arg[1], tonumber(arg[2]) or 3000
local BATCH, LENGTH, WIDTH, EVERY, CHECKPOINT = 32, 64, 256, 500, "char_lstm.pt"

if not path then
  io.stderr:write("usage: lunette examples/char_lstm.lua FILE [STEPS]\n")
  os.exit(2)
end

local Net = nn.Module:subclass("Net")

function Net:__init(letters)
  self.embedding, self.lstm, self.head = nn.Embedding(letters, 64), nn.LSTM(64, WIDTH, 2, {batch_first = true}), nn.Linear(WIDTH, letters)
end

--- Scores of the next letter [N, T, letters], and the state after the last.
function Net:forward(ids, state)
  local y, last = self.lstm(self.embedding(ids), state)
  return self.head(y), last
end

lt.manual_seed(0)
local text = Text(path)
local net = Net(text.letters)
local optimizer = optim.Adam(net:parameters(), {lr = 3e-3})
local schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)

local function loss_of(part)
  local x, y = text:batch(part, BATCH, LENGTH)
  return F.cross_entropy((net(x)):flatten(0, 1), y:flatten())
end

--- What the network writes after a beginning.
local function write(beginning, count)
  return lt.no_grad(function()
    local out, ids, state = {beginning}, text:encode(beginning):unsqueeze(0), nil
    for i = 1, count do
      local scores
      scores, state = net(ids, state)
      ids = F.softmax(scores[{0, -1}] / 0.8, {dim = 0}):multinomial(1):unsqueeze(0)
      out[i + 1] = text:decode(ids[0])
    end
    return table.concat(out)
  end)
end

text:train{
  net = net, optimizer = optimizer, schedule = schedule, steps = STEPS, every = EVERY, checkpoint = CHECKPOINT, loss = loss_of, clip = 1,
  report = function() print(write("\n", 200) .. "\n") end,
}
