--- Transformers (Vaswani et al., 2017): TransformerEncoderLayer, TransformerDecoderLayer, TransformerEncoder, TransformerDecoder, Transformer.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local attention = require("lunette.nn.attention")
local container = require("lunette.nn.container")
local dropout = require("lunette.nn.dropout")
local F = require("lunette.nn.functional")
local init = require("lunette.nn.init")
local linear = require("lunette.nn.linear")
local normalization = require("lunette.nn.normalization")
local ops = require("lunette.ops")

local fail = arguments.fail

local transformer = {}

-- Parts that encoder and decoder layers share ------------------------------------------------------------------------------------------------

local LAYER = "d_model:int>0, nhead:int>0, dim_feedforward:int>0=2048, dropout:number[0,1]=0.1, activation:enum(relu|gelu)|function|module=relu, "
  .. "layer_norm_eps:number=1e-5, batch_first:bool=false, norm_first:bool=false, bias:bool=true, device:device?, dtype:dtype?"

local function new_attention(self, given)
  return attention.MultiheadAttention(self.d_model, self.nhead, {
    dropout = given.dropout, bias = given.bias, batch_first = given.batch_first, device = given.device, dtype = given.dtype,
  })
end

-- linear1, dropout, linear2, norm1 ..., dropout1 ..., in the order of PyTorch's state.
local function add_parts(self, given, n)
  local options = {bias = given.bias, device = given.device, dtype = given.dtype}
  self.linear1 = linear.Linear(given.d_model, given.dim_feedforward, options)
  self.dropout = dropout.Dropout(given.dropout)
  self.linear2 = linear.Linear(given.dim_feedforward, given.d_model, options)
  for i = 1, n do
    self["norm" .. i] = normalization.LayerNorm(given.d_model, {eps = given.layer_norm_eps, bias = given.bias, device = given.device, dtype = given.dtype})
  end
  for i = 1, n do self["dropout" .. i] = dropout.Dropout(given.dropout) end
  local activation = given.activation
  self.activation = type(activation) == "string" and F[activation] or activation
end

local function feed_forward(self, x, i)
  return (self["dropout" .. i](self.linear2(self.dropout(self.activation(self.linear1(x))))))
end

-- x with what `block` makes of it added, the sum or the input of the block normalised.
local function add_block(self, x, i, block)
  local norm = self["norm" .. i]
  if self.norm_first then return x + block(norm(x)) end
  return (norm(x + block(x)))
end

-- Layers -------------------------------------------------------------------------------------------------------------------------------------

local NOT_FIELDS = {"dropout", "activation", "bias", "layer_norm_eps", "dim_feedforward", "batch_first"}

-- What only the parts need is no field of the layer.
local function forget(self)
  for _, name in ipairs(NOT_FIELDS) do self[name] = nil end
end

local EncoderLayer = declare("TransformerEncoderLayer", {
  doc = "Self-attention and a feed-forward network, each with a residual connection and normalisation, called with (src).",
  takes = LAYER,
  input = "src:tensor, src_mask:tensor?, src_key_padding_mask:tensor?, is_causal:bool=false",
})
transformer.TransformerEncoderLayer = EncoderLayer

function EncoderLayer:setup(given)
  forget(self)
  self.self_attn = new_attention(self, given)
  add_parts(self, given, 2)
end

-- The parts began with their own values.
function EncoderLayer.reset_parameters() end

function EncoderLayer:forward(src, src_mask, src_key_padding_mask, is_causal)
  local x = add_block(self, src, 1, function(y)
    return (self.dropout1((self.self_attn(y, y, y, src_key_padding_mask, false, src_mask, true, is_causal))))
  end)
  return (add_block(self, x, 2, function(y) return feed_forward(self, y, 2) end))
end

local DecoderLayer = declare("TransformerDecoderLayer", {
  doc = "Self-attention, attention to the memory and a feed-forward network, each with a residual connection and normalisation, called with (tgt, memory).",
  takes = LAYER,
  input = "tgt:tensor, memory:tensor, tgt_mask:tensor?, memory_mask:tensor?, tgt_key_padding_mask:tensor?, memory_key_padding_mask:tensor?, "
    .. "tgt_is_causal:bool=false, memory_is_causal:bool=false",
})
transformer.TransformerDecoderLayer = DecoderLayer

