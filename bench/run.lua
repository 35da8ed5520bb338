--- Lunette beside PyTorch: every case in fresh processes, in turns, so that both meet the same machine.
--
--     make bench                       PYTHON=/path/to/python names the one that has PyTorch; ROUNDS=n, 3 by default
--     lunette bench/run.lua GROUP ...  some groups of cases: calls, random, networks, sequences, loops, functions, start
--
-- The table gives the median over the rounds of each round's median, and in brackets the least time seen; the ratio, of the medians and in brackets of
-- the least times, says how many times as fast as PyTorch Lunette is. A group with several numbers of threads shows for each side the one that serves it best.

local lt = require("lunette")

local here = arg[0]:match("^(.*/)") or "./"
local ROUNDS, STARTS = tonumber(os.getenv("ROUNDS")) or 3, 5
local LUNETTE = here .. "../lua/lunette/bin/lunette " .. here .. "cases.lua "
local PYTHON = os.getenv("PYTHON") or "python3"
local PYTORCH = PYTHON .. " " .. here .. "pytorch.py "

-- name of the case, what it is, the case of PyTorch where that is another
local GROUPS = {
  {
    name = "calls",
    {"add", "a + b, 32 floats"},
    {"add scope", "a + b, 32 floats, in lt.scope", "add"},
    {"add grad", "a + b, 32 floats, recorded"},
    {"add grad scope", "a + b, 32 floats, recorded, in lt.scope", "add grad"},
    {"linear", "Linear(8, 8), batch 8, forward and backward"},
    {"linear scope", "the same, in lt.scope", "linear"},
  },
  {
    name = "random",
    {"rand", "rand, 10^6 float32"},
    {"randn", "randn, 10^6 float32"},
    {"randint", "randint(0, 100), 10^6 int64"},
    {"bernoulli", "bernoulli_(0.3), 10^6 float32"},
    {"dropout", "dropout(x, 0.5), 10^6 float32"},
  },
  {
    name = "networks",
    threads = {1, 2},
    {"micro", "micro: MLP 2-16-16-1, batch 1, SGD step"},
    {"makemore", "makemore: embedding, MLP 30-200-27, batch 32, SGD step"},
    {"mlp", "mlp: 784-256-128-10, batch 64, Adam step"},
    {"lenet", "lenet: 2 x conv + batch norm, 28 x 28, batch 64, Adam"},
    {"resnet20", "resnet20: 32 x 32, batch 32, SGD with momentum"},
    {"charlstm", "charlstm: 2-layer LSTM 128, T 64, batch 32, Adam"},
    {"nanogpt", "nanogpt: 4 layers, width 128, T 64, batch 16, AdamW"},
  },
  {
    name = "sequences",
    {"gru", "2-layer GRU 128, T 64, batch 32, forward and backward"},
    {"attention", "causal attention, 16 x 4 heads, T 64, size 32, forward and backward"},
    {"attention 1024", "causal attention, 2 x 8 heads, T 1024, size 64, forward and backward"},
  },
  {
    name = "loops",
    {"relu channels-last", "relu, 32 x 64 x 56 x 56 channels-last"},
    {"clone channels-last", "clone, the same"},
    {"add permuted", "a + b, 512 x 64 x 48 permuted"},
    {"add rows of 3", "a + b, [10^6, 3] + [3]"},
    {"transposed copy", "contiguous of a transposed 2048 x 2048"},
    {"sum dim 1", "sum, 1024 x 1024, dim 1"},
    {"amax dim 1", "amax, dim 1"},
    {"amax dim 0", "amax, dim 0"},
    {"argmax dim 1", "argmax, dim 1"},
    {"argmax dim 0", "argmax, dim 0"},
    {"cumsum dim 1", "cumsum, dim 1"},
    {"cumsum dim 0", "cumsum, dim 0"},
    {"softmax dim 1", "softmax, dim 1"},
    {"softmax dim 0", "softmax, dim 0"},
    {"logical_and", "logical_and, 10^6 bool"},
    {"eq", "eq, 10^6 bool"},
    {"index_put_", "index_put_, 1 element of 10^6"},
    {"to float16", "float32 to float16, 10^6"},
    {"from float16", "float16 to float32"},
    {"to bfloat16", "float32 to bfloat16"},
    {"from bfloat16", "bfloat16 to float32"},
    {"index_add", "index_add, 10^5 x 16 into as many rows"},
    {"index_add of 1000 rows", "index_add, 10^5 x 16 into 1000 rows"},
    {"rows one by one", "4000 rows used one by one, with backward"},
    {"add 4M", "a + b, 2^22"},
    {"add 4M unscoped", "the same, without lt.scope", "add 4M"},
    {"gelu 1M", "gelu, 2^20"},
    {"gelu 1M backward", "gelu, 2^20, its gradient"},
    {"embedding", "embedding, 64 x 64 of 10^4 x 256"},
    {"bags", "embedding_bag, 512 means of 50 of 10^4 x 64"},
    {"bags backward", "the same, with its gradient"},
  },
  {name = "functions"},
  {name = "start", {"start", "import to first tensor"}},
}

