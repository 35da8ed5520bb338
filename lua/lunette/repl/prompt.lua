--- The prompt: reads lines until they are a chunk, runs it, shows what it gives.

local commands = require("lunette.repl.commands")
local compile = require("lunette.repl.compile")
local interrupt = require("lunette.repl.interrupt")
local show = require("lunette.repl.show")

require("lunette.interpreted")()

local prompt = {}

-- Prints a failure: a message, or an error of trace.described.
local function report(failure)
  if type(failure) == "string" then failure = {message = failure, frames = {}} end
  if failure.interrupted then io.write("\n") end -- behind the terminal's ^C
  show.failure(failure)
  io.flush()
end

-- A single nil that a call returns is not worth a line.
local function show_and_remember(session, is_call)
  return function(...)
    local n = select("#", ...)
    if n > 0 and (...) ~= nil then session:remember((...)) end
    if n ~= 1 or (...) ~= nil or not is_call then show.values(...) end
    io.flush()
  end
end

-- Runs chunks until one fails. @return the failure
local function run(session, chunks)
  for _, chunk in ipairs(chunks) do
    local ok, failure = session:run(chunk, show_and_remember(session, chunk.is_call))
    if not ok then return failure end
  end
end

-- What a text does: a function that returns its failure. nil and "more" when it is not finished.
local function action_of(session, text)
  local command = commands.of(session, text)
  if command then return command end
  local chunks, message = compile.chunks(text)
  if message == "more" then return nil, message end
  return function()
    if not chunks then return message end
    return run(session, chunks)
  end
end

local function greet(lt)
  local threads = lt.get_num_threads()
  print(("Lunette %s, %d thread%s. ?name explains a name, Tab completes it, Ctrl-D leaves."):format(lt.version, threads, threads == 1 and "" or "s"))
end

-- One entry: lines until the text is finished. @return false at the end of input
local function enter(session, read, remember)
  local text, reason = read("> ")
  while text do
    local action = action_of(session, text)
    if action then
      remember(text)
      local failure = action()
      if failure then report(failure) end
      return true
    end
    local line
    line, reason = read(">> ")
    if not line and reason ~= "interrupted" then
      report("the input ended in the middle of a chunk")
      return false
    end
    text = line and text .. "\n" .. line
  end
  return reason == "interrupted"
end

--- A prompt on a terminal, until it is left. @return the exit status
function prompt.run(session)
  local complete = require("lunette.repl.complete")
  local read, remember = require("lunette.repl.input").open(function(line, word) return complete.words(session, line, word) end)
  interrupt.catch_for_prompt()
  greet(session.lt)
  while not session.done and enter(session, read, remember) do io.flush() end
  interrupt.release()
  if not session.done then print() end
  return 0
end

--- Input that comes from no terminal: the same without a greeting or a prompt; the first failure ends it. @return the exit status
function prompt.follow(session, fail)
  local text
  interrupt.catch_for_script()
  for line in io.lines() do
    text = text and text .. "\n" .. line or line
    local action = action_of(session, text)
    local failure = action and action()
    if failure then return fail(failure) end
    if action then text = nil end
    if session.done then return 0 end
  end
  if text then return fail("the input ended in the middle of a chunk") end
  return 0
end

return prompt
