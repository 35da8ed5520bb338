--- Lunette beside PyTorch: every case in fresh processes, in turns, so that both meet the same machine.
--
--     make bench                       PYTHON=/path/to/python names the one that has PyTorch; ROUNDS=n, 3 by default
--
-- The table gives the median over the rounds of each round's median, and in brackets the least time seen.

local lt = require("lunette")

local here = arg[0]:match("^(.*/)") or "./"
local ROUNDS, STARTS = tonumber(os.getenv("ROUNDS")) or 3, 5
local LUNETTE = here .. "../lua/lunette/bin/lunette " .. here .. "cases.lua"
local PYTHON = os.getenv("PYTHON") or "python3"

local CASES = {
  {"add", "a + b, 32 floats"},
  {"add scope", "a + b, 32 floats, in lt.scope", "add"},
  {"add grad", "a + b, 32 floats, recorded"},
  {"add grad scope", "a + b, 32 floats, recorded, in lt.scope", "add grad"},
  {"linear", "Linear(8, 8), batch 8, forward and backward"},
  {"linear scope", "the same, in lt.scope", "linear"},
  {"rand", "rand, 10^6 float32"},
  {"randn", "randn, 10^6 float32"},
  {"randint", "randint(0, 100), 10^6 int64"},
  {"bernoulli", "bernoulli_(0.3), 10^6 float32"},
  {"dropout", "dropout(x, 0.5), 10^6 float32"},
  {"mlp step", "MLP 784-256-128-10, batch 64, Adam step"},
  {"conv step", "2 x conv + batch norm, 28 x 28, batch 64, Adam step"},
  {"start", "import to first tensor"},
}

--- The lines that a side prints, added to results[name] = {medians =, least =}.
local function collect(command, results)
  local pipe = assert(io.popen(command))
  for line in pipe:lines() do
    local name, median, least = line:match("^(.-)\t(%S+)\t(%S+)$")
    if name then
      local entry = results[name] or {medians = {}, least = math.huge}
      results[name] = entry
      entry.medians[#entry.medians + 1] = tonumber(median)
      entry.least = math.min(entry.least, tonumber(least))
    end
  end
  pipe:close()
end

local function median(values)
  table.sort(values)
  return values[math.floor(#values / 2) + 1]
end

local function time(microseconds)
  if microseconds < 1000 then return ("%.2f us"):format(microseconds) end
  if microseconds < 1e6 then return ("%.2f ms"):format(microseconds / 1e3) end
  return ("%.2f s"):format(microseconds / 1e6)
end

local function cell(entry)
  if not entry then return "-" end
  return ("%s (%s)"):format(time(median(entry.medians)), time(entry.least))
end

local has_torch = os.execute(PYTHON .. " -c 'import torch' 2> /dev/null") == 0
local ours, theirs = {}, {}
for round = 1, ROUNDS do
  io.stderr:write(("round %d of %d\n"):format(round, ROUNDS))
  collect(LUNETTE, ours)
  if has_torch then collect(PYTHON .. " " .. here .. "pytorch.py", theirs) end
end
for _ = 1, STARTS do
  collect(LUNETTE .. " start", ours)
  if has_torch then collect(PYTHON .. " " .. here .. "pytorch.py start", theirs) end
end

print(lt.show_config())
print(("\n%-52s %26s %26s %10s"):format("", "Lunette", has_torch and "PyTorch" or "PyTorch is not installed", "ratio"))
for _, case in ipairs(CASES) do
  local mine, other = ours[case[1]], theirs[case[3] or case[1]]
  assert(mine, "bench/cases.lua gave no figure for " .. case[1])
  local ratio = other and ("%.1f x"):format(median(other.medians) / median(mine.medians)) or "-"
  print(("%-52s %26s %26s %10s"):format(case[2], cell(mine), cell(other), ratio))
end
