--- Embedding. `sparse` is taken and remembered; gradients are dense either way.

local arguments = require("lunette.arguments")
local class = require("lunette.nn.class")
local layer = require("lunette.nn.layer")
local F = require("lunette.nn.functional")
local Parameter = require("lunette.nn.parameter")
local init = require("lunette.nn.initialise")
local repr = require("lunette.nn.repr")

local fail = arguments.fail

local sparse = {}

local Embedding = class.Module:subclass("Embedding")
sparse.Embedding = Embedding

local shared = "max_norm:number?, norm_type:number=2, scale_grad_by_freq:bool=false, sparse:bool=false"
local parse = arguments.signature("Embedding",
  "num_embeddings:int, embedding_dim:int, padding_idx:int?, " .. shared .. ", _weight:tensor?")
local parse_pretrained = arguments.signature("from_pretrained", "embeddings:tensor, freeze:bool=true, padding_idx:int?, " .. shared)

local function checked_padding(padding_idx, n)
  if padding_idx == nil then return nil end
  if padding_idx < -n or padding_idx >= n then
    fail(("Embedding: padding_idx %d is out of range for %d embeddings (ids start at 0)"):format(padding_idx, n))
  end
  return padding_idx < 0 and padding_idx + n or padding_idx
end

function Embedding:__init(...)
  local weight, padding_idx
  self.num_embeddings, self.embedding_dim, padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse, weight = parse(...)
  self.padding_idx = checked_padding(padding_idx, self.num_embeddings)
  if weight == nil then
    self.weight = layer.parameter(self.num_embeddings, self.embedding_dim)
    self:reset_parameters()
  else
    if weight.shape ~= {self.num_embeddings, self.embedding_dim} then
      fail(("Embedding: _weight has shape %s, not {%d, %d}"):format(tostring(weight.shape), self.num_embeddings, self.embedding_dim))
    end
    self.weight = Parameter(weight)
  end
end

function Embedding:reset_parameters()
  init.normal_(self.weight)
  if self.padding_idx then self.weight.data[self.padding_idx]:fill_(0) end
end

--- An embedding over a given matrix (rows: ids); freeze: it is not trained. Class method: nn.Embedding:from_pretrained(w).
function Embedding.from_pretrained(owner, ...)
  if not class.is_class(owner) then fail("from_pretrained is a class method, called with a colon: nn.Embedding:from_pretrained(w)") end
  local embeddings, freeze, padding_idx, max_norm, norm_type, scale_grad_by_freq, is_sparse = parse_pretrained(...)
  local shape = embeddings.shape
  if #shape ~= 2 then fail(("from_pretrained: the embeddings must have 2 dimensions, not shape %s"):format(tostring(shape))) end
  local self = owner(shape[0], shape[1], padding_idx, max_norm, norm_type, scale_grad_by_freq, is_sparse, embeddings)
  self.weight:requires_grad_(not freeze)
  return self
end

function Embedding:forward(ids, ...)
  layer.no_more(self, ...)
  return F.embedding(ids, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse)
end

function Embedding:extra_repr()
  local out = {("%d, %d"):format(self.num_embeddings, self.embedding_dim)}
  if self.padding_idx then out[#out + 1] = "padding_idx=" .. self.padding_idx end
  if self.max_norm then out[#out + 1] = "max_norm=" .. repr.number(self.max_norm) end
  if self.norm_type ~= 2 then out[#out + 1] = "norm_type=" .. repr.number(self.norm_type) end
  if self.scale_grad_by_freq then out[#out + 1] = "scale_grad_by_freq=True" end
  if self.sparse then out[#out + 1] = "sparse=True" end
  return table.concat(out, ", ")
end

return sparse
