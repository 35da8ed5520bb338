--- Attention as functions.

local arguments = require("lunette.arguments")
local ops = require("lunette.ops")

local fail = arguments.fail

-- x with dimension `dim` as two, the first of `n`.
local function split_dim(x, dim, n)
  local shape = {x.shape:unpack()}
  local at = dim < 0 and #shape + dim + 1 or dim + 1
  table.insert(shape, at + 1, shape[at] / n)
  shape[at] = n
  return (x:reshape(shape))
end

-- The projections of query, key and value by the rows of one weight. Inputs that are one tensor are projected together.
local function project(query, key, value, weight, bias)
  local e = query.shape[-1]
  local function linear(x, from, n) return ops.linear(x, weight:narrow(0, from * e, n * e), bias and bias:narrow(0, from * e, n * e)) end
  if key ~= value then return linear(query, 0, 1), linear(key, 1, 1), linear(value, 2, 1) end
  if query ~= key then
    local both = linear(key, 1, 2)
    return linear(query, 0, 1), both:narrow(-1, 0, e), both:narrow(-1, e, e)
  end
  local all = ops.linear(query, weight, bias)
  return all:narrow(-1, 0, e), all:narrow(-1, e, e), all:narrow(-1, 2 * e, e)
end

-- The same by a weight for each.
local function project_apart(query, key, value, weights, bias)
  local out, e = {}, query.shape[-1]
  for i, x in ipairs({query, key, value}) do
    if not weights[i] then fail("multi_head_attention_forward: separate weights are q_proj_weight, k_proj_weight and v_proj_weight") end
    out[i] = ops.linear(x, weights[i], bias and bias:narrow(0, (i - 1) * e, e))
  end
  return unpack(out)
end

local function check_mask(name, mask)
  if mask.dtype ~= "bool" and not mask.dtype:find("float", 1, true) then
    fail(("multi_head_attention_forward: %s must be bool, true where nothing is to be seen, or of a floating dtype, which is added; got %s"):format(
      name, mask.dtype))
  end
end

-- A mask as numbers to be added.
local function as_numbers(mask, dtype)
  if mask.dtype ~= "bool" then return mask end
  return ops.full({mask.shape:unpack()}, 0, dtype, mask.device):masked_fill(mask, -math.huge)
end

-- Both masks as one over [N, heads, L, S]: bool, true where nothing is to be seen, or numbers; nil where there is none.
local function join_masks(attn_mask, key_padding_mask, n, dtype)
  if attn_mask and #attn_mask.shape == 3 then attn_mask = split_dim(attn_mask, 0, n) end
  local padding = key_padding_mask and key_padding_mask:unsqueeze(1):unsqueeze(1)
  if not (attn_mask and padding) then return attn_mask or padding end
  if attn_mask.dtype == "bool" and padding.dtype == "bool" then return (attn_mask:logical_or(padding)) end
  return as_numbers(attn_mask, dtype) + as_numbers(padding, dtype)
end

local function check_shape(name, mask, ...)
  for i = 1, select("#", ...) do
    if mask.shape == select(i, ...) then return end
  end
  local wanted = {}
  for i, shape in ipairs({...}) do wanted[i] = "{" .. table.concat(shape, ", ") .. "}" end
  fail(("multi_head_attention_forward: %s must have the shape %s, got %s"):format(name, table.concat(wanted, " or "), tostring(mask.shape)))
end

