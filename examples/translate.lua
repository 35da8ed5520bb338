--- Trains a transformer (Vaswani et al., 2017) to translate German captions of pictures into English, prints BLEU and a few translations.
--
--     lunette examples/translate.lua FOLDER [EPOCHS]
--
-- FOLDER is Multi30k: train.de.gz, train.en.gz, test_2016_flickr.de.gz and .en.gz. After each epoch everything is saved in translate.pt; an interrupted
-- run goes on from there.

local lt = require("lunette")
local nn, F, optim, data = lt.nn, lt.nn.functional, lt.optim, lt.data

local folder, EPOCHS = arg[1], tonumber(arg[2]) or 8
local BATCH, WIDTH, HEADS, LAYERS, LONGEST, RARE, CHECKPOINT = 64, 128, 4, 2, 30, 2, "translate.pt"
local PAD, UNKNOWN, FIRST, LAST = 0, 1, 2, 3 -- the numbers of what is no word

if not folder then
  io.stderr:write("usage: lunette examples/translate.lua FOLDER [EPOCHS]\n")
  os.exit(2)
end

-- Words ----------------------------------------------------------------------------------------------------------------------------------

--- A sentence as an array of words in small letters, punctuation being words too.
local function words_of(line)
  local words = {}
  for word in line:lower():gsub("([%p])", " %1 "):gmatch("%S+") do words[#words + 1] = word end
  return words
end

local function read_sentences(name)
  local sentences = {}
  for line in (lt.read_file(folder .. "/" .. name .. ".gz") .. "\n"):gmatch("(.-)\r?\n") do
    if line ~= "" then sentences[#sentences + 1] = words_of(line) end
  end
  return sentences
end

--- The words that occur more than once: their numbers from 4, the words of the numbers, and how many numbers there are.
local function vocabulary_of(sentences)
  local counts, vocabulary, words, last = {}, {}, {[UNKNOWN] = "?"}, LAST
  for _, sentence in ipairs(sentences) do
    for _, word in ipairs(sentence) do
      counts[word] = (counts[word] or 0) + 1
      if counts[word] == RARE then
        last = last + 1
        vocabulary[word], words[last] = last, word
      end
    end
  end
  return vocabulary, words, last + 1
end

--- Sentences as numbers between FIRST and LAST, all of one length by PAD: int64 [N, length].
local function numbers_of(sentences, vocabulary)
  local rows = {}
  for i, sentence in ipairs(sentences) do
    local row = {FIRST}
    for k = 1, math.min(#sentence, LONGEST) do row[k + 1] = vocabulary[sentence[k]] or UNKNOWN end
    row[#row + 1] = LAST
    rows[i] = lt.LongTensor(row)
  end
  return nn.utils.rnn.pad_sequence(rows, {batch_first = true, padding_value = PAD})
end

-- The network ----------------------------------------------------------------------------------------------------------------------------

--- Sines and cosines of places: [length, width].
local function places(length, width)
  local angles = lt.arange(length):unsqueeze(1) * lt.exp(lt.arange(0, width, 2) * (-math.log(10000) / width))
  return lt.stack({angles:sin(), angles:cos()}, 2):flatten(1)
end

local Translator = nn.Module:subclass("Translator")

function Translator:__init(from, to)
  self.source = nn.Embedding(from, WIDTH, {padding_idx = PAD})
  self.target = nn.Embedding(to, WIDTH, {padding_idx = PAD})
  self.transformer = nn.Transformer{
    d_model = WIDTH, nhead = HEADS, num_encoder_layers = LAYERS, num_decoder_layers = LAYERS, dim_feedforward = 4 * WIDTH, dropout = 0.1, batch_first = true,
    norm_first = true,
  }
  self.head = nn.Linear(WIDTH, to)
  self:register_buffer("places", places(LONGEST + 2, WIDTH))
end

local function embedded(self, embedding, ids) return embedding(ids) * math.sqrt(WIDTH) + self.places:narrow(0, 0, ids:size(1)) end

--- What the encoder makes of source [N, S]: [N, S, width].
function Translator:encode(source)
  return self.transformer.encoder(embedded(self, self.source, source), {src_key_padding_mask = source:eq(PAD)})
end

--- Scores of the next words [N, T, words] after target [N, T].
function Translator:decode(target, memory, source)
  local mask = nn.Transformer:generate_square_subsequent_mask(target:size(1))
  local y = self.transformer.decoder(embedded(self, self.target, target), memory,
    {tgt_mask = mask, tgt_is_causal = true, memory_key_padding_mask = source:eq(PAD)})
  return self.head(y)
end

function Translator:forward(source, target) return self:decode(target, self:encode(source), source) end

--- The most likely word each time: int64 [N, T].
local function translate(net, source)
  return lt.no_grad(function()
    local memory, target = net:encode(source), lt.full({source:size(0), 1}, FIRST, {dtype = "int64"})
    local ended = lt.zeros(source:size(0), {dtype = "bool"})
    while target:size(1) <= LONGEST and not ended:all():item() do
      local next_word = net:decode(target, memory, source)[{lt.slice(), -1}]:argmax(1)
      target = lt.cat({target, next_word:unsqueeze(1)}, 1)
      ended = ended:logical_or(next_word:eq(LAST))
    end
    return target
  end)
end

--- A row of numbers as words, up to the end of the sentence.
local function sentence_of(ids, words)
  local sentence = {}
  for i = 2, #ids do
    if ids[i] == LAST then break end
    sentence[#sentence + 1] = words[ids[i]] or "?"
  end
  return sentence
end

-- Training -------------------------------------------------------------------------------------------------------------------------------

lt.manual_seed(0)
local german, english = read_sentences("train.de"), read_sentences("train.en")
local from, _, from_count = vocabulary_of(german)
local to, to_words, to_count = vocabulary_of(english)
local pairs_of = data.TensorDataset(numbers_of(german, from), numbers_of(english, to))
local loader = data.DataLoader(pairs_of, {batch_size = BATCH, shuffle = true, drop_last = true})

local test_german, test_english = read_sentences("test_2016_flickr.de"), read_sentences("test_2016_flickr.en")
local test_source = numbers_of(test_german, from)

local net = Translator(from_count, to_count)
local optimizer = optim.Adam(net:parameters(), {lr = 1e-3, betas = {0.9, 0.98}})
local schedule = optim.lr_scheduler.OneCycleLR(optimizer, {max_lr = 2e-3, total_steps = EPOCHS * #loader, pct_start = 0.15})

-- Columns of nothing but padding are left away.
local function trimmed(ids)
  local longest = ids:ne(PAD):sum(1):max():item()
  return ids:narrow(1, 0, longest)
end

local function test_bleu()
  local bleu = lt.metrics.BLEU()
  local translations = {}
  for from_row = 0, #test_source - 1, 100 do
    local ids = translate(net, trimmed(test_source:narrow(0, from_row, math.min(100, #test_source - from_row)))):tolist()
    for _, row in ipairs(ids) do
      translations[#translations + 1] = sentence_of(row, to_words)
      bleu:update(translations[#translations], {test_english[#translations]})
    end
  end
  return 100 * bleu:compute(), translations
end

lt.fit{
  model = net, data = loader, optimizer = optimizer, schedule = schedule, schedule_each = "step", epochs = EPOCHS, clip_norm = 1, checkpoint = CHECKPOINT,
  step = function(model, source, target)
    source, target = trimmed(source), trimmed(target)
    local length = target:size(1) - 1
    local scores = model(source, target:narrow(1, 0, length))
    return F.cross_entropy(scores:flatten(0, 1), target:narrow(1, 1, length):flatten(), {ignore_index = PAD, label_smoothing = 0.1})
  end,
  callbacks = {on_epoch_end = function(run)
    run.model:eval()
    print(("epoch %d: loss %.3f, BLEU on %d sentences held out %.1f"):format(run.epoch, run.record.loss, #test_german, (test_bleu())))
  end},
}

local bleu, translations = test_bleu()
print(("BLEU on %d sentences held out: %.1f\n"):format(#test_german, bleu))
for i = 1, 3 do
  print("  " .. table.concat(test_german[i], " "))
  print("  -> " .. table.concat(translations[i], " "))
  print("  (" .. table.concat(test_english[i], " ") .. ")\n")
end
