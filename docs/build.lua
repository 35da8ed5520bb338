--- Writes the reference: ops.md from the operator table, lua.md from the doc comments of the Lua files, abi.md from lunette.h.
--
--     lunette docs/build.lua FOLDER        (make docs writes into build/docs)

local lt = require("lunette")
local ops = require("lunette.ops")

local root = arg[0]:match("^(.*)docs/build%.lua$") or "./"
local folder = assert(arg[1], "usage: lunette docs/build.lua FOLDER")

local GRADIENT = {[0] = "none", "any order", "any order", "any order", "any order"}

local function quoted(path) return "'" .. path:gsub("'", "'\\''") .. "'" end

local function write(name, lines)
  local path = folder .. "/" .. name
  local file = assert(io.open(path, "w"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
  print(path)
end

-- Operators ------------------------------------------------------------------------------------------------------------------------------

--- The facts about an operator that its sentence does not hold.
local function facts(info)
  local list = {"gradient: " .. GRADIENT[info.grad]}
  if info.class == "FLOAT" then list[#list + 1] = "integers become float32" end
  if info.class == "TEST" then list[#list + 1] = "the result is bool" end
  if info.is_view then list[#list + 1] = "shares its elements with input" end
  if info.n_outputs > 1 then list[#list + 1] = info.n_outputs .. " results" end
  return table.concat(list, "; ")
end

local function operators()
  local lines = {"# Operators", "",
    ("%d operators, one row of `lib/ops.def` each. Every one is a function of `lt` and a method of tensors."):format(#ops.list)}
  for _, info in ipairs(ops.list) do
    local extra = {"", ("## %s"):format(info.name), "", ("    lt.%s(%s)"):format(info.name, ops.signature(info)), "", info.doc, "", facts(info) .. "."}
    if info.forward then extra[#extra + 1] = ("Formula: `%s`."):format(info.forward) end
    for _, line in ipairs(extra) do lines[#lines + 1] = line end
  end
  return lines
end

-- Lua ------------------------------------------------------------------------------------------------------------------------------------

local function lua_files()
  local paths = {}
  local pipe = assert(io.popen("find " .. quoted(root .. "lua/lunette") .. " -name '*.lua' | sort"))
  for path in pipe:lines() do paths[#paths + 1] = path end
  pipe:close()
  return paths
end

--- The name of what a line of code defines for others, nil for locals and anything else.
local function defined(line)
  local name, arguments = line:match("^function ([%w_]+[%.:][%w_%.:]+)(%b())")
  if name then return name .. arguments end
  name = line:match("^([%w_]+%.[%w_%.]+) = ")
  return name
end

--- The head comment of a file and {name, text} of each documented public definition.
local function read_comments(path)
  local head, entries, comment = {}, {}, nil
  local first = true
  for line in io.lines(path) do
    local text = line:match("^%-%-%-? ?(.*)$")
    if first and text then
      head[#head + 1] = text
    else
      first = false
      if line:match("^%-%-%- ") then
        comment = {text}
      elseif text and comment then
        comment[#comment + 1] = text
      else
        local name = comment and defined(line)
        if name then entries[#entries + 1] = {name, table.concat(comment, " ")} end
        comment = nil
      end
    end
  end
  return head, entries
end

local function lua_reference()
  local lines = {"# Lua files"}
  for _, path in ipairs(lua_files()) do
    local head, entries = read_comments(path)
    lines[#lines + 1] = "\n## " .. path:sub(#root + 1) .. "\n"
    for _, text in ipairs(head) do lines[#lines + 1] = text end
    if #entries > 0 then lines[#lines + 1] = "" end
    for _, entry in ipairs(entries) do lines[#lines + 1] = ("- `%s`: %s"):format(entry[1], entry[2]) end
  end
  return lines
end

-- The ABI --------------------------------------------------------------------------------------------------------------------------------

local function abi()
  local text = lt.read_file(root .. "lib/lunette.h")
  local head, region = text:match("^/%* (.-)%*/"), text:match("/%* cdef begin %*/\n*(.-)\n*/%* cdef end %*/")
  return {"# The ABI", "", (head:gsub("\n %* ?", "\n")), "", "```c", region, "```"}
end

assert(os.execute("mkdir -p " .. quoted(folder)) == 0, "the folder cannot be made: " .. folder)
write("ops.md", operators())
write("lua.md", lua_reference())
write("abi.md", abi())
