--- Hot loops over tensors are compiled by LuaJIT: a binding that a trace cannot pass through costs ten times as much and fails no other spec.
-- They run in a fresh process, for what LuaJIT has once given up stays so until the process ends. When it tries again after a trace that it gave up
-- for a reason of the moment is partly chance, so a loop has five processes to be compiled in.

local here = debug.getinfo(1, "S").source:match("^@(.*)compiled_spec%.lua$")
local COMMAND = ("LUA_PATH='%slua/?.lua;%slua/?/init.lua;;' luajit '%scompiled_loops.lua' 2>&1"):format(here .. "../", here .. "../", here)
local TRIES = 5

-- The names of the loops in order, and by name "compiled" or why not.
local function run()
  local pipe, names, results = assert(io.popen(COMMAND)), {}, {}
  for line in pipe:lines() do
    local name, result = line:match("^(.-)\t(.*)$")
    assert(name, line)
    names[#names + 1], results[name] = name, result
  end
  pipe:close()
  return names, results
end

describe("a hot loop is compiled:", function()
  local names, results = run()
  assert(#names == 13)
  for _ = 2, TRIES do
    local _, again = run()
    for _, name in ipairs(names) do
      if results[name] ~= "compiled" then results[name] = again[name] end
    end
  end
  for _, name in ipairs(names) do
    it(name, function() assert.are.equal("compiled", results[name]) end)
  end
end)
