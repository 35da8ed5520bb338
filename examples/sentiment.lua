--- Tells whether a sentence about a film praises it: a bag of embedded words and pairs of words, and one linear layer. Trains on 9,596 sentences of
--- Pang and Lee's sentence polarity data, and reads 1,066 others.
--
--     lunette examples/sentiment.lua FOLDER [seed]
--
-- FOLDER holds rt-polarity.pos and rt-polarity.neg, a sentence a line. After every epoch what is needed to go on is saved to sentiment.safetensors in the
-- working directory: when the program was stopped, the same call goes on where it was.

local lt = require("lunette")
local nn, F, optim = lt.nn, lt.nn.functional, lt.optim
local Progress = require("lunette.progress")

local folder, seed = arg[1], tonumber(arg[2]) or 0
local EPOCHS, BATCH, WIDTH, HELD_OUT, RARE = 8, 64, 64, 1066, 2
local SAVED = "sentiment.safetensors"

if not folder then
  io.stderr:write("usage: lunette examples/sentiment.lua FOLDER [seed]\n")
  os.exit(2)
end

-- Sentences --------------------------------------------------------------------------------------------------------------------------------

--- The words of a sentence, and its pairs of neighbours.
local function terms_of(sentence)
  local terms, last = {}, "<"
  for word in sentence:lower():gmatch("[^%s]+") do
    terms[#terms + 1], terms[#terms + 2] = word, last .. " " .. word
    last = word
  end
  return terms
end

--- {terms =, class =} of every sentence.
local function load_sentences()
  local out = {}
  for class, name in lt.enumerate{"rt-polarity.neg", "rt-polarity.pos"} do
    for line in lt.read_file(folder .. "/" .. name):gmatch("[^\n]+") do out[#out + 1] = {terms = terms_of(line), class = class} end
  end
  return out
end

--- A number for every term that is not rare, from 1; how many rows that takes. 0 is the row of padding, for what is unknown.
local function vocabulary(sentences)
  local counts, ids, n = {}, {}, 1
  for _, sentence in ipairs(sentences) do
    for _, term in ipairs(sentence.terms) do
      counts[term] = (counts[term] or 0) + 1
      if counts[term] == RARE then ids[term], n = n, n + 1 end
    end
  end
  return ids, n
end

--- Sentences first to last as the ids of their terms one after another, where each begins, and the classes.
local function batch_of(sentences, ids, first, last)
  local all, offsets, classes = {}, {}, {}
  for i = first, math.min(last, #sentences) do
    offsets[#offsets + 1], classes[#classes + 1] = #all, sentences[i].class
    for _, term in ipairs(sentences[i].terms) do all[#all + 1] = ids[term] or 0 end
  end
  return lt.LongTensor(all), lt.LongTensor(offsets), lt.LongTensor(classes)
end

--- The entries of a list in the order of a permutation drawn from a seed.
local function shuffled(list, from)
  local out = {}
  lt.manual_seed(from)
  for i, place in ipairs(lt.randperm(#list):tolist()) do out[i] = list[place + 1] end
  return out
end

-- The model --------------------------------------------------------------------------------------------------------------------------------

local Net = nn.Module:subclass("Net")

function Net:__init(rows)
  self.bag = nn.EmbeddingBag(rows, WIDTH, {sparse = true, padding_idx = 0})
  self.drop, self.classes = nn.Dropout(0.5), nn.Linear(WIDTH, 2)
  self.bag.weight.data:mul_(0.1)
end

function Net:forward(ids, offsets) return self.classes(self.drop(self.bag(ids, offsets))) end

--- The table has an optimizer for gradients that hold a few of its rows.
local function optimizers_of(net)
  return {table = optim.SparseAdam({net.bag.weight}, {lr = 4e-3}), rest = optim.Adam(net.classes:parameters(), {lr = 4e-3})}
end

local function accuracy(net, sentences, ids)
  net:eval()
  local right = 0
  for first = 1, #sentences, 500 do
    local words, offsets, classes = batch_of(sentences, ids, first, first + 499)
    right = right + lt.no_grad(function() return net(words, offsets):argmax(1):eq(classes):sum():item() end)
  end
  net:train()
  return right / #sentences
end

-- Checkpoints ------------------------------------------------------------------------------------------------------------------------------

--- Tensors alone are saved: numbers of an optimizer's state become some.
local function packed(state)
  local out = {}
  for i, entry in pairs(state) do
    out[i] = {}
    for name, value in pairs(entry) do out[i][name] = lt.is_tensor(value) and value or lt.tensor({value}, {dtype = "int64"}) end
  end
  return out
end

local function unpacked(state)
  for _, entry in pairs(state) do entry.step = entry.step:item() end
  return state
end

local function save(net, optimizers, epoch)
  lt.save({
    run = lt.LongTensor{seed, epoch}, net = net:state_dict(),
    table = packed(optimizers.table:state_dict().state), rest = packed(optimizers.rest:state_dict().state),
  }, SAVED)
end

--- Takes over what was saved by a run of this seed that did not end; the epoch to go on with.
local function resume(net, optimizers)
  local file = io.open(SAVED)
  if not file then return 1 end
  file:close()
  local saved = lt.load(SAVED)
  local run = saved.run:tolist()
  if run[1] ~= seed or run[2] >= EPOCHS then return 1 end
  net:load_state_dict(saved.net)
  for name, optimizer in pairs(optimizers) do
    local state = optimizer:state_dict()
    state.state = unpacked(saved[name])
    optimizer:load_state_dict(state)
  end
  print(("going on after epoch %d, from %s"):format(run[2], SAVED))
  return run[2] + 1
end

-- Training ---------------------------------------------------------------------------------------------------------------------------------

--- What an epoch draws follows from the seed and its number: one that is gone on with draws the same.
local function train(net, optimizers, sentences, ids, epoch)
  sentences = shuffled(sentences, seed * 1000 + epoch)
  local progress = Progress(("epoch %d of %d"):format(epoch, EPOCHS), math.ceil(#sentences / BATCH))
  for first = 1, #sentences, BATCH do
    local words, offsets, classes = batch_of(sentences, ids, first, first + BATCH - 1)
    local loss = F.cross_entropy(net(words, offsets), classes)
    net:zero_grad{set_to_none = true}
    loss:backward()
    optimizers.table:step()
    optimizers.rest:step()
    progress:step(#classes, loss:item())
  end
  progress:finish()
end

local all = shuffled(load_sentences(), seed)
local held_out = {unpack(all, 1, HELD_OUT)}
local training = {}
for i = HELD_OUT + 1, #all do training[#training + 1] = all[i] end
local ids, rows = vocabulary(training)
local net = Net(rows)
local optimizers = optimizers_of(net)

for epoch = resume(net, optimizers), EPOCHS do
  train(net, optimizers, training, ids, epoch)
  save(net, optimizers, epoch)
end
print(("accuracy on %d held-out sentences, with %d words and pairs: %.2f %%"):format(HELD_OUT, rows - 1, 100 * accuracy(net, held_out, ids)))

for _, sentence in ipairs{"a moving , beautifully acted film", "a dull and tedious mess"} do
  local words, offsets = batch_of({{terms = terms_of(sentence), class = 0}}, ids, 1, 1)
  local praise = lt.no_grad(function() return F.softmax(net:eval()(words, offsets), 1)[0][1]:item() end)
  print(("%3.0f %% praise: %s"):format(100 * praise, sentence))
end
