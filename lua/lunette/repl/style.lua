--- Colours, where the terminal has them: NO_COLOR and TERM=dumb are heeded.

local base = require("lunette.ffi")

require("lunette.interpreted")()

local style = {}

local CODES = {error = "1;31", string = "32", name = "36", faint = "2", title = "1"}

local function has_colours()
  local term, no = os.getenv("TERM"), os.getenv("NO_COLOR")
  return base.C.ln_is_terminal(1) and term ~= nil and term ~= "" and term ~= "dumb" and (no == nil or no == "")
end

local colours

--- The text in the colour of a kind: error, string, name, faint, title.
function style.paint(kind, text)
  if colours == nil then colours = has_colours() end
  if not colours then return text end
  return ("\27[%sm%s\27[0m"):format(CODES[kind], text)
end

return style
