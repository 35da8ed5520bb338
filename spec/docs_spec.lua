--- Every example of README.md, docs/*.md and the reference runs; after a prompt's line stands what it prints.

local lt = require("lunette")
local reference = require("lunette.reference")

local root = debug.getinfo(1, "S").source:match("^@(.*)spec/docs_spec%.lua$")

--- The ```lua blocks of a file: {line, text}.
local function blocks(path)
  local list, open, number = {}, nil, 0
  for line in io.lines(path) do
    number = number + 1
    if line:match("^```lua%s*$") then
      open = {number, {}}
    elseif line:match("^```%s*$") and open then
      list[#list + 1] = {open[1], table.concat(open[2], "\n")}
      open = nil
    elseif open then
      table.insert(open[2], line)
    end
  end
  return list
end

--- What `fn` prints, as lines joined.
local function printed(env, fn)
  local lines = {}
  env.print = function(...)
    local words = {}
    for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
    lines[#lines + 1] = table.concat(words, "\t")
  end
  local results = {fn()}
  for i = 1, #results do lines[#lines + 1] = tostring(results[i]) end
  return table.concat(lines, "\n")
end

local function environment()
  return setmetatable({lt = lt, nn = lt.nn, F = lt.nn.functional, optim = lt.optim}, {__index = _G})
end

--- A session at the prompt: lines after "> ", each followed by what it prints. On the cpu, since elsewhere a tensor's text names its device.
local function run_session(text)
  local device = lt.get_default_device()
  lt.set_default_device("cpu")
  finally(function() lt.set_default_device(device) end)
  local env, entries = environment(), {}
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local code = line:match("^> (.*)$")
    if code then entries[#entries + 1] = {code, {}} else table.insert(entries[#entries][2], line) end
  end
  for _, entry in ipairs(entries) do
    local chunk = loadstring("return " .. entry[1]) or assert(loadstring(entry[1]))
    assert.are.equal(table.concat(entry[2], "\n"), printed(env, setfenv(chunk, env)), entry[1])
  end
end

local files = {root .. "README.md"}
local pipe = assert(io.popen("ls '" .. root .. "docs' 2> /dev/null"))
for name in pipe:lines() do
  if name:match("%.md$") then files[#files + 1] = root .. "docs/" .. name end
end
pipe:close()

describe("the example in", function()
  for _, path in ipairs(files) do
    for _, block in ipairs(blocks(path)) do
      it(("%s, line %d"):format(path:match("[^/]+$"), block[1]), function()
        if block[2]:match("^> ") then return run_session(block[2]) end
        local env = environment()
        printed(env, setfenv(assert(loadstring(block[2], "=example")), env))
      end)
    end
  end
end)

describe("the example of", function()
  for _, entry in ipairs(reference.entries()) do
    if entry.example and not entry.is_alias then
      it(entry.name, function() run_session(entry.example) end)
    end
  end
end)

if require("spec.once").done then return end

describe("make docs", function()
  it("writes a page for every package", function()
    local folder = os.tmpname()
    os.remove(folder)
    finally(function() os.execute("rm -rf '" .. folder .. "'") end)
    local launcher = ("env LUA_PATH='%slua/?.lua;%slua/?/init.lua;;' luajit"):format(root, root)
    local pipe_ = assert(io.popen(("timeout 60 %s '%sdocs/build.lua' '%s' 2>&1"):format(launcher, root, folder)))
    local output = pipe_:read("*a")
    pipe_:close()
    for name, text in pairs{
      operators = "## lt.softmax", functions = "## Tensor:view_as", nn = "## nn.Linear", functional = "## F.cross_entropy", init = "## nn.init.xavier_uniform_",
      optim = "## optim.Adam", data = "## data.DataLoader", abi = "typedef struct ln_tensor",
    } do
      local file = assert(io.open(folder .. "/" .. name .. ".md"), output)
      local page = file:read("*a")
      file:close()
      assert.matches(text, page, 1, true)
    end
  end)
end)
