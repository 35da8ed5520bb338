--- What the prompt understands beside Lua: ?name, name?, %time, %timeit, %who, %reset, quit, exit.

local base = require("lunette.ffi")
local compile = require("lunette.repl.compile")
local show = require("lunette.repl.show")

require("lunette.interpreted")()

local commands = {}
local clock = base.C.ln_clock

-- Times ------------------------------------------------------------------------------------------------------------------------------------

local UNITS = {{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}, {1e-9, "ns"}}

local function duration(seconds)
  for _, unit in ipairs(UNITS) do
    if seconds >= unit[1] or unit[1] == 1e-9 then return ("%.3g %s"):format(seconds / unit[1], unit[2]) end
  end
end

local function timed(session, text)
  local chunks, message = compile.chunks(text)
  if not chunks or not chunks[1] then return false, message or "nothing to time" end
  return session:run(chunks[1], function(...)
    if select("#", ...) > 0 then session:remember((...)) end
    show.values(...)
  end)
end

function commands.time(session, text)
  local start, cpu = clock(), os.clock()
  local ok, failure = timed(session, text)
  if ok then print(("time: %s, processor: %s"):format(duration(clock() - start), duration(os.clock() - cpu))) end
  return ok, failure
end

local LEAST, RUNS = 0.2, 7 -- seconds of a run, and runs

-- A function of n that evaluates the text n times.
local function repeated(text)
  local chunks, message = compile.chunks("return function(__n) for __i = 1, __n do local _ = " .. text .. " end end")
  if not chunks then chunks = compile.chunks("return function(__n) for __i = 1, __n do " .. text .. " end end") end
  return chunks and chunks[1], message
end

local function seconds_of(fn, n)
  local start = clock()
  fn(n)
  return clock() - start
end

local function measure(fn)
  local n = 1
  fn(n)
  while seconds_of(fn, n) < LEAST do n = n * (n < 1e9 and 10 or 1e3) end
  local times, mean, square = {}, 0, 0
  if n > 1 then n = n / 10 end
  n = math.max(1, math.floor(n * LEAST / math.max(seconds_of(fn, n), 1e-9)))
  for i = 1, RUNS do
    times[i] = seconds_of(fn, n) / n
    mean = mean + times[i] / RUNS
  end
  for i = 1, RUNS do square = square + (times[i] - mean) ^ 2 / RUNS end
  print(("%s +- %s a loop (%d runs of %d)"):format(duration(mean), duration(math.sqrt(square)), RUNS, n))
end

function commands.timeit(session, text)
  local plain, message = compile.chunks(text)
  if not plain or not plain[1] then return false, message or "nothing to time" end
  local chunk, reason = repeated(text)
  if not chunk then return false, reason end
  return session:run(chunk, measure)
end

-- Names ------------------------------------------------------------------------------------------------------------------------------------

function commands.who(session)
  local names = session:names()
  print(#names > 0 and table.concat(names, " ") or "no names yet")
  return true
end

function commands.reset(session)
  session:reset()
  collectgarbage()
  return true
end

-- Help about an expression when it has a value, else about the text as a name.
local function explain(session, text)
  local help = require("lunette.repl.help").help
  if text == "" then return help() end
  local chunks = text:find("^[%w_%.:%[%]\"]+$") and compile.chunks((text:gsub(":([%a_][%w_]*)$", ".%1")))
  local value
  if chunks and chunks[1] then
    session:run(chunks[1], function(...) value = ... end)
  end
  if value == nil or type(value) == "boolean" or type(value) == "number" then value = text end
  local ok, failure = session:protected(function() help(value) end)
  if not ok then return failure end
end

-- All --------------------------------------------------------------------------------------------------------------------------------------

local NAMES = {"time", "timeit", "who", "reset", "help"}

local function unknown(name) return ("there is no command %%%s: there are %%%s, ?name and quit"):format(name, table.concat(NAMES, ", %")) end

--- What the text does when it is a command: a function that returns its failure, a message or an error of trace.described, if it fails. nil for other text.
function commands.of(session, text)
  local line = text:match("^%s*(.-)%s*$")
  local word = line:match("^(%a+)$") or line:match("^(%a+)%(%)$")
  if (word == "quit" or word == "exit") and session.env[word] == nil then
    return function() session.done = true end
  end
  local asked = line:match("^%?%s*(.*)$") or line:match("^([%w_%.:]+)%?$")
  local name, rest = line:match("^%%(%a+)%s*(.*)$")
  if asked or name == "help" then return function() return explain(session, asked or rest) end end
  if not name then return nil end
  return function()
    if not table.concat(NAMES, " "):find("%f[%a]" .. name .. "%f[%A]") then return unknown(name) end
    local ok, failure = commands[name](session, rest)
    if not ok then return failure end
  end
end

return commands
