--- Slices of containers: the positions that "1:3", "::2" or ":-1" names, as Python counts them.

local arguments = require("lunette.arguments")

local slices = {}

local function bound(text, default, n, low, high)
  if text == "" then return default end
  local i = tonumber(text)
  if i < 0 then i = i + n end
  return math.max(low, math.min(high, i))
end

--- Iterates over the positions of `text` in 0 ... n - 1; `owner` is named when the text is no slice.
function slices.positions(owner, text, n)
  local from, to, step = text:gsub("%s", ""):match("^(%-?%d*):(%-?%d*):?(%-?%d*)$")
  if not from or from == "-" or to == "-" or step == "-" or tonumber(step) == 0 then
    arguments.fail(("%s: '%s' is no slice; write \"1:3\", \":-1\" or \"::2\""):format(owner, text))
  end
  local by = tonumber(step) or 1
  local i, stop
  if by > 0 then
    i, stop = bound(from, 0, n, 0, n), bound(to, n, n, 0, n)
  else
    i, stop = bound(from, n - 1, n, -1, n - 1), bound(to, -1, n, -1, n - 1)
  end
  return function()
    if by > 0 and i >= stop or by < 0 and i <= stop then return nil end
    i = i + by
    return i - by
  end
end

return slices