local function check_inputs(query, key, value, embed_dim, num_heads)
  local n = #query.shape
  if (n ~= 2 and n ~= 3) or #key.shape ~= n or #value.shape ~= n then
    fail(("multi_head_attention_forward: query, key and value must all have 3 dimensions, or 2 without a batch, got shapes %s, %s and %s"):format(
      tostring(query.shape), tostring(key.shape), tostring(value.shape)))
  end
  if query.shape[-1] ~= embed_dim then
    fail(("multi_head_attention_forward: the last dimension of query must be %d, got shape %s"):format(embed_dim, tostring(query.shape)))
  end
  if embed_dim % num_heads ~= 0 then
    fail(("multi_head_attention_forward: embed_dim %d must be divisible by num_heads %d"):format(embed_dim, num_heads))
  end
  if key.shape[0] ~= value.shape[0] or n == 3 and (key.shape[1] ~= query.shape[1] or value.shape[1] ~= query.shape[1]) then
    fail(("multi_head_attention_forward: query %s, key %s and value %s do not fit each other"):format(
      tostring(query.shape), tostring(key.shape), tostring(value.shape)))
  end
end

-- [L, N, E] as heads: [N, heads, L, E / heads], without a copy.
local function heads_of(x, heads)
  return split_dim(x, -1, heads):permute(1, 2, 0, 3)
end

local function static_heads(name, t, n, heads, size)
  if t.shape[0] ~= n * heads or t.shape[2] ~= size then
    fail(("multi_head_attention_forward: %s must have the shape {%d, S, %d}, got %s"):format(name, n * heads, size, tostring(t.shape)))
  end
  return split_dim(t, 0, n)
end

-- One more key and value, which every query sees.
local function longer(t, more) return ops.cat({t, more}, 2) end

local function widen_mask(mask)
  if not mask then return nil end
  local shape = {mask.shape:unpack()}
  shape[#shape] = 1
  return (ops.cat({mask, ops.full(shape, mask.dtype == "bool" and false or 0, mask.dtype, mask.device)}, -1))
end

-- The weights themselves; where a query sees nothing they are 0.
local function weights_of(q, k, mask)
  local scores = ops.matmul(q * (1 / math.sqrt(q.shape[-1])), k:transpose(-2, -1))
  if not mask then return (scores:softmax(-1)) end
  scores = mask.dtype == "bool" and scores:masked_fill(mask, -math.huge) or scores + mask
  local blind = scores:detach():amax(-1, true):eq(-math.huge)
  return (scores:masked_fill(blind, 0):softmax(-1):masked_fill(blind, 0))
end

-- The outputs of all heads and, when they are needed, the weights.
local function attend(q, k, v, mask, dropout, is_causal, need_weights)
  if not need_weights then
    if mask and mask.dtype == "bool" then mask = mask:logical_not() end
    return (ops.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal))
  end
  local weights = weights_of(q, k, mask)
  if dropout > 0 then weights = weights:dropout(dropout) end
  return ops.matmul(weights, v), weights
end

-- Keys, values and mask with what every query sees beside the keys: bias_k and bias_v, and zeros.
local function extended(k, v, mask, bias_k, bias_v, zero)
  local n, heads, size = k.shape[0], k.shape[1], k.shape[3]
  if bias_k then
    k = longer(k, heads_of(bias_k:expand(1, n, heads * size), heads))
    v = longer(v, heads_of(bias_v:expand(1, n, heads * size), heads))
    mask = widen_mask(mask)
  end
  if not zero then return k, v, mask end
  local zeros = ops.full({n, heads, 1, size}, 0, k.dtype, k.device)
  return longer(k, zeros), longer(v, zeros), widen_mask(mask)
end

-- Inputs without a batch with one of size 1; the same tensors stay the same.
local function with_batch(query, key, value, key_padding_mask)
  local q = query:unsqueeze(1)
  local k = key == query and q or key:unsqueeze(1)
  local v = value == key and k or value:unsqueeze(1)
  if key_padding_mask then check_shape("key_padding_mask", key_padding_mask, {key.shape[0]}) end
  return q, k, v, key_padding_mask and key_padding_mask:unsqueeze(0)
end

