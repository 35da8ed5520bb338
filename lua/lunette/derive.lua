--- Signatures made from others: a function that differs from its operator in one argument, a layer that keeps the options of its function,
--- name the arguments that they share and leave kind and default where they stand.

local split = require("lunette.signature").split

require("lunette.interpreted")() -- runs once a declaration

local derive = {}

--- A parameter's text as its name, the kind with its range, and what follows: "?", "=default", "!" or "".
local function read(part)
  local name, rest = part:match("^([%w_*]+)(.*)$")
  local kind, tail = rest:gsub("([<>])=", "%1\1"):match("^:?([^=?!]*)(.*)$")
  return {name = name, kind = kind:gsub("\1", "="), tail = tail:gsub("\1", "=")}
end

--- The parameters of a signature in order: {name, kind, tail} each; `*` stands among them.
function derive.params(text)
  local out = {}
  for i, part in ipairs(split((text:gsub("%s+", "")), ",")) do out[i] = read(part) end
  return out
end

--- The signature of parameters as `params` gives them.
function derive.text(params)
  local out = {}
  for i, param in ipairs(params) do out[i] = param.name .. (param.kind ~= "" and ":" .. param.kind or "") .. param.tail end
  return table.concat(out, ", ")
end

--- The signature `text` with what it leaves out taken from `source`, another signature: `name` alone is the parameter of that name there,
--- `name:kind` has another kind, `name[0,1]` the same with a range, `name=default` another default, and `name!` has none.
function derive.signature(text, source)
  local known, params = {}, derive.params(text)
  for _, param in ipairs(derive.params(source)) do known[param.name] = param end
  for _, param in ipairs(params) do
    local from = known[param.name]
    if from then
      if param.tail == "" then param.tail = from.tail end
      if param.kind == "" then param.kind = from.kind elseif param.kind:find("^[%[%(<>]") then param.kind = from.kind .. param.kind end
    end
    if param.tail == "!" then param.tail = "" end
  end
  return derive.text(params)
end

return derive
