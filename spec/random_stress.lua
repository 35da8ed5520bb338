--- Calls of the whole API by chance, in batches of which each is a process: none crashes, hangs, gives a tensor that contradicts itself or fails
--- inside Lunette. `busted --run=stress`; LUNETTE_STRESS_SEED (1) is the first batch's seed, LUNETTE_STRESS_BATCHES how many there are.

local guard = require("spec.stress.guard")

local PROCESSES, CALLS = 2, 1500
local FIRST = tonumber(os.getenv("LUNETTE_STRESS_SEED") or 1)
local BATCHES = tonumber(os.getenv("LUNETTE_STRESS_BATCHES") or (guard.sanitized and 30 or 60))

local function launch(seed) return guard.launch("random.lua", {seed, CALLS}) end

local function collect(job, seed, faults)
  local output, reason, call, at = guard.finish(job)
  for line in output:gmatch("[^\n]+") do faults[#faults + 1] = line end
  if not reason then return end
  faults[#faults + 1] = ("%s: %s, as call %s of seed %d; again: LUNETTE_STRESS_SEED=%d LUNETTE_STRESS_BATCHES=1 busted --run=stress spec/random_stress.lua"):format(
    reason, call, tostring(at), seed, seed)
end

describe("calls by chance", function()
  it("do what they do within their limits", function()
    local jobs, faults = {}, {}
    for seed = FIRST, FIRST + BATCHES - 1 + PROCESSES do
      local former = seed - PROCESSES
      if jobs[former] then collect(jobs[former], former, faults) end
      if seed < FIRST + BATCHES then jobs[seed] = launch(seed) end
    end
    assert(#faults == 0, #faults .. " faults:\n" .. table.concat(faults, "\n", 1, math.min(#faults, 60)))
  end)
end)