-- Those of functions.txt, each at two sizes with its gradient.
for line in io.lines(here .. "functions.txt") do
  local name = line:match("^([^#;]-) ; ")
  for _, size in ipairs(name and {" 1e5", " 1e7"} or {}) do
    for _, part in ipairs{"", " backward"} do
      for _, group in ipairs(GROUPS) do
        if group.name == "functions" then table.insert(group, {name .. size .. part, name .. size .. part}) end
      end
    end
  end
end

--- The groups that the command names, or all.
local function chosen()
  if #arg == 0 then return GROUPS end
  local list = {}
  for i, name in ipairs(arg) do
    for _, group in ipairs(GROUPS) do
      if group.name == name then list[i] = group end
    end
    assert(list[i], "there is no group " .. name)
  end
  return list
end

--- The lines that a side prints, added to results[name][threads] = {medians =, least =}.
local function collect(command, results, threads)
  local pipe = assert(io.popen(("THREADS=%s %s"):format(threads, command)))
  for line in pipe:lines() do
    local name, median, least = line:match("^(.-)\t(%S+)\t(%S+)$")
    if name then
      results[name] = results[name] or {}
      local entry = results[name][threads] or {medians = {}, least = math.huge}
      results[name][threads] = entry
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

--- The entry of the number of threads that serves best.
local function best(entries)
  local found
  for _, entry in pairs(entries or {}) do
    if not found or median(entry.medians) < median(found.medians) then found = entry end
  end
  return found
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

local function ratio(mine, other)
  if not other then return "-" end
  return ("%.2f (%.2f)"):format(median(other.medians) / median(mine.medians), other.least / mine.least)
end

local has_torch = os.execute(PYTHON .. " -c 'import torch' 2> /dev/null") == 0
local ours, theirs, groups = {}, {}, chosen()
for _, group in ipairs(groups) do
  for round = 1, group.name == "start" and STARTS or ROUNDS do
    io.stderr:write(("%s, round %d\n"):format(group.name, round))
    for _, threads in ipairs(group.threads or {""}) do
      collect(LUNETTE .. group.name, ours, threads)
      if has_torch then collect(PYTORCH .. group.name, theirs, threads) end
    end
  end
end

local function line(...) print(("%-52s %24s %24s %14s"):format(...)) end

print(lt.show_config() .. "\n")
line("", "Lunette", has_torch and "PyTorch" or "PyTorch is not installed", "times as fast")
for _, group in ipairs(groups) do
  for _, case in ipairs(group) do
    local mine, other = best(ours[case[1]]), best(theirs[case[3] or case[1]])
    assert(mine, "bench/cases.lua gave no figure for " .. case[1])
    line(case[2], cell(mine), cell(other), ratio(mine, other))
  end
end
