--- Where an error came from, told by the frames of the script or the prompt: Lunette's own and C's are left out.

local errors = require("lunette.errors")

local getinfo, concat, type, tostring = debug.getinfo, table.concat, type, tostring

require("lunette.interpreted")()

local trace = {}
local HEADING, LEAST, MOST = "\nstack traceback:", 10, 22

local function frame_at(thread, level)
  if thread then return getinfo(thread, level, "nSlf") end
  return getinfo(level + 2, "nSlf")
end

local function what_of(info, main)
  if info.what == "main" or info.func == main then return "main chunk" end
  if info.name and info.name ~= "run" then return "function '" .. info.name .. "'" end
  return ("function <%s:%d>"):format(info.short_src, info.linedefined)
end

-- The command and the prompt stand below everything they run.
local function is_command(info) return errors.is_own(info.source) and info.source:find("[/\\]repl[/\\]%w+%.lua$") ~= nil end

--- Frames as texts "file:line: in function 'name'", innermost first: from a level on (1 is the caller), or of a coroutine. `main` is a function to be called
--- the main chunk.
function trace.frames(level, thread, main)
  local list = {}
  local info = frame_at(thread, level)
  while info and not is_command(info) do
    if info.what ~= "C" and not errors.is_own(info.source) then
      list[#list + 1] = ("%s:%d: in %s"):format(info.short_src, info.currentline, what_of(info, main))
    end
    level = level + 1
    info = frame_at(thread, level)
  end
  if #list > MOST then
    local gap = ("... %d more"):format(#list - 2 * LEAST)
    for i = 1, LEAST do list[LEAST + 1 + i] = list[#list - LEAST + i] end
    list[LEAST + 1] = gap
    for i = #list, 2 * LEAST + 2, -1 do list[i] = nil end
  end
  return list
end

--- The same as a text to stand behind a message, as debug.traceback writes it.
function trace.text(level, thread)
  local frames = trace.frames(thread and level or level + 1, thread)
  return HEADING .. (#frames > 0 and "\n\t" or "") .. concat(frames, "\n\t")
end

local function text_of(message)
  if type(message) == "string" then return message end
  local ok, text = pcall(tostring, message)
  if message == nil then return "nil" end
  return ok and text or "(an error object of type " .. type(message) .. ")"
end

--- In a message handler: {message =, frames =, interrupted =} of an error. A trace that the message carries already is taken for its frames.
function trace.described(message, main, interrupted)
  local text = text_of(message)
  local head, carried = text:match("^(.-)" .. HEADING .. "(.*)$")
  if not head then return {message = text, frames = trace.frames(2, nil, main), interrupted = interrupted} end
  local frames = {}
  for line in carried:gmatch("\n\t([^\n]+)") do frames[#frames + 1] = line end
  return {message = head, frames = frames, interrupted = interrupted}
end

return trace
