--- Recurrent layers: RNNBase, RNN, LSTM, GRU over sequences; RNNCell, LSTMCell, GRUCell for single steps.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local ops = require("lunette.ops")
local Parameter = require("lunette.nn.parameter").Parameter

local fail, is_packed = arguments.fail, arguments.is_packed
local ipairs, sqrt = ipairs, math.sqrt

local recurrent = {}

local GATES = {LSTM = 4, GRU = 3, RNN_TANH = 1, RNN_RELU = 1}

-- Weights --------------------------------------------------------------------------------------------------------------------------------

-- The parameters of one direction of a layer, as PyTorch names them: {name, shape} in order.
local function weights_of(self, layer, reverse)
  local rows, suffix = GATES[self.mode] * self.hidden_size, ("_l%d%s"):format(layer, reverse and "_reverse" or "")
  local size = self.proj_size > 0 and self.proj_size or self.hidden_size
  local columns = layer == 0 and self.input_size or size * (self.bidirectional and 2 or 1)
  local list = {{"weight_ih" .. suffix, {rows, columns}}, {"weight_hh" .. suffix, {rows, size}}}
  if self.bias then
    list[3], list[4] = {"bias_ih" .. suffix, {rows}}, {"bias_hh" .. suffix, {rows}}
  end
  if self.proj_size > 0 then list[#list + 1] = {"weight_hr" .. suffix, {size, self.hidden_size}} end
  return list
end

local function make_weights(self, given)
  local create, names = require("lunette.create"), {}
  for layer = 0, self.num_layers - 1 do
    for direction = 1, self.bidirectional and 2 or 1 do
      for _, weight in ipairs(weights_of(self, layer, direction == 2)) do
        names[#names + 1] = weight[1]
        self:register_parameter(weight[1], Parameter(create.empty(weight[2], {dtype = given.dtype or "float32", device = given.device})))
      end
    end
  end
  self._weight_names = names
end

-- What forward is called with --------------------------------------------------------------------------------------------------------------

local function check_input(self, x, packed)
  local n, name = #x.shape, self.class.__name
  if packed and n ~= 2 or not packed and n ~= 2 and n ~= 3 then
    fail(("%s: input must have %s, got shape %s"):format(name, packed and "data of 2 dimensions" or "2 or 3 dimensions", tostring(x.shape)))
  end
  if x.shape[-1] ~= self.input_size then
    fail(("%s: the last dimension of input must be input_size %d, got shape %s"):format(name, self.input_size, tostring(x.shape)))
  end
end

-- A state of shape [layers * directions, batch, size], without batch where the input has none.
local function check_state(self, what, state, size, batch)
  local parts, shape, name = self.num_layers * (self.bidirectional and 2 or 1), state.shape, self.class.__name
  local wanted = batch and {parts, batch, size} or {parts, size}
  if shape ~= wanted then
    fail(("%s: %s must have the shape {%s}, got %s"):format(name, what, table.concat(wanted, ", "), tostring(shape)))
  end
end

-- A state as the operator takes it: with a batch dimension, its sequences in the order of the packed ones.
local function prepared(self, what, state, size, batch, order)
  if not state then return nil end
  check_state(self, what, state, size, batch)
  if not batch then return (state:unsqueeze(1)) end
  return order and state:index_select(1, order) or state
end

local function states_of(self, hx)
  if self.mode ~= "LSTM" or hx == nil then return hx end
  if #hx ~= 2 then fail(("%s: hx must be an array of two tensors, {h_0, c_0}, got %s"):format(self.class.__name, arguments.describe(hx))) end
  return hx[1], hx[2]
end

-- Running ----------------------------------------------------------------------------------------------------------------------------------

local function run(self, x, h, c, sizes)
  local weights = {}
  for i, name in ipairs(self._weight_names) do weights[i] = self[name] end
  if self.mode == "LSTM" then return ops.lstm(x, h, c, sizes, weights, self.num_layers, self.bidirectional, self.dropout, self.training) end
  if self.mode == "GRU" then return ops.gru(x, h, sizes, weights, self.num_layers, self.bidirectional, self.dropout, self.training) end
  local nonlinearity = self.mode == "RNN_TANH" and "tanh" or "relu"
  return ops.rnn(x, h, sizes, weights, nonlinearity, self.num_layers, self.bidirectional, self.dropout, self.training)
end

-- Zero states for sequences of which some may have no step, so that batch_sizes do not count them.
local function all_sequences(self, x, h, c, order)
  local parts, batch = self.num_layers * (self.bidirectional and 2 or 1), order.shape[0]
  local function zeros(size) return ops.full({parts, batch, size}, 0, x.dtype, x.device) end
  local size = self.proj_size > 0 and self.proj_size or self.hidden_size
  return h or zeros(size), self.mode == "LSTM" and (c or zeros(self.hidden_size)) or nil
end

local function forward_packed(self, input, hx)
  local x, order, back = input.data, input.sorted_indices, input.unsorted_indices
  check_input(self, x, true)
  local h, c = states_of(self, hx)
  local batch = order and order.shape[0] or tonumber(input.batch_sizes[0]:item())
  h = prepared(self, "h_0", h, self.proj_size > 0 and self.proj_size or self.hidden_size, batch, order)
  c = prepared(self, "c_0", c, self.hidden_size, batch, order)
  if order then h, c = all_sequences(self, x, h, c, order) end
  local y, h_n, c_n = run(self, x, h, c, input.batch_sizes)
  if back then h_n, c_n = h_n:index_select(1, back), c_n and c_n:index_select(1, back) end
  local packed = require("lunette.nn.utils.rnn").PackedSequence(y, input.batch_sizes, order, back)
  return packed, c_n and {h_n, c_n} or h_n
end

local function forward(self, input, hx)
  if is_packed(input) then return forward_packed(self, input, hx) end
  check_input(self, input, false)
  local batched, x = input._p.ndim == 3, input
  if not batched then x = x:unsqueeze(1) elseif self.batch_first then x = x:transpose(0, 1) end
  local h, c = states_of(self, hx)
  if h then
    local batch = batched and x.shape[1] or nil
    h = prepared(self, "h_0", h, self.proj_size > 0 and self.proj_size or self.hidden_size, batch)
    c = prepared(self, "c_0", c, self.hidden_size, batch)
  end
  local y, h_n, c_n = run(self, x, h, c)
  if not batched then
    y, h_n, c_n = y:squeeze(1), h_n:squeeze(1), c_n and c_n:squeeze(1)
  elseif self.batch_first then
    y = y:transpose(0, 1)
  end
  return y, c_n and {h_n, c_n} or h_n
end

-- Layers ---------------------------------------------------------------------------------------------------------------------------------

local SIZES = "input_size:int>=0, hidden_size:int>0, num_layers:int>0=1"
local OPTIONS = "bias:bool=true, batch_first:bool=false, dropout:number[0,1]=0, bidirectional:bool=false"
local PROJECTION, TENSORS = ", proj_size:int>=0=0", ", device:device?, dtype:dtype?"
local REST = " num_layers? bias? batch_first? .dropout? bidirectional?"
local TEXT = "!input_size !hidden_size" .. REST
local TEXT_WITH_PROJECTION = "!input_size !hidden_size proj_size?" .. REST

local RNNBase = declare("RNNBase", {
  example = "> nn.RNNBase(\"GRU\", 10, 20)(lt.randn(5, 3, 10)).shape\n{5, 3, 20}",
  doc = "What RNN, LSTM and GRU have in common; mode is \"LSTM\", \"GRU\", \"RNN_TANH\" or \"RNN_RELU\".",
  takes = "mode:enum(LSTM|GRU|RNN_TANH|RNN_RELU), " .. SIZES .. ", " .. OPTIONS .. PROJECTION .. TENSORS,
  input = "input:tensor|packed, hx:any?",
  several = true,
  text = TEXT_WITH_PROJECTION,
})
recurrent.RNNBase = RNNBase
RNNBase.forward = forward

function RNNBase:setup(given)
  local name = self.class.__name
  if self.proj_size == nil then self.proj_size = 0 end
  if self.proj_size > 0 and self.mode ~= "LSTM" then fail(("%s: only an LSTM has a proj_size, got %d"):format(name, self.proj_size)) end
  if self.proj_size >= self.hidden_size then
    fail(("%s: proj_size %d must be smaller than hidden_size %d"):format(name, self.proj_size, self.hidden_size))
  end
  if self.dropout > 0 and self.num_layers == 1 then
    io.stderr:write(("warning: %s: dropout stands between layers and does nothing with one layer\n"):format(name))
  end
  make_weights(self, given)
end

--- Gives all weights their starting values, U(-1 / sqrt(hidden_size), 1 / sqrt(hidden_size)).
function RNNBase:reset_parameters()
  local bound = 1 / sqrt(self.hidden_size)
  for _, name in ipairs(self._weight_names) do self[name].data:uniform_(-bound, bound) end
end

--- The weights always lie as the kernels want them: there is nothing to do.
function RNNBase:flatten_parameters() return arguments.is_module(self) end

recurrent.LSTM = declare("LSTM", {
  example = "> output, state = nn.LSTM(10, 20, 2)(lt.randn(5, 3, 10))\n> output.shape, state[1].shape, state[2].shape\n{5, 3, 20}\n{2, 3, 20}\n{2, 3, 20}",
  parent = RNNBase,
  doc = "Long short-term memory over a sequence [T, N, input_size], gates i, f, g, o: called with (input, {h_0, c_0}), it returns output and {h_n, c_n}.",
  takes = SIZES .. ", " .. OPTIONS .. PROJECTION .. TENSORS,
  input = "input:tensor|packed, hx:tensors?",
  several = true,
  text = TEXT_WITH_PROJECTION,
})
recurrent.LSTM.mode, recurrent.LSTM.forward = "LSTM", forward

recurrent.GRU = declare("GRU", {
  example = "> output, h = nn.GRU(10, 20, 2)(lt.randn(5, 3, 10))\n> output.shape, h.shape\n{5, 3, 20}\n{2, 3, 20}",
  parent = RNNBase,
  doc = "Gated recurrent units over a sequence [T, N, input_size], gates r, z, n: called with (input, h_0), it returns output and h_n.",
  takes = SIZES .. ", " .. OPTIONS .. TENSORS,
  input = "input:tensor|packed, hx:tensor?",
  several = true,
  text = TEXT,
})
recurrent.GRU.mode, recurrent.GRU.forward = "GRU", forward

recurrent.RNN = declare("RNN", {
  example = "> output, h = nn.RNN(10, 20, 2)(lt.randn(5, 3, 10))\n> output.shape, h.shape\n{5, 3, 20}\n{2, 3, 20}",
  parent = RNNBase,
  doc = "h = nonlinearity(W_ih x + b_ih + W_hh h + b_hh) over a sequence [T, N, input_size]: called with (input, h_0), it returns output and h_n.",
  takes = SIZES .. ", *, nonlinearity:enum(tanh|relu)=tanh, " .. OPTIONS .. TENSORS,
  input = "input:tensor|packed, hx:tensor?",
  several = true,
  text = TEXT,
})
recurrent.RNN.forward = forward

function recurrent.RNN:setup(given)
  self.mode = self.nonlinearity == "relu" and "RNN_RELU" or "RNN_TANH"
  RNNBase.setup(self, given)
end

-- Cells --------------------------------------------------------------------------------------------------------------------------------------

local function cell_parameters(gates)
  local out = {}
  for i, shape in ipairs{"weight_ih(%d * hidden_size, input_size)", "weight_hh(%d * hidden_size, hidden_size)", "bias_ih(%d * hidden_size)",
                         "bias_hh(%d * hidden_size)"} do
    out[i] = shape:format(gates) .. " = uniform(1 / sqrt(hidden_size))" .. (i > 2 and " if bias" or "")
  end
  return out
end

-- The input as one step, and each state with a batch dimension; zeros where there is none.
local function one_step(self, input, what, state)
  local n, name = input._p.ndim, self.class.__name
  if n ~= 1 and n ~= 2 then fail(("%s: input must have 1 or 2 dimensions, got shape %s"):format(name, tostring(input.shape))) end
  if input.shape[-1] ~= self.input_size then
    fail(("%s: the last dimension of input must be input_size %d, got shape %s"):format(name, self.input_size, tostring(input.shape)))
  end
  local wanted = n == 2 and {input.shape[0], self.hidden_size} or {self.hidden_size}
  if not state then return ops.full({n == 2 and input.shape[0] or 1, self.hidden_size}, 0, input.dtype, input.device) end
  if state.shape ~= wanted then
    fail(("%s: %s must have the shape {%s}, got %s"):format(name, what, table.concat(wanted, ", "), tostring(state.shape)))
  end
  return n == 1 and state:unsqueeze(0) or state
end

local function with_step(input) return (input._p.ndim == 1 and input:unsqueeze(0) or input):unsqueeze(0) end

local function answer(input, state) return (input._p.ndim == 1 and state:squeeze(0) or state) end

local CELL, CELL_INPUT = "input_size:int>=0, hidden_size:int>0, bias:bool=true", "input:tensor, hx:tensor?"

recurrent.RNNCell = declare("RNNCell", {
  example = "> nn.RNNCell(10, 20)(lt.randn(3, 10)).shape\n{3, 20}",
  doc = "One step of an RNN: h' = nonlinearity(W_ih x + b_ih + W_hh h + b_hh), called with (input, h).",
  takes = CELL .. ", nonlinearity:enum(tanh|relu)=tanh",
  parameters = cell_parameters(1),
  input = CELL_INPUT,
  text = "!input_size !hidden_size bias? nonlinearity?",
})

function recurrent.RNNCell:forward(input, hx)
  local h = one_step(self, input, "hx", hx)
  local _, h_n = ops.rnn_layer(with_step(input), h, nil, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.nonlinearity)
  return answer(input, h_n)
end

recurrent.GRUCell = declare("GRUCell", {
  example = "> nn.GRUCell(10, 20)(lt.randn(3, 10)).shape\n{3, 20}",
  doc = "One step of a GRU, called with (input, h).",
  takes = CELL,
  parameters = cell_parameters(3),
  input = CELL_INPUT,
  text = "!input_size !hidden_size bias?",
})

function recurrent.GRUCell:forward(input, hx)
  local h = one_step(self, input, "hx", hx)
  local _, h_n = ops.gru_layer(with_step(input), h, nil, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
  return answer(input, h_n)
end

recurrent.LSTMCell = declare("LSTMCell", {
  example = "> h, c = nn.LSTMCell(10, 20)(lt.randn(3, 10))\n> h.shape, c.shape\n{3, 20}\n{3, 20}",
  doc = "One step of an LSTM, called with (input, {h, c}); it returns h and c.",
  takes = CELL,
  parameters = cell_parameters(4),
  input = "input:tensor, hx:tensors?",
  several = true,
  text = "!input_size !hidden_size bias?",
})

function recurrent.LSTMCell:forward(input, hx)
  if hx and #hx ~= 2 then fail(("LSTMCell: hx must be an array of two tensors, {h, c}, got %s"):format(arguments.describe(hx))) end
  local h, c = one_step(self, input, "h", hx and hx[1]), one_step(self, input, "c", hx and hx[2])
  local _, h_n, c_n = ops.lstm_layer(with_step(input), h, c, nil, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
  return answer(input, h_n), answer(input, c_n)
end

return recurrent
