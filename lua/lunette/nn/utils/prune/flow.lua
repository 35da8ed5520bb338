--- Which layers of a model get what channels of a layer give: found by changing them and looking at what other layers are called with. So it does not matter what is
--- done between the layers, as long as each channel stays by itself.

local channels = require("lunette.nn.utils.prune.channels")
local create = require("lunette.create")
local trace = require("lunette.nn.trace")

local getmetatable, ipairs = getmetatable, ipairs

local flow = {}

-- The modules that are looked at: those without modules below them, and those with parameters of their own.
local function watched_modules(model)
  local out = {}
  for path, m in model:named_modules() do
    local inner = getmetatable(m)
    if #inner.module == 0 or #inner.parameter > 0 then out[#out + 1] = {path = path, m = m} end
  end
  return out
end

-- A run with `answers`: module -> function of its output and which call it is, which gives what is taken in its place. Returns the results and, for each module, how
-- often it was called, the tensors it was first called with, those of all calls, and what each gave.
local function record(model, values, modules, answers)
  local seen, watch = {}, {}
  for i, entry in ipairs(modules) do
    local note = {calls = 0, all = {}, outputs = {}}
    seen[entry.m] = note
    watch[i] = {entry.m,
      before = function(_, input)
        note.calls, note.input = note.calls + 1, note.input or trace.tensors(input)
        trace.tensors(input, note.all)
      end,
      after = function(m, _, output)
        note.outputs[note.calls] = output
        if answers and answers[m] then return answers[m](output, note.calls) end
      end,
    }
  end
  return trace.run(model, values, watch), seen
end

--- A model with an example: modules, and `base`, what they are called with and give.
function flow.session(model, values)
  local session = {model = model, values = values, modules = watched_modules(model)}
  flow.renew(session)
  return session
end

--- Runs the model again after it was changed.
function flow.renew(session) session.results, session.base = record(session.model, session.values, session.modules) end

local function differ(a, b)
  if #a ~= #b then return true end
  for i = 1, #a do
    if a[i].shape ~= b[i].shape or a[i]:ne(b[i]):any():item() then return true end
  end
  return false
end

-- Where along a dimension two tensors differ, as a set of positions.
local function changed_places(a, b, dim, into)
  if a.shape ~= b.shape then return into end
  local others, n = {}, a.shape[dim]
  for d = 0, #a.shape - 1 do
    if d ~= dim then others[#others + 1] = d end
  end
  local flags = a:ne(b):float()
  flags = (#others > 0 and flags:sum(others) or flags):tolist()
  for i = 1, n do
    if flags[i] ~= 0 then into[i - 1] = true end
  end
  return into
end

-- Adds a number to the channels of a layer's output that are in `set`, or to all.
local function disturbed(dim, set, sign)
  return function(output)
    local n, shape, values = output.shape[dim], {}, {}
    for i = 1, n do values[i] = (not set or set[i - 1]) and 1 or 0 end
    for d = 1, #output.shape do shape[d] = d - 1 - #output.shape == dim and -1 or 1 end
    local mask = create.tensor(values, {dtype = output.dtype, device = output.device}):reshape(shape)
    local size = 1 + output:abs():max():item()
    return output + (create.rand_like(output) + 0.5) * mask * (sign * size)
  end
end

-- What keeps the change from going on behind layers that mix channels: they give what they gave.
local function answers_for(session, layer, dim, set, sign)
  local answers = {}
  for _, entry in ipairs(session.modules) do
    local m = entry.m
    local role = channels.role(m)
    if role == "producer" or not role and #getmetatable(m).parameter > 0 then
      local outputs = session.base[m].outputs
      answers[m] = function(_, call) return outputs[call] end
    end
  end
  answers[layer] = disturbed(dim, set, sign)
  return answers
end

-- Adds to `places` what a changed module shows; a reason when it is one that cannot lose channels.
local function add_places(entry, note, base, places)
  local m = entry.m
  local role = channels.role(m)
  if not role then
    if #getmetatable(m).parameter > 0 then return ("they reach %s, a %s"):format(entry.path, m:_get_name()) end
    return nil
  end
  local dim = channels.input_dim(m, base.input[1])
  places[m] = changed_places(base.input[1], note.input[1], dim, places[m] or {})
end

--- The layers that get channels of `layer` (all, or those in the set `lost`): module -> set of positions along the channels of its input. nil and a reason where they
--- reach something that cannot lose channels.
function flow.users(session, layer, lost)
  local _, dim = channels.role(layer)
  local places = {}
  for _, sign in ipairs({1, -1}) do
    local results, seen = record(session.model, session.values, session.modules, answers_for(session, layer, dim, lost, sign))
    if differ(trace.tensors(results), trace.tensors(session.results)) then return nil, "they reach the output of the model" end
    for _, entry in ipairs(session.modules) do
      local m = entry.m
      local note, base = seen[m], session.base[m]
      if m ~= layer and note.calls > 0 and differ(note.all, base.all) then
        if note.calls > 1 then return nil, ("they reach %s, which is called %d times"):format(entry.path, note.calls) end
        local reason = add_places(entry, note, base, places)
        if reason then return nil, reason end
      end
    end
  end
  return places
end

return flow
