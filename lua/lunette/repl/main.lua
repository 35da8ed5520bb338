--- The `lunette` command: `lunette script.lua arguments`, `lunette -e code`, or a prompt.

local USAGE = [=[
usage: lunette [script.lua [arguments]]
       lunette -e CODE
       lunette --version | --help
Without arguments it opens a prompt with lt, nn, F and optim loaded.]=]

--- The names that a prompt and `-e` find ready.
local function prepare(env)
  local lt = require("lunette")
  env.lt, env.nn, env.optim = lt, lt.nn, lt.optim
  env.F = lt.nn.functional
  env.help = require("lunette.repl.help").help
  return lt
end

local function report(message)
  io.stderr:write("lunette: ", tostring(message), "\n")
  return 1
end

local function traced(message)
  if type(message) ~= "string" then return message end
  return debug.traceback(message, 2)
end

local function run(chunk, ...)
  local ok, message = xpcall(chunk, traced, ...)
  if not ok then return report(message) end
  return 0
end

local function run_script(path, arguments)
  local chunk, message = loadfile(path)
  if not chunk then return report(message) end
  _G.arg = arguments
  return run(chunk, unpack(arguments))
end

--- @param arguments the process's arguments, from 1. @return the exit status
return function(arguments)
  local first = arguments[1]
  if first == "--help" or first == "-h" then
    print(USAGE)
    return 0
  elseif first == "--version" then
    print(require("lunette").show_config())
    return 0
  elseif first == "-e" then
    if not arguments[2] then return report("-e needs code\n" .. USAGE) end
    prepare(_G)
    local chunk, message = loadstring(arguments[2], "=(-e)")
    if not chunk then return report(message) end
    return run(chunk)
  elseif first and first:sub(1, 1) == "-" and #first > 1 then
    return report("unknown option " .. first .. "\n" .. USAGE)
  elseif first then
    local rest = {[0] = first}
    for i = 2, #arguments do rest[i - 1] = arguments[i] end
    return run_script(first, rest)
  end
  return require("lunette.repl.prompt").run(prepare(_G))
end