local function check_masks(query, key, heads, key_padding_mask, attn_mask, is_causal)
  local length, n, sources = query.shape[0], query.shape[1], key.shape[0]
  if key_padding_mask then
    check_mask("key_padding_mask", key_padding_mask)
    check_shape("key_padding_mask", key_padding_mask, {n, sources})
  end
  if attn_mask then
    check_mask("attn_mask", attn_mask)
    check_shape("attn_mask", attn_mask, {length, sources}, {n * heads, length, sources})
  elseif is_causal then
    fail("multi_head_attention_forward: is_causal says what attn_mask holds, which must be given beside it")
  end
end

local function check_extras(bias_k, bias_v, in_proj_weight, separate, static)
  if (bias_k == nil) ~= (bias_v == nil) then fail("multi_head_attention_forward: bias_k and bias_v are given together") end
  if bias_k and static then fail("multi_head_attention_forward: bias_k and bias_v cannot be added to static keys and values") end
  if not in_proj_weight and not separate then fail("multi_head_attention_forward: in_proj_weight is missing") end
end

return function(_, define)
  define("scaled_dot_product_attention")

  define("multi_head_attention_forward", {
    doc = "Attention with several heads, query [L, N, E], key [S, N, E] and value [S, N, E] projected into them: the output, and the weights [N, L, S] "
      .. "where they are needed, [N, heads, L, S] unless averaged. A bool mask hides where it is true.",
    takes = "query:tensor, key:tensor, value:tensor, embed_dim_to_check:int>0, num_heads:int>0, in_proj_weight:tensor?, in_proj_bias:tensor?, bias_k:tensor?, "
      .. "bias_v:tensor?, add_zero_attn:bool, dropout_p:number[0,1], out_proj_weight:tensor, out_proj_bias:tensor?, training:bool=true, "
      .. "key_padding_mask:tensor?, need_weights:bool=true, attn_mask:tensor?, use_separate_proj_weight:bool=false, q_proj_weight:tensor?, "
      .. "k_proj_weight:tensor?, v_proj_weight:tensor?, static_k:tensor?, static_v:tensor?, average_attn_weights:bool=true, is_causal:bool=false",
    several = true,
    call = function(query, key, value, embed_dim, heads, in_proj_weight, in_proj_bias, bias_k, bias_v, add_zero_attn, dropout_p, out_proj_weight,
                    out_proj_bias, training, key_padding_mask, need_weights, attn_mask, separate, q_proj_weight, k_proj_weight, v_proj_weight, static_k,
                    static_v, average_attn_weights, is_causal)
      check_inputs(query, key, value, embed_dim, heads)
      check_extras(bias_k, bias_v, in_proj_weight, separate, static_k or static_v)
      local batched = #query.shape == 3
      if not batched then query, key, value, key_padding_mask = with_batch(query, key, value, key_padding_mask) end
      check_masks(query, key, heads, key_padding_mask, attn_mask, is_causal)
      local n = query.shape[1]
      local q, k, v
      if separate then
        q, k, v = project_apart(query, key, value, {q_proj_weight, k_proj_weight, v_proj_weight}, in_proj_bias)
      else
        q, k, v = project(query, key, value, in_proj_weight, in_proj_bias)
      end
      q = heads_of(q, heads)
      k = static_k and static_heads("static_k", static_k, n, heads, q.shape[3]) or heads_of(k, heads)
      v = static_v and static_heads("static_v", static_v, n, heads, q.shape[3]) or heads_of(v, heads)
      local causal = is_causal and not (key_padding_mask or need_weights or bias_k or add_zero_attn)
      local mask = not causal and join_masks(attn_mask, key_padding_mask, n, q.dtype) or nil
      k, v, mask = extended(k, v, mask, bias_k, bias_v, add_zero_attn)
      local out, weights = attend(q, k, v, mask, training and dropout_p or 0, causal, need_weights)
      out = ops.linear(out:permute(2, 0, 1, 3):flatten(2, 3), out_proj_weight, out_proj_bias)
      if weights and average_attn_weights then weights = weights:mean(1) end
      if batched then return out, weights end
      return out:squeeze(1), weights and weights:squeeze(0)
    end,
  })
end
