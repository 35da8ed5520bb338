--- The prompt: reads a line, evaluates it, prints what it gives. GNU readline edits the line and keeps a history where it is installed.

local ffi = require("ffi")

local prompt = {}
local HISTORY = (os.getenv("HOME") or ".") .. "/.lunette_history"

--- A reader of lines: readline on a terminal, plain input elsewhere.
local function reader()
  ffi.cdef("int isatty(int fd);")
  if ffi.C.isatty(0) == 0 then
    return function() return io.read("*l") end, function() end
  end
  local ok, lib = pcall(ffi.load, "libreadline.so.8")
  if not ok then
    return function(text)
      io.write(text)
      io.flush()
      return io.read("*l")
    end, function() end
  end
  ffi.cdef([[
    char *readline(const char *prompt);
    void add_history(const char *line);
    int read_history(const char *path);
    int write_history(const char *path);
    void stifle_history(int most);
    void free(void *p);
  ]])
  lib.stifle_history(1000)
  lib.read_history(HISTORY)
  return function(text)
    local line = lib.readline(text)
    if line == nil then return nil end
    local result = ffi.string(line)
    ffi.C.free(line)
    if result:match("%S") then lib.add_history(result) end
    return result
  end, function() lib.write_history(HISTORY) end
end

--- The chunk of a text: an expression is returned, a statement run. nil and true when more lines are needed.
local function compile(text)
  local chunk = loadstring("return " .. text, "=(prompt)")
  if chunk then return chunk end
  local statement, message = loadstring(text, "=(prompt)")
  if statement then return statement end
  return nil, message:match("'?<eof>'?$") ~= nil, message
end

local function show(ok, ...)
  if not ok then
    print(tostring((...)))
    return
  end
  for i = 1, select("#", ...) do print((select(i, ...))) end
end

--- Runs until the end of input. @return the exit status
function prompt.run(lt)
  local read, finish = reader()
  local threads = lt.get_num_threads()
  print(("Lunette %s, LuaJIT, %d thread%s. help \"name\" explains an operator, ctrl-d leaves."):format(lt.version, threads, threads == 1 and "" or "s"))
  while true do
    local text = read("> ")
    if not text then break end
    text = text:gsub("^=%s*", "")
    local chunk, incomplete, message = compile(text)
    while incomplete do
      local more = read(">> ")
      if not more then break end
      text = text .. "\n" .. more
      chunk, incomplete, message = compile(text)
    end
    if chunk then
      show(pcall(chunk))
    elseif message then
      print(message)
    end
  end
  finish()
  print()
  return 0
end

return prompt
