--- Trains a small transformer to write letter by letter, and prints what it writes.
--
--     lunette examples/gpt.lua FILE [STEPS]
--
-- FILE is any text, such as tinyshakespeare's input.txt. Every 500 steps everything is saved in gpt.pt; an interrupted run goes on from there.

local lt = require("lunette")
local nn, F, optim = lt.nn, lt.nn.functional, lt.optim
local here = arg[0]:match("^(.*/)") or "./"
local Text = dofile(here .. "text.lua")

local path, STEPS = arg[1], tonumber(arg[2]) or 3000
local BATCH, LENGTH, WIDTH, HEADS, LAYERS, EVERY, CHECKPOINT = 16, 64, 128, 4, 4, 500, "gpt.pt"

if not path then
  io.stderr:write("usage: lunette examples/gpt.lua FILE [STEPS]\n")
  os.exit(2)
end

local GPT = nn.Module:subclass("GPT")

function GPT:__init(letters)
  self.embedding, self.position = nn.Embedding(letters, WIDTH), nn.Embedding(LENGTH, WIDTH)
  local layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, {dropout = 0, activation = "gelu", norm_first = true, batch_first = true})
  self.layers, self.norm, self.head = nn.TransformerEncoder(layer, LAYERS), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, letters)
  for p in self:parameters() do
    if p:dim() > 1 then nn.init.normal_(p, {std = 0.02}) end
  end
end

--- Scores of the next letter [N, T, letters] for letters [N, T], T up to LENGTH.
function GPT:forward(ids)
  local length = ids:size(1)
  local x = self.embedding(ids) + self.position.weight:narrow(0, 0, length)
  local mask = nn.Transformer:generate_square_subsequent_mask(length)
  return self.head(self.norm(self.layers(x, {mask = mask, is_causal = true})))
end

lt.manual_seed(0)
local text = Text(path)
local net = GPT(text.letters)
local optimizer = optim.AdamW(net:parameters(), {lr = 2e-3, betas = {0.9, 0.99}, weight_decay = 0.1})
local warm_up = optim.lr_scheduler.LinearLR(optimizer, {start_factor = 0.01, total_iters = 100})
local cooling = optim.lr_scheduler.CosineAnnealingLR(optimizer, {T_max = math.max(STEPS - 100, 1), eta_min = 1e-4})
local schedule = optim.lr_scheduler.SequentialLR(optimizer, {warm_up, cooling}, {milestones = {100}})

local function loss_of(part)
  local x, y = text:batch(part, BATCH, LENGTH)
  return F.cross_entropy(net(x):flatten(0, 1), y:flatten())
end

--- What the network writes after a beginning.
local function write(beginning, count)
  return lt.no_grad(function()
    local ids = text:encode(beginning):unsqueeze(0)
    for _ = 1, count do
      local seen = ids[{lt.slice(), lt.slice(math.max(0, ids:size(1) - LENGTH), ids:size(1))}]
      local next_id = F.softmax(net(seen)[{0, -1}] / 0.8, {dim = 0}):multinomial(1)
      ids = lt.cat({ids, next_id:unsqueeze(0)}, 1)
    end
    return text:decode(ids[0])
  end)
end

text:train{
  net = net, optimizer = optimizer, schedule = schedule, steps = STEPS, every = EVERY, checkpoint = CHECKPOINT, loss = loss_of, clip = 1,
  report = function() print(write("\n", 200) .. "\n") end,
}
