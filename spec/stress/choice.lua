--- Arguments by chance: of the kinds that a signature names, where there is one.

local values = require("spec.stress.values")

local choice = {}

local function any(list) return list[math.random(#list)] end
choice.any = any

--- The kinds of argument worth trying where no signature is known, as often as they are listed.
local USUAL = {"tensor", "tensor", "tensor", "int", "int", "float", "bool", "ints", "dtype", "enum", "list", "object", "object", "absent"}

local function by_signature(params, skip)
  local list = {}
  for i = 1 + skip, #params do
    local p = params[i]
    if p.optional or p.default then
      if math.random(3) == 1 then break end
    end
    if p.choices and math.random(4) > 1 then
      list[#list + 1] = ("%q"):format(any{p.choices:match("^[^|]+"), p.choices:match("[^|]+$")})
    else
      list[#list + 1] = any(values.plausible[p.kind] or values.plausible.object)
    end
  end
  return list
end

--- Texts of arguments that the function might well take, and the parameters that they were chosen for, where these are known.
function choice.arguments(entry)
  if entry.signatures and math.random(5) > 1 then
    local params = any(entry.signatures)
    return by_signature(params, entry.self and 1 or 0), params
  end
  local list = {}
  for i = 1, math.random(0, 4) do list[i] = any(values.plausible[any(USUAL)]) end
  return list
end

return choice
