--- Every public function and method with nonsense in each of its arguments: a call returns or raises an error that a user can read, within a
--- second of processor time, and nothing else. `busted --run=stress`; spec/stress/nonsense.lua makes the calls.

local guard = require("spec.stress.guard")

local PROCESSES, SHOWN = 2, 200

local function sweep(job, faults)
  while true do
    local output, reason, call, at = guard.finish(job)
    for line in output:gmatch("[^\n]+") do faults[#faults + 1] = line end
    if not reason then return end
    faults[#faults + 1] = call .. "\t" .. reason
    if not at then return end
    job = guard.launch("nonsense.lua", {at + PROCESSES, PROCESSES})
  end
end

describe("with nonsense", function()
  it("no call hangs, crashes or fails inside Lunette", function()
    local jobs, faults = {}, {}
    for i = 1, PROCESSES do jobs[i] = guard.launch("nonsense.lua", {i, PROCESSES}) end
    for i = 1, PROCESSES do sweep(jobs[i], faults) end
    assert(#faults == 0, #faults .. " calls:\n" .. table.concat(faults, "\n", 1, math.min(#faults, SHOWN)))
  end)
end)