function DecoderLayer:setup(given)
  forget(self)
  self.self_attn = new_attention(self, given)
  self.multihead_attn = new_attention(self, given)
  add_parts(self, given, 3)
end

function DecoderLayer.reset_parameters() end

function DecoderLayer:forward(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal, memory_is_causal)
  local x = add_block(self, tgt, 1, function(y)
    return (self.dropout1((self.self_attn(y, y, y, tgt_key_padding_mask, false, tgt_mask, true, tgt_is_causal))))
  end)
  x = add_block(self, x, 2, function(y)
    return (self.dropout2((self.multihead_attn(y, memory, memory, memory_key_padding_mask, false, memory_mask, true, memory_is_causal))))
  end)
  return (add_block(self, x, 3, function(y) return feed_forward(self, y, 3) end))
end

-- Stacks -------------------------------------------------------------------------------------------------------------------------------------

-- 0 where query i sees key j, -inf behind it.
local function square_mask(sz, dtype, device)
  return (require("lunette.create").full({sz, sz}, -math.huge, {dtype = dtype or "float32", device = device}):triu(1))
end

-- Is `mask` the mask of causality? What is given is believed; otherwise the mask is looked at.
local function is_causal_mask(mask, given, x, batch_first)
  if given ~= nil or not mask then return given == true end
  local length = x.shape[#x.shape == 3 and batch_first and 1 or 0]
  if mask.shape ~= {length, length} then return false end
  if mask.dtype == "bool" then return ops.triu(ops.full({length, length}, true, "bool", mask.device), 1):eq(mask):all():item() end
  return square_mask(length, mask.dtype, mask.device):eq(mask):all():item()
end

local function add_layers(self, layer, n, norm)
  local deepcopy, layers = require("lunette.nn.copy").deepcopy, {}
  for i = 1, n do layers[i] = deepcopy(layer) end
  self.layers = container.ModuleList(layers)
  self.norm = norm
end

local Encoder = declare("TransformerEncoder", {
  doc = "num_layers copies of encoder_layer one after the other, and norm behind them, called with (src).",
  takes = "encoder_layer:module, num_layers:int>=0, norm:module?",
  input = "src:tensor, mask:tensor?, src_key_padding_mask:tensor?, is_causal:bool?",
})
transformer.TransformerEncoder = Encoder

function Encoder:setup(given)
  self.encoder_layer, self.norm = nil, nil
  add_layers(self, given.encoder_layer, given.num_layers, given.norm)
end

function Encoder.reset_parameters() end

function Encoder:forward(src, mask, src_key_padding_mask, is_causal)
  local first = self.num_layers > 0 and self.layers[0].self_attn
  local causal = is_causal_mask(mask, is_causal, src, first and first.batch_first)
  for i = 0, self.num_layers - 1 do src = self.layers[i](src, mask, src_key_padding_mask, causal) end
  return self.norm and self.norm(src) or src
end

local Decoder = declare("TransformerDecoder", {
  doc = "num_layers copies of decoder_layer one after the other, and norm behind them, called with (tgt, memory).",
  takes = "decoder_layer:module, num_layers:int>=0, norm:module?",
  input = "tgt:tensor, memory:tensor, tgt_mask:tensor?, memory_mask:tensor?, tgt_key_padding_mask:tensor?, memory_key_padding_mask:tensor?, "
    .. "tgt_is_causal:bool?, memory_is_causal:bool=false",
})
transformer.TransformerDecoder = Decoder

function Decoder:setup(given)
  self.decoder_layer, self.norm = nil, nil
  add_layers(self, given.decoder_layer, given.num_layers, given.norm)
end

function Decoder.reset_parameters() end

function Decoder:forward(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal, memory_is_causal)
  local first = self.num_layers > 0 and self.layers[0].self_attn
  local causal = is_causal_mask(tgt_mask, tgt_is_causal, tgt, first and first.batch_first)
  for i = 0, self.num_layers - 1 do
    tgt = self.layers[i](tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, causal, memory_is_causal)
  end
  return self.norm and self.norm(tgt) or tgt
end

-- Transformer --------------------------------------------------------------------------------------------------------------------------------

local Transformer = declare("Transformer", {
  doc = "An encoder of src and a decoder of tgt that attends to it, called with (src, tgt): [S, N, d_model] and [T, N, d_model].",
  takes = "d_model:int>0=512, nhead:int>0=8, num_encoder_layers:int>=0=6, num_decoder_layers:int>=0=6, dim_feedforward:int>0=2048, "
    .. "dropout:number[0,1]=0.1, activation:enum(relu|gelu)|function|module=relu, custom_encoder:module?, custom_decoder:module?, "
    .. "layer_norm_eps:number=1e-5, batch_first:bool=false, norm_first:bool=false, bias:bool=true, device:device?, dtype:dtype?",
  input = "src:tensor, tgt:tensor, src_mask:tensor?, tgt_mask:tensor?, memory_mask:tensor?, src_key_padding_mask:tensor?, "
    .. "tgt_key_padding_mask:tensor?, memory_key_padding_mask:tensor?, src_is_causal:bool?, tgt_is_causal:bool?, memory_is_causal:bool=false",
})
transformer.Transformer = Transformer

-- A layer of either kind, and the normalisation behind a stack of them, by the arguments of the whole.
local function layer_of(Layer, given)
  return Layer(given.d_model, given.nhead, given.dim_feedforward, given.dropout, given.activation, given.layer_norm_eps, given.batch_first, given.norm_first,
    given.bias, given.device, given.dtype)
end

local function norm_of(given)
  return normalization.LayerNorm(given.d_model, {eps = given.layer_norm_eps, bias = given.bias, device = given.device, dtype = given.dtype})
end

function Transformer:setup(given)
  for _, name in ipairs({"num_encoder_layers", "num_decoder_layers", "dim_feedforward", "dropout", "activation", "custom_encoder", "custom_decoder",
                         "layer_norm_eps", "norm_first", "bias"}) do
    self[name] = nil
  end
  self.encoder = given.custom_encoder or Encoder(layer_of(EncoderLayer, given), given.num_encoder_layers, norm_of(given))
  self.decoder = given.custom_decoder or Decoder(layer_of(DecoderLayer, given), given.num_decoder_layers, norm_of(given))
end

--- Gives all weights of 2 and more dimensions Xavier's starting values.
function Transformer:reset_parameters()
  for p in self:parameters() do
    if p._p.ndim > 1 then init.xavier_uniform_(p) end
  end
end

local function check_widths(self, src, tgt)
  local n = #src.shape
  local batch = self.batch_first and 0 or 1
  if n == 3 and #tgt.shape == 3 and src.shape[batch] ~= tgt.shape[batch] then
    fail(("Transformer: src and tgt must have batches of one size, got shapes %s and %s"):format(tostring(src.shape), tostring(tgt.shape)))
  end
  if src.shape[-1] ~= self.d_model or tgt.shape[-1] ~= self.d_model then
    fail(("Transformer: the last dimension of src and tgt must be d_model %d, got shapes %s and %s"):format(
      self.d_model, tostring(src.shape), tostring(tgt.shape)))
  end
end

function Transformer:forward(src, tgt, src_mask, tgt_mask, memory_mask, src_key_padding_mask, tgt_key_padding_mask, memory_key_padding_mask, src_is_causal,
                             tgt_is_causal, memory_is_causal)
  check_widths(self, src, tgt)
  local memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
  return (self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal, memory_is_causal))
end

local parse_mask = arguments.signature("generate_square_subsequent_mask", "sz:int>=0, device:device?, dtype:dtype?")

--- The mask of causality [sz, sz], added to scores: 0 where query i sees key j, -inf for keys behind it. Called on the class or a module.
function Transformer.generate_square_subsequent_mask(self, ...)
  if not arguments.is_module(self) and self ~= Transformer then
    fail("generate_square_subsequent_mask is a method, called with a colon: nn.Transformer:generate_square_subsequent_mask(sz)")
  end
  local sz, device, dtype = parse_mask(...)
  return (square_mask(sz, dtype, device))
end

return transformer
