--- LUNETTE_TEST_DISTURBANCE=1 runs the specs while tensors are also computed with in finalizers, at every step of a collector that never rests, and
--- in a debug hook: nothing that a spec computes may change by that, and nothing that is computed here.

local COUNT = 997 -- instructions between two calls of the hook
local RING = 8 -- finalizers that wait for the next cycle

local function fail(...)
  io.stderr:write("spec/disturbance.lua: ", ("%s is %s instead of %s\n"):format(...))
  os.exit(1)
end

local function expect(what, got, want)
  if got ~= want then fail(what, tostring(got), tostring(want)) end
end

--- Calls of several shapes: of numbers, of sizes, of lists, with several results, in place, recorded.
local function compute(lt)
  local a, b = lt.full({2, 3}, 2), lt.full({3}, 0.5)
  local joined = lt.cat({a, lt.add(a, b, 2), a}, 1)
  expect("the shape of cat", joined.shape == {2, 9}, true)
  local largest, index = lt.max(joined, 1)
  expect("the largest element", largest:sum():item(), 6)
  expect("its index", index:sum():item(), 6)
  expect("a reshaped sum", (joined:reshape(3, 6):permute(1, 0) + 1):sum({0, 1}, true):item(), 60)
  expect("a sum in place", a:mul_(b):clamp(0, 0.75):sum():item(), 4.5)
end

local busy = false

local function disturb()
  local lt = package.loaded.lunette
  if busy or type(lt) ~= "table" or not rawget(lt, "cat") and not rawget(lt, "version") then return end
  busy = true
  local ok, message = pcall(compute, lt)
  busy = false
  if not ok then fail("a computation", message, "done") end
end

local function wait_for_cycle()
  getmetatable(newproxy(true)).__gc = function()
    disturb()
    wait_for_cycle()
  end
end

for _ = 1, RING do wait_for_cycle() end
collectgarbage("setpause", 0)
collectgarbage("setstepmul", 400)
debug.sethook(disturb, "", COUNT)
