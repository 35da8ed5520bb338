--- Metrics of texts: Perplexity, BLEU.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local class = require("lunette.class")
local Metric = require("lunette.metrics.metric")

local exp, log, min, concat, type, ipairs = math.exp, math.log, math.min, table.concat, type, ipairs

local text = {}

-- Perplexity -------------------------------------------------------------------------------------------------------------------------------

local Perplexity = class.define("metrics.Perplexity", {
  parent = Metric,
  doc = "exp of the mean cross entropy: among how many words, as it were, the model still had to choose.",
  takes = "ignore_index:int=-100",
})
text.Perplexity = Perplexity

local parse_update = arguments.signature("update", "output:tensor, target:tensor")

function Perplexity:__init(...)
  self.ignore_index = Perplexity.__parse(...)
  self:reset()
end

function Perplexity:reset() self.loss, self.count = 0, 0 end

--- Counts a batch: scores before softmax [N, C, ...] and classes [N, ...].
function Perplexity:update(...)
  local output, target = parse_update(...)
  local F = require("lunette.nn.functional")
  self.loss = self.loss + F.cross_entropy(output:detach(), target, {reduction = "sum", ignore_index = self.ignore_index}):item()
  self.count = self.count + target:ne(self.ignore_index):sum():item()
end

--- The perplexity, from 1.
function Perplexity:compute()
  self:need(self.count)
  return exp(self.loss / self.count)
end

-- BLEU -------------------------------------------------------------------------------------------------------------------------------------

local BLEU = class.define("metrics.BLEU", {
  parent = Metric,
  doc = "BLEU of a corpus (Papineni et al. 2002): the geometric mean of the parts of runs of 1 to max_n words that stand in a reference, less for outputs that are "
    .. "shorter than the references. smooth adds one to the counts of runs of two words and more (Lin and Och 2004).",
  takes = "max_n:int>0=4, smooth:bool=false",
})
text.BLEU = BLEU

local parse_words = arguments.signature("update", "output:table, references:table")

function BLEU:__init(...)
  self.max_n, self.smooth = BLEU.__parse(...)
  self:reset()
end

function BLEU:reset()
  self.found, self.total, self.length, self.reference_length = {}, {}, 0, 0
  for n = 1, self.max_n do self.found[n], self.total[n] = 0, 0 end
end

-- How often each run of n words occurs.
local function runs(words, n)
  local counts = {}
  for i = 1, #words - n + 1 do
    local run = concat(words, "\0", i, i + n - 1)
    counts[run] = (counts[run] or 0) + 1
  end
  return counts
end

-- The most often that each run occurs in one of the references.
local function most(references, n)
  local out = {}
  for _, words in ipairs(references) do
    for run, count in each(runs(words, n)) do
      if count > (out[run] or 0) then out[run] = count end
    end
  end
  return out
end

-- The length of the reference that is nearest in length, the shorter of two.
local function nearest_length(references, length)
  local best
  for _, words in ipairs(references) do
    local distance, known = math.abs(#words - length), best and math.abs(best - length)
    if not best or distance < known or distance == known and #words < best then best = #words end
  end
  return best
end

--- Counts a sentence: an array of words (or of tokens' numbers), and an array of references, each an array of words.
function BLEU:update(...)
  local words, references = parse_words(...)
  if #references == 0 or type(references[1]) ~= "table" then self:refuse("an array of references is expected, each an array of words") end
  self.length, self.reference_length = self.length + #words, self.reference_length + nearest_length(references, #words)
  for n = 1, self.max_n do
    local allowed = most(references, n)
    for run, count in each(runs(words, n)) do self.found[n] = self.found[n] + min(count, allowed[run] or 0) end
    self.total[n] = self.total[n] + math.max(#words - n + 1, 0)
  end
end

--- The score, from 0 to 1.
function BLEU:compute()
  self:need(self.reference_length)
  local sum = 0
  for n = 1, self.max_n do
    local extra = self.smooth and n > 1 and 1 or 0
    local found, total = self.found[n] + extra, self.total[n] + extra
    if found == 0 or total == 0 then return 0 end
    sum = sum + log(found / total)
  end
  local penalty = self.length < self.reference_length and exp(1 - self.reference_length / self.length) or 1
  return penalty * exp(sum / self.max_n)
end

return text
