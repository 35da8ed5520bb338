--- Learns to draw 28 x 28 pictures again from 16 numbers each, and shows a few beside what was drawn.
--
--     lunette examples/autoencoder.lua FOLDER [EPOCHS]
--
-- FOLDER holds the four files of MNIST or Fashion-MNIST (see idx.lua). After each epoch everything is saved in autoencoder.pt; an interrupted run goes on
-- from there.

local lt = require("lunette")
local nn, F, optim, data = lt.nn, lt.nn.functional, lt.optim, lt.data
local here = arg[0]:match("^(.*/)") or "./"
local load_idx, show = dofile(here .. "idx.lua"), dofile(here .. "picture.lua")

local folder, EPOCHS = arg[1], tonumber(arg[2]) or 3
local BATCH, NUMBERS, CHECKPOINT = 128, 16, "autoencoder.pt"

if not folder then
  io.stderr:write("usage: lunette examples/autoencoder.lua FOLDER [EPOCHS]\n")
  os.exit(2)
end

local Autoencoder = nn.Module:subclass("Autoencoder")

function Autoencoder:__init()
  self.encoder = nn.Sequential(
    nn.Conv2d(1, 16, 3, {stride = 2, padding = 1}), nn.ReLU(), nn.Conv2d(16, 32, 3, {stride = 2, padding = 1}), nn.ReLU(),
    nn.Flatten(), nn.Linear(32 * 7 * 7, NUMBERS))
  self.decoder = nn.Sequential(
    nn.Linear(NUMBERS, 32 * 7 * 7), nn.ReLU(), nn.Unflatten(1, {32, 7, 7}),
    nn.ConvTranspose2d(32, 16, 3, {stride = 2, padding = 1, output_padding = 1}), nn.ReLU(),
    nn.ConvTranspose2d(16, 1, 3, {stride = 2, padding = 1, output_padding = 1}), nn.Sigmoid())
end

function Autoencoder:forward(x) return self.decoder(self.encoder(x)) end

local function loader(part, shuffle)
  return data.DataLoader(data.TensorDataset((load_idx(folder, part))), {batch_size = BATCH, shuffle = shuffle})
end

local function scaled(pictures) return pictures:unsqueeze(1):float():div(255) end

lt.manual_seed(0)
local net = Autoencoder()
local optimizer = optim.Adam(net:parameters(), {lr = 2e-3})
local test = loader("t10k", false)

lt.fit{
  model = net, data = loader("train", true), validation = test, optimizer = optimizer, epochs = EPOCHS, checkpoint = CHECKPOINT,
  step = function(model, pictures)
    local x = scaled(pictures)
    local drawn = model(x)
    return F.mse_loss(drawn, x), drawn, x
  end,
  callbacks = {on_epoch_end = function(run)
    print(("epoch %d: mean squared error %.4f, on pictures held out %.4f"):format(run.epoch, run.record.loss, run.record.validation.loss))
  end},
}

local x = scaled((test:iterate()())["0:2"])
local drawn = lt.no_grad(function() return net(x) end)
for i = 0, 1 do
  local both = lt.cat({x[i][0], drawn[i][0]}, 1)
  show(both[{lt.slice(0, 28, 2)}], 1, "a picture, and what was drawn again from " .. NUMBERS .. " numbers")
end
