--- nn.utils: state dicts of modules that stood inside others.

local arguments = require("lunette.arguments")
local define = require("lunette.define")
local each = require("lunette.each")
local ordered = require("lunette.nn.ordered")

local ipairs, type = ipairs, type

local prefix = {}
local declare = define.into(prefix, "nn.utils")

-- The name without the text it begins with.
local function shortened(name, text)
  if type(name) == "string" and name:sub(1, #text) == text then return name:sub(#text + 1) end
  return name
end

-- The names of what stands beside a map end before the dot: "module" and "module.fc" for "module.".
local function shorten_metadata(metadata, text)
  local renamed = {}
  for name, value in each(metadata) do
    renamed[name .. "." == text and "" or shortened(name, text)] = value
    metadata[name] = nil
  end
  for name, value in each(renamed) do metadata[name] = value end
end

declare("consume_prefix_in_state_dict_if_present", {
  doc = "Takes prefix off the names of a state dict that begin with it, in place and in order, as of \"module.\" after training in DistributedDataParallel. Returns "
    .. "the state dict.",
  takes = "state_dict:map, prefix:string",
  example = "> sd = nn.ModuleDict{module = nn.Linear(1, 1)}:state_dict()\n> unpack(lt.keys(nn.utils.consume_prefix_in_state_dict_if_present(sd, \"module.\")))\nweight\nbias",
  call = function(state_dict, text)
    local pairs_of = ordered.items(state_dict)
    local seen = {}
    for _, pair in ipairs(pairs_of) do
      local name = shortened(pair[1], text)
      if seen[name] then arguments.fail(("consume_prefix_in_state_dict_if_present: two entries would be named '%s'"):format(tostring(name))) end
      seen[name] = true
    end
    for _, pair in ipairs(pairs_of) do state_dict[pair[1]] = nil end
    for _, pair in ipairs(pairs_of) do state_dict[shortened(pair[1], text)] = pair[2] end
    if ordered.metadata(state_dict) then shorten_metadata(ordered.metadata(state_dict), text) end
    return state_dict
  end,
})

return prefix
