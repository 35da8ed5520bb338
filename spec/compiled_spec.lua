--- Hot loops over tensors are compiled by LuaJIT: a binding that a trace cannot pass through costs ten times as much and fails no other spec.
-- They run in a fresh process, for what LuaJIT has once given up stays so until the process ends.

local here = debug.getinfo(1, "S").source:match("^@(.*)compiled_spec%.lua$")

describe("a hot loop is compiled:", function()
  local command = "LUA_PATH='%slua/?.lua;%slua/?/init.lua;;' luajit '%scompiled_loops.lua' 2>&1"
  local pipe = assert(io.popen(command:format(here .. "../", here .. "../", here)))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  assert(#lines == 13, table.concat(lines, "\n"))
  for _, line in ipairs(lines) do
    local name, result = line:match("^(.-)\t(.*)$")
    it(tostring(name), function() assert.are.equal("compiled", result, line) end)
  end
end)
