--- nn.utils.prune.compact: a smaller model without the channels that pruning left empty.
--
-- Channels of a linear layer or a convolution can go when all weights that make them are 0 (what they still give, a constant, goes into the biases behind), or when no
-- layer behind weighs them. Each layer is tried by itself, and what a change made of the results of the model is looked at before it stays.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local copy = require("lunette.nn.copy")
local create = require("lunette.create")
local base = require("lunette.ffi")
local channels = require("lunette.nn.utils.prune.channels")
local derived = require("lunette.nn.derived")
local flow = require("lunette.nn.utils.prune.flow")
local method = require("lunette.nn.utils.prune.method")
local summary = require("lunette.nn.summary")
local trace = require("lunette.nn.trace")

local abs, floor, max, min, sort = math.abs, math.floor, math.max, math.min, table.sort
local ipairs, next, pcall, setmetatable, tostring = ipairs, next, pcall, setmetatable, tostring

local NEAR = 1e-4 -- differences, relative to the largest result, that count as rounding
local TIMES = 7   -- runs, the fastest of which is the time

-- Sets -------------------------------------------------------------------------------------------------------------------------------------

local function sorted(set)
  local out = {}
  for i in each(set) do out[#out + 1] = i end
  sort(out)
  return out
end

local function longs(list, like) return create.tensor(list, {dtype = "int64", device = like.device}) end

-- The positions of 0 ... n - 1 that are not in a set.
local function rest(n, set)
  local out = {}
  for i = 0, n - 1 do
    if not set[i] then out[#out + 1] = i end
  end
  return out
end

-- Layers behind ----------------------------------------------------------------------------------------------------------------------------

-- The layers behind `layer`: {m, role, dim, of}, `of` the channel that each position of the input belongs to.
local function users_of(session, layer, n)
  local places, reason = flow.users(session, layer)
  if not places then return nil, reason end
  local users = {}
  for _, entry in ipairs(session.modules) do
    local set = places[entry.m]
    if set then
      local list, of = sorted(set), {}
      if #list == 0 or #list % n ~= 0 then return nil, ("%d places of %s do not belong to %d channels"):format(#list, entry.path, n) end
      local size = #list / n
      for i, position in ipairs(list) do of[position] = floor((i - 1) / size) end
      users[#users + 1] = {m = entry.m, path = entry.path, role = channels.role(entry.m), of = of, dim = channels.input_dim(entry.m, session.base[entry.m].input[1])}
    end
  end
  if #users == 0 then return nil, "no layer behind gets them" end
  return users
end

-- The positions of a user's input that belong to the channels of a set.
local function positions(user, lost)
  local out = {}
  for position, channel in each(user.of) do
    if lost[channel] then out[position] = true end
  end
  return out
end

-- Are the channels of `lost`, and no others, where they are believed to be?
local function is_separate(session, layer, users, lost)
  local places = flow.users(session, layer, lost)
  if not places then return false end
  for _, user in ipairs(users) do
    local expected = positions(user, lost)
    for position in each(places[user.m] or {}) do
      if not expected[position] then return false end
    end
    places[user.m] = nil
  end
  return next(places) == nil
end

-- Which channels go ------------------------------------------------------------------------------------------------------------------------

local function set_of(flags)
  local out = {}
  for i, flag in ipairs(flags:float():tolist()) do
    if flag ~= 0 then out[i - 1] = true end
  end
  return out
end

-- Channels that no layer behind weighs: module -> its dead inputs is noted in user.dead.
local function add_unused(users, n, lost)
  local used = {}
  for _, user in ipairs(users) do
    if user.role == "producer" then
      user.dead = set_of(channels.dead_inputs(user.m))
      for position, channel in each(user.of) do used[channel] = used[channel] or not user.dead[position] end
    end
  end
  for channel = 0, n - 1 do
    if used[channel] == false then lost[channel] = true end
  end
end

-- The input of a layer as rows, one for each position along its channels.
local function rows(input, dim) return (input:transpose(0, dim):flatten(1)) end

-- What each position of an input holds, where it is the same everywhere: arrays of the values and of whether it is.
local function constants(input, dim)
  if #input.shape == 1 then return input:tolist(), nil end
  local all = rows(input, dim)
  local first = all:select(1, 0)
  local spread = (all - first:unsqueeze(1)):abs():amax(1)
  return first:tolist(), spread:le((first:abs() + 1) * 1e-6):float():tolist()
end

-- Takes channels out of `lost` whose input to a consumer is weighed but not one number, or one that a convolution does not keep to its edges. Returns how many.
local function keep_needed(session, other, user, lost)
  local kept, input = 0, session.base[user.m].input[1]
  local values, same = constants(input, user.dim)
  local values2, same2 = constants(other.base[user.m].input[1], user.dim)
  local keeps = channels.keeps_constants(user.m)
  user.constant = {}
  for position, channel in each(user.of) do
    if lost[channel] and not user.dead[position] then
      local i = position + 1
      local constant = same and same[i] ~= 0 and same2[i] ~= 0 and abs(values[i] - values2[i]) <= 1e-6 * (1 + abs(values[i]))
      if not constant or values[i] ~= 0 and not keeps then
        lost[channel], kept = nil, kept + 1
      else
        user.constant[position] = values[i]
      end
    end
  end
  return kept
end

-- Taking them out --------------------------------------------------------------------------------------------------------------------------

local function take_inputs(undo, session, user, lost)
  local input, gone = session.base[user.m].input[1], positions(user, lost)
  local keep = longs(rest(input.shape[user.dim], gone), input)
  if user.role == "follower" then return channels.keep_both(undo, user.m, keep) end
  local list, values, some = sorted(gone), {}, false
  for i, position in ipairs(list) do
    values[i] = user.constant[position] or 0
    some = some or values[i] ~= 0
  end
  local constant = some and create.tensor(values, {dtype = user.m.weight.dtype, device = input.device}) or nil
  channels.keep_inputs(undo, user.m, keep, longs(list, input), constant)
end

local function near(a, b)
  a, b = trace.tensors(a), trace.tensors(b)
  for i = 1, max(#a, #b) do
    if not a[i] or not b[i] or a[i].shape ~= b[i].shape then return false end
    local scale = a[i]:numel() > 0 and a[i]:double():abs():max():item() or 0
    if a[i]:numel() > 0 and (a[i]:double() - b[i]:double()):abs():max():item() > NEAR * (scale + 1e-3) then return false end
  end
  return true
end

-- Runs the changed model: nil when it does as before, else why not.
local function fault(session, other)
  for _, s in ipairs({session, other}) do
    local ok, results = pcall(trace.run, s.model, s.values)
    if not ok then return "the model does not run without them: " .. tostring(results) end
    if not near(s.results, results) then return "the model gives other results without them" end
  end
end

local function take(session, other, layer, users, lost, n)
  local undo = {}
  channels.keep_outputs(undo, layer, longs(rest(n, lost), layer.weight))
  for _, user in ipairs(users) do take_inputs(undo, session, user, lost) end
  local why = fault(session, other)
  if why then
    for i = #undo, 1, -1 do undo[i]() end
    return why
  end
  flow.renew(session)
  flow.renew(other)
end

local function count(set) return #sorted(set) end

local NOT_CONSTANT = "what they give is no constant behind, or one that the zeros around a convolution would cut off (its bias can be pruned too)"

-- Tries one layer. Returns how many channels it lost, and why channels that are empty stay.
local function try(session, other, layer, n)
  local lost = set_of(channels.dead_outputs(layer))
  local users, reason = users_of(session, layer, n)
  if not users then return 0, count(lost) > 0 and reason or nil end
  add_unused(users, n, lost)
  if count(lost) == n then lost[0] = nil end
  local kept = 0
  for _, user in ipairs(users) do
    if user.role == "producer" then kept = kept + keep_needed(session, other, user, lost) end
  end
  local k = count(lost)
  if k == 0 then return 0, kept > 0 and NOT_CONSTANT or nil end
  if not is_separate(session, layer, users, lost) then return 0, "they mix with others before the next layer" end
  reason = take(session, other, layer, users, lost, n)
  if reason then return 0, reason end
  return k, kept > 0 and NOT_CONSTANT or nil
end

-- The report -------------------------------------------------------------------------------------------------------------------------------

local function seconds(model, values)
  local least = math.huge
  for i = 0, TIMES do
    local start = base.C.ln_clock()
    local first = trace.tensors(trace.run(model, values))[1]
    if first ~= nil then first:to("cpu") end
    if i > 0 then least = min(least, base.C.ln_clock() - start) end -- in the first one memory is allocated
  end
  return least
end

local function text_of(report)
  local before, after = report.before, report.after
  local lines = {summary.aligned({
    {"", "", "before", "after"},
    {"parameters", "", summary.grouped(before.parameters), summary.grouped(after.parameters)},
    {"MACs", "", summary.grouped(before.macs), summary.grouped(after.macs)},
    {"time", "", ("%.2f ms"):format(before.seconds * 1e3), ("%.2f ms"):format(after.seconds * 1e3)},
  })}
  for _, row in ipairs(report.removed) do lines[#lines + 1] = ("%s: %d of %d channels removed"):format(row.path, row.channels, row.of) end
  for _, row in ipairs(report.dense) do lines[#lines + 1] = ("%s: empty channels stay: %s"):format(row.path, row.reason) end
  return table.concat(lines, "\n")
end

local meta = {__tostring = text_of}

local function measure(model, values)
  local s = summary.of(model, values)
  return {parameters = s.parameters, macs = s.macs, seconds = seconds(model, values)}
end

-- Makes what prune's methods computed plain parameters.
local function unpruned(model)
  local small = copy.deepcopy(model)
  for m in small:modules() do
    local found = derived.find(m, method.Method)
    while found do
      found:remove(m)
      found = derived.find(m, method.Method)
    end
  end
  return small
end

-- The same arguments with other numbers in floating tensors, so that a constant can be told from chance.
local function other_values(values)
  local out = {n = values.n}
  for i = 1, values.n do
    local v = values[i]
    out[i] = arguments.is_tensor(v) and v.dtype:find("float", 1, true) and create.randn_like(v) or v
  end
  return out
end

-- The layers that may lose outputs: called once for the example.
local function layers_of(session)
  local out = {}
  for _, entry in ipairs(session.modules) do
    if channels.role(entry.m) == "producer" and session.base[entry.m].calls == 1 then out[#out + 1] = entry end
  end
  return out
end

--- A smaller copy of a model and the report.
return function(model, example)
  local values = trace.values("compact", example)
  local small = unpruned(model)
  local report = setmetatable({removed = {}, dense = {}, before = measure(model, values)}, meta)
  local session, other = flow.session(small, values), flow.session(small, other_values(values))
  for _, entry in ipairs(layers_of(session)) do
    local n = entry.m.weight.shape[0]
    local k, reason = try(session, other, entry.m, n)
    if k > 0 then report.removed[#report.removed + 1] = {path = entry.path, channels = k, of = n} end
    if reason then report.dense[#report.dense + 1] = {path = entry.path, reason = reason} end
  end
  report.after = measure(small, values)
  return small, report
end
