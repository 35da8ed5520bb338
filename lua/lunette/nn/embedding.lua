--- Embedding.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local Parameter = require("lunette.nn.parameter").Parameter

local Layer, fail = declare.Layer, arguments.fail

local embedding = {}

local Embedding = declare("Embedding", {
  example = "> nn.Embedding(10, 3)(lt.LongTensor{{1, 2, 4, 5}, {4, 3, 2, 9}}).shape\n{2, 4, 3}",
  of = "embedding",
  takes = "num_embeddings:int>=0, embedding_dim:int>=0, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight:tensor?, _freeze:bool=false",
  parameters = {"weight(num_embeddings, embedding_dim) = normal()"},
  text = "!num_embeddings !embedding_dim padding_idx? max_norm? norm_type? scale_grad_by_freq? sparse?",
})
embedding.Embedding = Embedding

function Embedding:__init(...)
  local given = Layer.__init(self, ...)
  if given._freeze then self.weight:requires_grad_(false) end
end

function Embedding:setup(given)
  if self.sparse then fail("Embedding: there are no sparse gradients; leave sparse = true out") end
  local weight = given._weight
  if weight ~= nil then
    if weight.shape ~= {self.num_embeddings, self.embedding_dim} then
      fail(("Embedding: _weight has shape %s, not {%d, %d}"):format(tostring(weight.shape), self.num_embeddings, self.embedding_dim))
    end
    given.weight = Parameter(weight)
  end
  local i, n = self.padding_idx, self.num_embeddings
  if i == nil then return end
  if i < -n or i >= n then fail(("Embedding: padding_idx %d is out of range for %d embeddings (ids start at 0)"):format(i, n)) end
  if i < 0 then self.padding_idx = i + n end
end

-- The row padding_idx starts, and stays, at 0.
function Embedding:reset_parameters()
  Layer.reset_parameters(self)
  if self.padding_idx then self.weight.data[self.padding_idx]:fill_(0) end
end

declare.class_method(Embedding, "from_pretrained", {
  doc = "An Embedding whose rows are given, frozen unless told otherwise.",
  takes = "embeddings:tensor, freeze:bool=true, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse",
  call = function(owner, embeddings, freeze, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    local shape = embeddings.shape
    if #shape ~= 2 then fail(("from_pretrained: the embeddings must have 2 dimensions, got shape %s"):format(tostring(shape))) end
    return owner(shape[0], shape[1], padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings, freeze)
  end,
})

return embedding
