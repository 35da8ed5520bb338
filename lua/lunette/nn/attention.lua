--- Attention and transformers: MultiheadAttention; TransformerEncoderLayer, TransformerDecoderLayer, TransformerEncoder, TransformerDecoder, Transformer.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local F = require("lunette.nn.functional")
local init = require("lunette.nn.init")
local linear = require("lunette.nn.linear")

local fail = arguments.fail
local ipairs = ipairs

local attention = {}

-- MultiheadAttention -----------------------------------------------------------------------------------------------------------------------

-- The last projection, under the name that PyTorch prints.
local Projection = linear.Linear:subclass("NonDynamicallyQuantizableLinear")

local MultiheadAttention = declare("MultiheadAttention", {
  doc = "Attention with num_heads heads, called with (query, key, value): [L, N, E], [S, N, kdim], [S, N, vdim]. It returns the output, and the "
    .. "weights or nil. A bool mask hides where it is true.",
  takes = "embed_dim:int>0, num_heads:int>0, dropout:number[0,1]=0, bias:bool=true, add_bias_kv:bool=false, add_zero_attn:bool=false, kdim:int>0?, "
    .. "vdim:int>0?, batch_first:bool=false",
  parameters = {
    "q_proj_weight(embed_dim, embed_dim) if not _same",
    "k_proj_weight(embed_dim, kdim) if not _same",
    "v_proj_weight(embed_dim, vdim) if not _same",
    "in_proj_weight(3 * embed_dim, embed_dim) if _same",
    "in_proj_bias(3 * embed_dim) = 0 if bias",
    "bias_k(1, 1, embed_dim) if add_bias_kv",
    "bias_v(1, 1, embed_dim) if add_bias_kv",
  },
  input = "query:tensor, key:tensor, value:tensor, key_padding_mask:tensor?, need_weights:bool=true, attn_mask:tensor?, average_attn_weights:bool=true, "
    .. "is_causal:bool=false",
  several = true,
})
attention.MultiheadAttention = MultiheadAttention

function MultiheadAttention:setup(given)
  if self.embed_dim % self.num_heads ~= 0 then
    fail(("MultiheadAttention: embed_dim %d must be divisible by num_heads %d"):format(self.embed_dim, self.num_heads))
  end
  self.kdim, self.vdim = self.kdim or self.embed_dim, self.vdim or self.embed_dim
  self.head_dim, self._same = self.embed_dim / self.num_heads, self.kdim == self.embed_dim and self.vdim == self.embed_dim
  self.out_proj = Projection(self.embed_dim, self.embed_dim, {bias = self.bias, device = given.device, dtype = given.dtype})
end

--- Gives the projections their starting values: Xavier's for the weights, 0 for biases.
function MultiheadAttention:reset_parameters()
  for _, name in ipairs({"q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_weight"}) do
    if self[name] then init.xavier_uniform_(self[name]) end
  end
  for _, name in ipairs({"bias_k", "bias_v"}) do
    if self[name] then init.xavier_normal_(self[name]) end
  end
  if self.in_proj_bias then
    init.zeros_(self.in_proj_bias)
    init.zeros_(self.out_proj.bias)
  end
end

-- Sequence first, the same tensors staying the same: so their projections are computed together.
local function turned(query, key, value)
  local q = query:transpose(0, 1)
  local k = key == query and q or key:transpose(0, 1)
  return q, k, value == key and k or value:transpose(0, 1)
end

function MultiheadAttention:forward(query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)
  local swap = self.batch_first and query._p.ndim == 3
  if swap then query, key, value = turned(query, key, value) end
  local output, weights = F.multi_head_attention_forward(query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias,
    self.bias_k, self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias, self.training, key_padding_mask, need_weights,
    attn_mask, not self._same, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight, nil, nil, average_attn_weights, is_causal)
  return swap and output:transpose(0, 1) or output, weights
end

return attention
