--- Copies of the checkout in which mistakes are planted, and what the shell does for them.

local tree = {}

function tree.quoted(word) return "'" .. tostring(word):gsub("'", "'\\''") .. "'" end

function tree.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

function tree.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

--- The lines that a command writes.
function tree.lines(command)
  local list, pipe = {}, assert(io.popen(command))
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  return list
end

--- Runs a command with its output thrown away. Did it end well?
function tree.run(command) return os.execute("exec > /dev/null 2>&1; " .. command) == 0 end

local function now() return tonumber(tree.lines("date +%s.%N")[1]) end

--- How many seconds a command takes.
function tree.seconds(command)
  local start = now()
  tree.run(command)
  return now() - start
end

--- A copy of what git knows and of the built library, in a folder of its own.
function tree.copy()
  local folder = os.tmpname()
  os.remove(folder)
  assert(tree.run("mkdir -p " .. folder .. "/build && git ls-files -z | xargs -0 cp --parents -t " .. folder .. " && cp build/liblunette.so " .. folder .. "/build"))
  return folder
end

function tree.remove(folder) os.execute("rm -rf " .. folder) end

return tree
