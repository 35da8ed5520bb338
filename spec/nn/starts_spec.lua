--- New modules hold what PyTorch's hold: names, shapes and order of their state, versions, and starting values of the same distribution; a state_dict of PyTorch
--- fits. fixtures/starts.py writes what is expected.

local lt = require("lunette")
local cases = require("spec.nn.cases")
local ordered = require("lunette.nn.ordered")

local folder = debug.getinfo(1, "S").source:match("^@(.*)nn/starts_spec%.lua$") .. "fixtures/"

local function words_of(text, pattern)
  local list = {}
  for word in text:gmatch(pattern) do list[#list + 1] = word end
  return list
end

local function shape_of(word)
  local shape = {}
  for size in word:gmatch("%d+") do shape[#shape + 1] = tonumber(size) end
  return shape
end

-- "weight 2x3 0.1 0.2 0.3" as a table.
local function read_entry(text)
  local words = words_of(text, "%S+")
  return {name = words[1], shape = shape_of(words[2]), mean = tonumber(words[3]), std = tonumber(words[4]), largest = tonumber(words[5])}
end

local function read(line)
  local call, versions, entries = line:match("^([^\t]*)\t([^\t]*)\t(.*)$")
  local list = {}
  for i, text in ipairs(words_of(entries, "[^,]+")) do list[i] = read_entry(text) end
  return call, versions, list
end

local function versions_of(state)
  local list, metadata = {}, ordered.metadata(state)
  for prefix, own in pairs(metadata) do list[#list + 1] = prefix .. "=" .. tostring(own.version or 1) end
  table.sort(list)
  return table.concat(list, ",")
end

local function sorted(text)
  local list = words_of(text, "[^,]+")
  table.sort(list)
  return table.concat(list, ",")
end

-- Uniform numbers end at a bound, which the largest of n is near to; those of other distributions only have the spread.
local function check_values(want, t)
  t = t:to("float64")
  local n, mean, std, largest = t:numel(), t:mean():item(), math.sqrt(t:var({correction = 0}):item()), t:abs():max():item()
  local function near(what, got, expected, allowed)
    assert(math.abs(got - expected) <= allowed, ("%s: %s %.6g instead of %.6g, %.2g allowed"):format(want.name, what, got, expected, allowed))
  end
  near("mean", mean, want.mean, 5 * want.std / math.sqrt(n) + 1e-7)
  near("standard deviation", std, want.std, 5 * want.std / math.sqrt(2 * n) + 1e-7)
  local uniform = want.largest < 1.9 * want.std
  near("largest", largest, want.largest, uniform and want.largest * 12 / n + 1e-7 or math.max(1.8 * want.std, 1e-7))
  if uniform then assert(largest <= want.largest * (1 + 3 / n), want.name .. " leaves PyTorch's bounds") end
end

describe("as PyTorch's begin:", function()
  for line in io.lines(folder .. "starts.txt") do
    local call, versions, entries = read(line)

    it(call, function()
      local module = cases.construct(call)
      local state = module:state_dict()
      assert.are.equal(#entries, lt.len(state))
      assert.are.equal(sorted(versions), versions_of(state))
      for i, name in ipairs(lt.keys(state)) do
        assert.are.equal(entries[i].name, name)
        assert.are.same(entries[i].shape, {state[name].shape:unpack()})
        check_values(entries[i], state[name])
      end
    end)

    it(call .. " takes a state_dict of PyTorch", function()
      local module, given = cases.construct(call), {}
      for i, entry in ipairs(entries) do given[entry.name] = lt.full(entry.shape, i) end
      local missing, unexpected = module:load_state_dict(given)
      assert.are.same({{}, {}}, {missing, unexpected})
      for i, name in ipairs(lt.keys(module:state_dict())) do assert.are.equal(i, module:state_dict()[name]:reshape(-1)[0]:item()) end
    end)
  end
end)
