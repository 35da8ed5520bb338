--- Writes the bytecode of all modules into one file, from which an installed Lunette loads them (lunette/bundle.lua):
--
--     luajit bundle.lua FOLDER        (FOLDER holds Lunette's Lua files; the file is FOLDER/bytecode)
--
-- Lines "path size" end with an empty one; then comes the bytecode of each file in that order.

local folder = assert(arg[1], "usage: luajit bundle.lua FOLDER")

local index, codes = {}, {}
local pipe = assert(io.popen("cd '" .. folder:gsub("'", "'\\''") .. "' && find . -name '*.lua' | sort"))
for line in pipe:lines() do
  local path = line:match("^%./(.*)$")
  if path ~= "init.lua" and path ~= "bundle.lua" then
    codes[#codes + 1] = string.dump(assert(loadfile(folder .. "/" .. path)), true)
    index[#index + 1] = ("%s %d\n"):format(path, #codes[#codes])
  end
end
pipe:close()

local file = assert(io.open(folder .. "/bytecode", "wb"))
assert(file:write(table.concat(index), "\n", table.concat(codes)))
assert(file:close())
