--- Embedding and EmbeddingBag: rows of a table that is learned.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local Parameter = require("lunette.nn.parameter").Parameter

local Layer, fail = declare.Layer, arguments.fail

local embedding = {}

-- What both share: the table, its size and the row of padding.
local Table = Layer:subclass("_Table")

function Table:setup(given)
  local name, weight, i, n = self.class.__name, given._weight, self.padding_idx, self.num_embeddings
  if weight ~= nil then
    if weight.shape ~= {n, self.embedding_dim} then
      fail(("%s: _weight has shape %s, not {%d, %d}"):format(name, tostring(weight.shape), n, self.embedding_dim))
    end
    given.weight = Parameter(weight)
  end
  if i == nil then return end
  if i < -n or i >= n then fail(("%s: padding_idx %d is out of range for %d embeddings (ids start at 0)"):format(name, i, n)) end
  if i < 0 then self.padding_idx = i + n end
end

-- The row padding_idx starts, and stays, at 0.
function Table:reset_parameters()
  Layer.reset_parameters(self)
  if self.padding_idx then self.weight.data[self.padding_idx]:fill_(0) end
end

-- The sizes of the embeddings that from_pretrained is given.
local function sizes_of(embeddings)
  local shape = embeddings.shape
  if #shape ~= 2 then fail(("from_pretrained: the embeddings must have 2 dimensions, got shape %s"):format(tostring(shape))) end
  return shape[0], shape[1]
end

local PARAMETERS = {"weight(num_embeddings, embedding_dim) = normal()"}

local Embedding = declare("Embedding", {
  example = "> nn.Embedding(10, 3)(lt.LongTensor{{1, 2, 4, 5}, {4, 3, 2, 9}}).shape\n{2, 4, 3}",
  parent = Table,
  of = "embedding",
  takes = "num_embeddings:int>=0, embedding_dim:int>=0, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight:tensor?, _freeze:bool=false",
  parameters = PARAMETERS,
  text = "!num_embeddings !embedding_dim padding_idx? max_norm? norm_type? scale_grad_by_freq? sparse?",
})
embedding.Embedding = Embedding

function Embedding:__init(...)
  local given = Layer.__init(self, ...)
  if given._freeze then self.weight:requires_grad_(false) end
end

declare.class_method(Embedding, "from_pretrained", {
  doc = "An Embedding whose rows are given, frozen unless told otherwise.",
  takes = "embeddings:tensor, freeze:bool=true, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse",
  call = function(owner, embeddings, freeze, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    local n, width = sizes_of(embeddings)
    return owner(n, width, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings, freeze)
  end,
})

local EmbeddingBag = declare("EmbeddingBag", {
  parent = Table,
  of = "embedding_bag",
  takes = "num_embeddings:int>=0, embedding_dim:int>=0, max_norm, norm_type, scale_grad_by_freq, mode, sparse, _weight:tensor?, include_last_offset, padding_idx",
  input = "input:tensor, offsets:tensor?, per_sample_weights:tensor?",
  parameters = PARAMETERS,
  text = "!num_embeddings !embedding_dim max_norm? norm_type? scale_grad_by_freq? 'mode' padding_idx?",
})
embedding.EmbeddingBag = EmbeddingBag

declare.class_method(EmbeddingBag, "from_pretrained", {
  doc = "An EmbeddingBag whose rows are given, frozen unless told otherwise.",
  takes = "embeddings:tensor, freeze:bool=true, max_norm, norm_type, scale_grad_by_freq, mode, sparse, include_last_offset, padding_idx",
  call = function(owner, embeddings, freeze, max_norm, norm_type, scale_grad_by_freq, mode, sparse, include_last_offset, padding_idx)
    local n, width = sizes_of(embeddings)
    local bags = owner(n, width, max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings, include_last_offset, padding_idx)
    bags.weight:requires_grad_(not freeze)
    return bags
  end,
})

return embedding
