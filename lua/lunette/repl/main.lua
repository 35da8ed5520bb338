--- The `lunette` command: scripts, code on the command line, a prompt.

local trace = require("lunette.trace")

require("lunette.interpreted")()

local USAGE = [=[
usage: lunette [options] [script.lua [arguments]]
  -e CODE     runs CODE, with lt, nn, F and optim loaded; an expression is printed. May be repeated
  -l NAME     requires the module NAME
  -i          opens a prompt after the script or the code
  -           runs what standard input holds as a script
  --version   says what was found: instruction set, threads, OpenBLAS, oneDNN, CUDA
  --help      shows this
Without a script and code it opens a prompt, or follows standard input where that is no terminal.]=]

local BAD_USAGE, FAILED, INTERRUPTED = 2, 1, 130

local function complain(text)
  io.stderr:write("lunette: ", text, "\n")
  return BAD_USAGE
end

-- Running ----------------------------------------------------------------------------------------------------------------------------------

local function report(failure)
  if type(failure) == "string" then failure = {message = failure, frames = {}} end
  io.stdout:flush()
  io.stderr:write("lunette: ", failure.message, "\n")
  if #failure.frames > 0 then io.stderr:write("stack traceback:\n\t", table.concat(failure.frames, "\n\t"), "\n") end
  return failure.interrupted and INTERRUPTED or FAILED
end

-- The status of a chunk, whose results go to `show`.
local function run(chunk, show, ...)
  local interrupt = require("lunette.repl.interrupt")
  interrupt.catch_for_script()
  local arguments, n = {...}, select("#", ...)
  local ok, failure = xpcall(function() return show(chunk(unpack(arguments, 1, n))) end, function(message)
    return trace.described(message, chunk, interrupt.take())
  end)
  interrupt.release()
  return ok and 0 or report(failure)
end

local function nothing() end

-- A string as it is, anything else as the prompt shows it.
local function print_results(...)
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    io.write(type(value) == "string" and value or require("lunette.repl.show").text(value), "\n")
  end
end

local steps = {}

steps["-e"] = function(code)
  require("lunette.repl.session").prepare(_G)
  local is_expression = loadstring("return " .. code)
  local chunk, message = loadstring(is_expression and "return (function(...) return ... end)(" .. code .. "\n)" or code, "=(-e)")
  if not chunk then return report(message) end
  return run(chunk, print_results)
end

steps["-l"] = function(name)
  return run(function() require(name) end, nothing)
end

-- `arg` as LuaJIT has it: the script at 0, its arguments behind, the command and its options before.
local function set_arguments(given, at)
  local list = {}
  for i = -1, #given do list[i - at] = given[i] end
  _G.arg = list
end

local function run_script(given, at)
  local path = given[at]
  set_arguments(given, at)
  local chunk, message = loadfile(path ~= "-" and path or nil)
  if not chunk then return report(message) end
  return run(chunk, nothing, unpack(given, at + 1))
end

local function version()
  local lt = require("lunette")
  local why = lt.cuda.is_available() and "" or lt.cuda.why_not()
  print(lt.show_config())
  print("CUDA: " .. (why == "" and ("yes, %d device%s"):format(lt.cuda.device_count(), lt.cuda.device_count() == 1 and "" or "s") or "no, " .. why))
  return 0
end

-- The command line -------------------------------------------------------------------------------------------------------------------------

local ANSWERS = {["--help"] = function() print(USAGE) return 0 end, ["--version"] = version}
ANSWERS["-h"], ANSWERS["-v"] = ANSWERS["--help"], version

--- {todo = {{option, value} ...}, script = index of the script or nil, interactive =}, or nil and what is wrong.
local function parse(given)
  local plan, i = {todo = {}}, 1
  while given[i] do
    local word = given[i]
    if word == "-" or word:sub(1, 1) ~= "-" then
      plan.script = i
      return plan
    end
    if word == "--" then
      plan.script = given[i + 1] and i + 1
      return plan
    end
    if steps[word] then
      if not given[i + 1] then return nil, word .. (word == "-e" and " needs code" or " needs the name of a module") end
      table.insert(plan.todo, {word, given[i + 1]})
      i = i + 1
    elseif word == "-i" then
      plan.interactive = true
    elseif ANSWERS[word] then
      plan.answer = plan.answer or ANSWERS[word]
    else
      return nil, "unknown option " .. word
    end
    i = i + 1
  end
  return plan
end

local function follow_input()
  local prompt, Session = require("lunette.repl.prompt"), require("lunette.repl.session")
  if require("lunette.ffi").C.ln_is_terminal(0) then return prompt.run(Session.new()) end
  return prompt.follow(Session.new(), report)
end

--- @param given the process's arguments, from 1. @return the exit status
return function(given)
  local plan, message = parse(given)
  if not plan then return complain(message .. "\n" .. USAGE) end
  if plan.answer then return plan.answer() end
  local status = 0
  for _, step in ipairs(plan.todo) do
    status = steps[step[1]](step[2])
    if status ~= 0 then break end
  end
  if plan.script and status == 0 then status = run_script(given, plan.script) end
  local nothing_else = #plan.todo == 0 and not plan.script
  if plan.interactive or nothing_else then return follow_input() end
  return status
end
