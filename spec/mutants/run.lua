--- make mutants: plants single mistakes by chance in the sources, runs the specs that reach them and lists the mistakes that no spec noticed.
---
--- N mistakes (100) drawn from SEED (1) in the LANGUAGE lua (or c) or in the FILES given, by JOBS (2) processes. Specs reach a line of Lua when they
--- run it; C is checked by all specs. A mistake is caught when a spec fails, crashes or takes longer than LIMIT seconds (60).

package.path = "./?.lua;" .. package.path
local mistakes = require("spec.mutants.mistakes")
local tree = require("spec.mutants.tree")

local function option(name, default)
  local value = os.getenv(name)
  return value and value ~= "" and value or default
end

local LANGUAGE = option("LANGUAGE", "lua")
local N, SEED, JOBS = tonumber(option("N", 100)), tonumber(option("SEED", 1)), tonumber(option("JOBS", 2))
local FILES = option("FILES", LANGUAGE == "lua" and "lua/lunette/**.lua" or "lib/**.c kernels/cpu/**.c")
local STATE = tree.lines("git ls-files -z lua spec | xargs -0 cat | md5sum")[1]:match("^%x+")
local COVERAGE = "build/mutants/" .. STATE -- lines are only good for the sources that they were taken from

-- Which specs reach which lines ------------------------------------------------------------------------------------------------------------

local function spec_files() return tree.lines("git ls-files 'spec/*_spec.lua'") end

