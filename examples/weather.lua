--- Forecasts tomorrow's temperature from the last 30 days with a GRU, and compares it with "as today".
--
--     lunette examples/weather.lua FILE [EPOCHS]
--
-- FILE is a CSV file with a header and a date and a temperature a line, such as daily-min-temperatures.csv (Melbourne, 1981 to 1990). After each epoch
-- everything is saved in weather.pt; an interrupted run goes on from there.

local lt = require("lunette")
local nn, F, optim, data = lt.nn, lt.nn.functional, lt.optim, lt.data

local path, EPOCHS = arg[1], tonumber(arg[2]) or 20
local DAYS, BATCH, CHECKPOINT = 30, 32, "weather.pt"

if not path then
  io.stderr:write("usage: lunette examples/weather.lua FILE [EPOCHS]\n")
  os.exit(2)
end

--- Temperatures [days], and the time of the year as sine and cosine [days, 2].
local function read_days()
  local temperatures, seasons = {}, {}
  for month, day, value in lt.read_file(path):gmatch("%d+%-(%d+)%-(%d+)\"?,\"?(%-?[%d.]+)") do
    local angle = 2 * math.pi * ((tonumber(month) - 1) * 30.44 + tonumber(day)) / 365.25
    temperatures[#temperatures + 1], seasons[#seasons + 1] = tonumber(value), {math.sin(angle), math.cos(angle)}
  end
  assert(#temperatures > 10 * DAYS, path .. " holds too few lines of a date and a temperature")
  return lt.tensor(temperatures), lt.tensor(seasons)
end

local temperatures, seasons = read_days()
local cut = math.floor(0.8 * #temperatures)
local mean, std = temperatures:narrow(0, 0, cut):mean():item(), temperatures:narrow(0, 0, cut):std():item()
local series = lt.cat({((temperatures - mean) / std):unsqueeze(1), seasons}, 1)

--- Windows of 30 days [N, 30, 3] and the change to the day after each [N, 1], of days from first to last.
local function windows(first, last)
  local inputs, targets = {}, {}
  for i = first, last - DAYS - 1 do
    inputs[#inputs + 1] = series:narrow(0, i, DAYS)
    targets[#targets + 1] = series[i + DAYS]["0:1"] - series[i + DAYS - 1]["0:1"]
  end
  return lt.stack(inputs), lt.stack(targets)
end

local Net = nn.Module:subclass("Net")

function Net:__init()
  self.gru, self.head = nn.GRU(3, 32, {batch_first = true}), nn.Linear(32, 1)
end

function Net:forward(x)
  local y = self.gru(x)
  return self.head(y[{lt.slice(), -1}])
end

lt.manual_seed(0)
local net = Net()
local optimizer = optim.AdamW(net:parameters(), {lr = 3e-3, weight_decay = 0.01})
local training, training_changes = windows(0, cut)
local inputs, changes = windows(cut, #temperatures)

local function loader(x, y, options) return data.DataLoader(data.TensorDataset(x, y), options) end

lt.fit{
  model = net, data = loader(training, training_changes, {batch_size = BATCH, shuffle = true}), validation = loader(inputs, changes, {batch_size = 256}),
  loss = F.mse_loss, optimizer = optimizer, schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS), epochs = EPOCHS, checkpoint = CHECKPOINT,
  metrics = {error = lt.metrics.MeanAbsoluteError()},
  callbacks = {on_epoch_end = function(run)
    print(("epoch %d: mean error %.2f degrees, in years held out %.2f"):format(run.epoch, std * run.record.error, std * run.record.validation.error))
  end},
}

local error_of = lt.no_grad(function() return (net(inputs) - changes):abs():mean():item() end)
print(("mean error over %d days held out: %.2f degrees; of \"as today\": %.2f degrees"):format(#inputs, std * error_of, std * changes:abs():mean():item()))
