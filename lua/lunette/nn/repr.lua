--- Values as Python writes them, for the text of modules: True, (3, 3), 1e-05, 'mean'.

local arguments = require("lunette.arguments")

local repr = {}

--- A floating number: always with a point or an exponent.
function repr.float(x)
  if x ~= x then return "nan" end
  if x == math.huge then return "inf" end
  if x == -math.huge then return "-inf" end
  if x == math.floor(x) and math.abs(x) < 1e16 then return ("%.1f"):format(x) end
  for digits = 15, 17 do
    local text = ("%." .. digits .. "g"):format(x)
    if tonumber(text) == x then return text end
  end
end

function repr.bool(x) return x and "True" or "False" end

function repr.string(x) return "'" .. x .. "'" end

--- A number as it was most likely written: whole ones without a point.
function repr.number(x)
  if x == math.floor(x) and math.abs(x) < 1e16 then return ("%d"):format(x) end
  return repr.float(x)
end

local function tuple_of(words) return #words == 1 and "(" .. words[1] .. ",)" or "(" .. table.concat(words, ", ") .. ")" end

--- Sizes as a tuple: (3,), (3, 3).
function repr.tuple(sizes)
  local out = {}
  for i = 0, #sizes - 1 do out[i + 1] = repr.number(sizes[i]) end
  return tuple_of(out)
end

--- Any value.
function repr.value(x)
  local kind = type(x)
  if x == nil or rawequal(x, arguments.None) then return "None" end
  if kind == "boolean" then return repr.bool(x) end
  if kind == "number" then return repr.number(x) end
  if kind == "string" then return repr.string(x) end
  if arguments.is_size(x) then return repr.tuple(x) end
  if kind == "table" and getmetatable(x) == nil and #x > 0 then
    local out = {}
    for i, item in ipairs(x) do out[i] = repr.value(item) end
    return tuple_of(out)
  end
  return tostring(x)
end

return repr