local function collect_coverage()
  os.execute("mkdir -p " .. COVERAGE)
  local todo = {}
  for _, spec in ipairs(spec_files()) do
    local out = COVERAGE .. "/" .. spec:gsub("/", "__")
    if not io.open(out) then todo[#todo + 1] = ("LUNETTE_COVER=%s busted --helper=spec/mutants/cover.lua -o plainTerminal %s > /dev/null 2>&1"):format(out, spec) end
  end
  if #todo == 0 then return end
  print(("collecting the lines that %d spec files reach"):format(#todo))
  tree.write(COVERAGE .. "/todo", table.concat(todo, "\n") .. "\n")
  os.execute(("xargs -P %d -d '\\n' -n 1 sh -c < %s/todo"):format(JOBS, COVERAGE))
end

--- The spec files, the quickest first.
local function quick_first()
  local path, seconds, list = COVERAGE .. "/seconds", {}, spec_files()
  if not io.open(path) then
    local lines = {}
    for i, spec in ipairs(list) do lines[i] = ("%s %s"):format(tree.seconds("busted -o plainTerminal " .. spec), spec) end
    tree.write(path, table.concat(lines, "\n") .. "\n")
  end
  for line in io.lines(path) do
    local time, spec = line:match("^(%S+) (.*)$")
    seconds[spec] = tonumber(time)
  end
  table.sort(list, function(a, b) return seconds[a] < seconds[b] end)
  return list
end

--- "path:line" -> names of the spec files, the quickest first.
local function coverage(specs)
  collect_coverage()
  local reach = {}
  for _, spec in ipairs(specs) do
    for line in io.lines(COVERAGE .. "/" .. spec:gsub("/", "__")) do
      reach[line] = reach[line] or {}
      table.insert(reach[line], spec)
    end
  end
  return reach
end

-- The plan ---------------------------------------------------------------------------------------------------------------------------------

--- Every mistake of every file.
local function all_mistakes()
  local list = {}
  local patterns = {}
  for word in FILES:gmatch("%S+") do patterns[#patterns + 1] = tree.quoted(":(glob)" .. word:gsub("%*%*%.", "**/*.")) end
  for _, path in ipairs(tree.lines("git ls-files " .. table.concat(patterns, " "))) do
    local text = tree.read(path)
    for _, mistake in ipairs(mistakes.of(text, path:match("%.lua$") and "lua" or "c")) do
      mistake.path = path
      list[#list + 1] = mistake
    end
  end
  return list
end

local function draw(list)
  math.randomseed(SEED)
  for i = 1, math.min(#list - 1, 4 * N) do
    local k = math.random(i, #list)
    list[i], list[k] = list[k], list[i]
  end
  return list
end

local function specs_of(mistake, reach, all)
  local specs = not reach and all or reach[mistake.path .. ":" .. mistake.line]
  return specs and table.concat(specs, " ")
end

local function plan_line(i, mistake, specs)
  local language = mistake.path:match("%.lua$") and "lua" or "c"
  return table.concat({i, language, mistake.path, mistake.line, mistake.first, mistake.last, specs, mistake.new}, "\t")
end

-- Running it -------------------------------------------------------------------------------------------------------------------------------

local function location(mistake) return ("%s:%d"):format(mistake.path, mistake.line) end

--- What is going on, for who watches.
local function say(mistake, outcome) io.stderr:write(location(mistake), " ", outcome, "\n") end

--- Mistakes first..last of the list, by JOBS workers. @return number -> outcome
local function work(list, first, last, reach, all)
  local plans, pipes, outcomes = {}, {}, {}
  for i = first, last do
    local specs = specs_of(list[i], reach, all)
    local job = i % JOBS + 1
    plans[job] = plans[job] or {}
    if specs then table.insert(plans[job], plan_line(i, list[i], specs)) else outcomes[i] = "unreached" end
  end
  for job, plan in pairs(plans) do
    local path = ("%s/plan.%d.%s"):format(COVERAGE, job, tostring(plan):match("%w+$"))
    tree.write(path, table.concat(plan, "\n") .. (#plan > 0 and "\n" or ""))
    pipes[job] = io.popen(("luajit spec/mutants/worker.lua %s; rm %s"):format(path, path))
  end
  for _, pipe in pairs(pipes) do
    for line in pipe:lines() do
      local number, outcome = line:match("^(%d+) (%a+)$")
      outcomes[tonumber(number)] = outcome
      say(list[tonumber(number)], outcome)
    end
    pipe:close()
  end
  return outcomes
end

local function show(mistake, outcome)
  local _, old, new = mistakes.plant(tree.read(mistake.path), mistake)
  print(("%s%s\n  - %s\n  + %s"):format(location(mistake), outcome == "unreached" and " (no spec runs this line)" or "",
    old:match("^%s*(.-)%s*$"), new:match("^%s*(.-)%s*$")))
end

--- What one spec file cannot notice another may: survivors meet all specs before they are listed.
local function confirm(list, outcomes, all)
  local again, index = {}, {}
  for i, outcome in pairs(outcomes) do
    if outcome == "survived" or outcome == "unreached" then
      again[#again + 1] = list[i]
      index[#again] = i
    end
  end
  if LANGUAGE == "lua" and #again > 0 then
    for k, outcome in pairs(work(again, 1, #again, nil, all)) do
      if outcome == "caught" then outcomes[index[k]] = outcome end
    end
  end
end

os.execute("mkdir -p " .. COVERAGE)
local all = quick_first()
local reach = LANGUAGE == "lua" and coverage(all) or nil
local list = draw(all_mistakes())
local counts, first = {caught = 0, survived = 0}, 1
while counts.caught + counts.survived < N and first <= #list do
  local last = math.min(#list, first + N - counts.caught - counts.survived - 1)
  local outcomes = work(list, first, last, reach, all)
  confirm(list, outcomes, all)
  for i = first, last do
    local outcome = outcomes[i]
    if outcome ~= "invalid" then
      local caught = outcome == "caught"
      counts[caught and "caught" or "survived"] = counts[caught and "caught" or "survived"] + 1
      if not caught then show(list[i], outcome) end
    end
  end
  first = last + 1
end
print(("%d of %d mistakes caught (%.1f %%)"):format(counts.caught, counts.caught + counts.survived, 100 * counts.caught / (counts.caught + counts.survived)))
