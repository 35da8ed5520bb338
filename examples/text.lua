--- Texts as numbers of letters, and the loop that char_lstm.lua and gpt.lua share.
--
--     local text = dofile("text.lua")(path)

local lt = require("lunette")
local Progress = require("lunette.progress")
local nn = lt.nn

local Text = {}
Text.__index = Text

--- The text as int64 numbers of its letters, nine tenths for training, the rest held out.
local function new(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("*a")
  file:close()
  assert(#bytes > 1000, path .. " is too short a text")
  local place, letters = {}, {}
  for byte in bytes:gmatch(".") do place[byte] = true end
  for byte in pairs(place) do letters[#letters + 1] = byte end
  table.sort(letters)
  for i, byte in ipairs(letters) do place[byte] = i - 1 end
  local self = setmetatable({place = place, letter = letters, letters = #letters}, Text)
  local ids = self:encode(bytes)
  local cut = math.floor(0.9 * #ids)
  self.training, self.held_out = ids:narrow(0, 0, cut), ids:narrow(0, cut, #ids - cut)
  return self
end

--- The numbers of a string's letters: int64 [length].
function Text:encode(bytes)
  local ids = {}
  for i = 1, #bytes do ids[i] = assert(self.place[bytes:sub(i, i)], "a letter that the text has not") end
  return lt.LongTensor(ids)
end

--- The string of letters' numbers.
function Text:decode(ids)
  local out = {}
  for i, id in ipairs(ids:tolist()) do out[i] = self.letter[id + 1] end
  return table.concat(out)
end

--- Pieces of a part at random places, and the same one letter on: int64 [batch, length] each.
function Text.batch(_, part, batch, length)
  local places = lt.randint(0, #part - length, {batch, 1}) + lt.arange(length, {dtype = "int64"})
  return part[places], part[places + 1]
end

local function mean_loss(options, part)
  options.net:eval()
  local loss = lt.no_grad(function()
    local sum = 0
    for _ = 1, 20 do sum = sum + options.loss(part):item() end
    return sum / 20
  end)
  options.net:train()
  return loss
end

local function save(options, step)
  lt.save({
    net = options.net:state_dict(), optimizer = options.optimizer:state_dict(), schedule = options.schedule:state_dict(), generator = lt.get_rng_state(),
    step = step,
  }, options.checkpoint)
end

local function resumed(options)
  local file = io.open(options.checkpoint, "rb")
  if not file then return 0 end
  file:close()
  local saved = lt.load(options.checkpoint)
  options.net:load_state_dict(saved.net)
  options.optimizer:load_state_dict(saved.optimizer)
  options.schedule:load_state_dict(saved.schedule)
  lt.set_rng_state(saved.generator)
  print(("going on from %s, step %d"):format(options.checkpoint, saved.step))
  return saved.step
end

--- Trains: {net =, optimizer =, schedule =, steps =, every =, checkpoint =, loss = function(part), clip =, report = function()}. Every so many steps it
--- prints the loss of the held-out part, saves and reports.
function Text:train(options)
  local step = resumed(options)
  while step < options.steps do
    local last = math.min(step + options.every, options.steps)
    local progress = Progress(("step %d to %d"):format(step, last), last - step)
    while step < last do
      step = step + 1
      options.optimizer:zero_grad()
      local loss = options.loss(self.training)
      loss:backward()
      nn.utils.clip_grad_norm_(options.net:parameters(), options.clip)
      options.optimizer:step()
      options.schedule:step()
      progress:step(1, loss:item())
    end
    progress:finish()
    print(("step %d: held-out loss %.3f"):format(step, mean_loss(options, self.held_out)))
    save(options, step)
    options.report()
  end
end

return new
