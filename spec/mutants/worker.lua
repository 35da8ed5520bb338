--- luajit worker.lua PLAN: plants the mistakes of a plan, one after the other, and says of each what became of it: "NUMBER caught", "NUMBER survived"
--- or "NUMBER invalid", where the result does not compile. A line of the plan: number, language, path, line, first, last, the specs, what is put in.

package.path = "./?.lua;" .. package.path
local mistakes = require("spec.mutants.mistakes")
local tree = require("spec.mutants.tree")

local folder = tree.copy()
local SECONDS = tonumber(os.getenv("LIMIT") or 60)
local BUILD = "cd " .. folder .. " && cmake --build build-c"

local function prepare_c()
  assert(tree.run("cd " .. folder .. " && cmake -S . -B build-c -G Ninja -DLUNETTE_CUDA=OFF && cmake --build build-c"), "the library does not build")
end

--- Do the specs all pass?
local function passes(language, specs)
  local library = language == "c" and "LUNETTE_LIBRARY=" .. folder .. "/build-c/liblunette.so " or ""
  return tree.run(("cd %s && %stimeout -k 1 %d busted -o plainTerminal --no-keep-going %s"):format(folder, library, SECONDS, specs))
end

local function builds(language, text) return language == "lua" and loadstring(text) ~= nil or language == "c" and tree.run(BUILD) end

local function outcome(language, path, specs, mistake)
  local original = tree.read(folder .. "/" .. path)
  local changed = mistakes.plant(original, mistake)
  tree.write(folder .. "/" .. path, changed)
  local result = not builds(language, changed) and "invalid" or passes(language, specs) and "survived" or "caught"
  tree.write(folder .. "/" .. path, original)
  return result
end

assert(passes("lua", "") or passes("lua", ""), "the specs do not pass as they are")
local ready
for plan in io.lines(arg[1]) do
  local number, language, path, line, first, last, specs, new = plan:match("^(%d+)\t(%a+)\t([^\t]+)\t(%d+)\t(%d+)\t(%d+)\t([^\t]*)\t(.*)$")
  if language == "c" and not ready then
    prepare_c()
    ready = true
  end
  local result = outcome(language, path, specs, {line = tonumber(line), first = tonumber(first), last = tonumber(last), new = new})
  io.write(number, " ", result, "\n")
  io.flush()
end
tree.remove(folder)
