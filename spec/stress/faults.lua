--- Tells an error that a user can read from one that shows something inside Lunette went wrong.

local faults = {}

local INNER = {"attempt to ", "bad argument #", "got no value", "stack overflow", "cannot convert", "has no member named", "' cannot be indexed",
  "metamethod", "is not callable"}

--- What is wrong with the message of an error, or nil: it must blame the file that made the call and not come from inside Lua.
function faults.of(message)
  if type(message) ~= "string" then return "an error that is no string: " .. tostring(message) end
  if message:find("raised by the callback", 1, true) or message == "not enough memory" then return nil end
  if not message:find("^[^\n:]*spec/stress/%w+%.lua:%d+: ") and not message:find("^call:1: ") then return "blames another line: " .. message end
  for _, inner in ipairs(INNER) do
    if message:find(inner, 1, true) then return "not worded: " .. message end
  end
end

local said = {}

--- Writes down a fault; one that was seen at the same line of Lunette before is the same.
function faults.complain(call, problem)
  local key = problem:match("lunette/([%w_/]+%.lua:%d+):") or call:match("^[%w_.:]*") .. problem
  if said[key] then return end
  said[key] = true
  io.write(call, "\t", (problem:gsub("%s+", " ")), "\n")
  io.flush()
end

return faults
