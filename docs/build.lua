--- Writes the reference, a page a package, from what help shows too (lua/lunette/reference.lua), and abi.md from lunette.h.
--
--     lunette docs/build.lua FOLDER        (make docs writes into build/docs)

local lt = require("lunette")
local ops = require("lunette.ops")
local reference = require("lunette.reference")

local root = arg[0]:match("^(.*)docs/build%.lua$") or "./"
local folder = assert(arg[1], "usage: lunette docs/build.lua FOLDER")

local GRADIENT = {[0] = "none", "any order", "any order", "any order", "any order"}

-- page, title, what it says first, and the beginnings of the names that stand on it
local PAGES = {
  {"operators.md", "Operators", "Each is a function of `lt` and a method of tensors; `name_` is its form in place, where there is one.", {"lt."}, operators = true},
  {"functions.md", "Functions of lt and methods of tensors", "What is no operator.", {"lt.", "Tensor:"}, operators = false},
  {"data.md", "data", "Datasets and loaders.", {"data."}},
  {"nn.md", "nn", "Modules, layers, containers and losses.", {"nn."}, without = "^nn%.%l+%."},
  {"functional.md", "nn.functional", "Layers and losses as functions, F for short.", {"F."}},
  {"init.md", "nn.init", "Starting values of parameters.", {"nn.init."}},
  {"utils.md", "nn.utils", "What works on modules and their inputs.", {"nn.utils."}},
  {"metrics.md", "metrics", "What models are measured by.", {"metrics."}},
  {"optim.md", "optim", "Optimizers and schedules of the learning rate.", {"optim."}},
}

local function quoted(path) return "'" .. path:gsub("'", "'\\''") .. "'" end

local function write(name, lines)
  local path = folder .. "/" .. name
  local file = assert(io.open(path, "w"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
  print(path)
end

-- Entries --------------------------------------------------------------------------------------------------------------------------------

--- What the table of operators knows about a row beyond its sentence.
local function facts(info)
  local list = {"gradient: " .. GRADIENT[info.grad]}
  if info.class == "FLOAT" then list[#list + 1] = "integers become float32" end
  if info.class == "TEST" then list[#list + 1] = "the result is bool" end
  if info.is_view then list[#list + 1] = "shares its elements with input" end
  if info.n_outputs > 1 then list[#list + 1] = info.n_outputs .. " results" end
  if info.forward then list[#list + 1] = ("formula: `%s`"):format(info.forward) end
  return table.concat(list, "; ") .. "."
end

local function add_code(lines, text)
  lines[#lines + 1] = ""
  for line in (text .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = "    " .. line end
end

local function add_entry(lines, entry)
  lines[#lines + 1] = ("\n## %s"):format(entry.name)
  local calls = {}
  for i, signature in ipairs(entry.signatures) do calls[i] = ("%s(%s)"):format(entry.name, signature) end
  add_code(lines, table.concat(calls, "\n"))
  lines[#lines + 1] = "\n" .. entry.doc
  if entry.rows then lines[#lines + 1] = "\n" .. facts(ops.info[entry.rows[1]]) end
  if entry.forward then lines[#lines + 1] = ("\nCalled with `(%s)`."):format(entry.forward) end
  for i, title in ipairs({"Parameters", "Buffers"}) do
    local texts = entry.tensors and entry.tensors[i] or {}
    if #texts > 0 then lines[#lines + 1] = ("\n%s: `%s`."):format(title, table.concat(texts, "`, `")) end
  end
  if entry.example then add_code(lines, entry.example) end
end

local function is_on(page, entry)
  if page.operators ~= nil and page.operators ~= (entry.rows ~= nil) then return false end
  if page.without and entry.name:find(page.without) then return false end
  for _, beginning in ipairs(page[4]) do
    if entry.name:sub(1, #beginning) == beginning then return true end
  end
  return false
end

local function page_lines(page)
  local lines = {"# " .. page[2], "", page[3]}
  for _, entry in ipairs(reference.entries()) do
    if is_on(page, entry) then add_entry(lines, entry) end
  end
  return lines
end

-- The ABI --------------------------------------------------------------------------------------------------------------------------------

local function abi()
  local text = lt.read_file(root .. "lib/lunette.h")
  local head, region = text:match("^/%* (.-)%*/"), text:match("/%* cdef begin %*/\n*(.-)\n*/%* cdef end %*/")
  return {"# The ABI", "", (head:gsub("\n %* ?", "\n")), "", "```c", region, "```"}
end

-- The table of entries -----------------------------------------------------------------------------------------------------------------

local function coverage_lines()
  local rows, full = dofile(root .. "docs/coverage.lua")(root), 0
  local lines = {"", "| entry | implemented | documented | example executed | cases | CPU | CUDA |", "| --- | --- | --- | --- | ---: | --- | --- |"}
  local function word(value)
    if value == nil then return "not looked at" end
    return value and "yes" or "**no**"
  end
  for _, row in ipairs(rows) do
    local is_full = row.implemented and row.documented and row.example and row.cases > 0 and row.devices.cpu
    full = full + (is_full and 1 or 0)
    lines[#lines + 1] = ("| `%s` | %s | %s | %s | %d | %s | %s |"):format(row.name, word(row.implemented), word(row.documented), word(row.example), row.cases,
      word(row.devices.cpu), word(row.devices.cuda))
  end
  table.insert(lines, 1, ("# torch.nn, entry by entry\n\n%d of the %d entries of torch.nn's documentation are full. Cases: lines of fixtures made by PyTorch, and "
    .. "places in specs. CPU, CUDA: the example runs with all tensors there."):format(full, #rows))
  return lines
end

assert(os.execute("mkdir -p " .. quoted(folder)) == 0, "the folder cannot be made: " .. folder)
for _, page in ipairs(PAGES) do write(page[1], page_lines(page)) end
write("abi.md", abi())
write("coverage.md", coverage_lines())
