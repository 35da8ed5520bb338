--- The entries of the documentation of torch.nn (entries.txt), each with what the code and the specs say about it.
--
-- coverage(root) gives a row for each: {name =, implemented =, documented =, example =, cases =, devices = {cpu =, cuda =}}. `cases` counts the lines of
-- fixtures that PyTorch made and the places in specs that name it; a device is true when the example runs with all tensors there, nil when there is none.

local lt = require("lunette")
local reference = require("lunette.reference")

-- Finding --------------------------------------------------------------------------------------------------------------------------------

-- The thing under a name such as "nn.utils.prune.Identity:apply", nil when there is none.
local function resolve(name)
  local value = lt
  for part in name:gmatch("[%w_]+") do
    local ok, inner = pcall(function() return value[part] end)
    if not ok or inner == nil then return nil end
    value = inner
  end
  return value
end

-- The entry of the reference: of a method the one of the class that it comes from, of forward the one of its class.
local function entry_of(name, by_name)
  if by_name[name] then return by_name[name] end
  local owner, method = name:match("^(.-):(.+)$")
  if not owner then return nil end
  if method == "forward" then return by_name[owner] end
  local class = resolve(owner)
  while class do
    for title, entry in pairs(by_name) do
      if entry.thing == class and by_name[title .. ":" .. method] then return by_name[title .. ":" .. method] end
    end
    class = require("lunette.class").parent_of(class)
  end
end

-- Evidence -------------------------------------------------------------------------------------------------------------------------------

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

-- The texts of all specs and of the fixtures of layers.
local function evidence(root)
  local texts, pipe = {}, assert(io.popen(("find '%sspec' -name '*_spec.lua' -o -path '*layers/*.txt' -o -path '*space/*.txt'"):format(root)))
  for path in pipe:lines() do
    if not path:find("expected/", 1, true) then texts[#texts + 1] = read(path) end
  end
  pipe:close()
  return "\n" .. table.concat(texts, "\n")
end

local function occurrences(text, pattern)
  local _, n = text:gsub(pattern, "")
  return n
end

-- A layer's calls of its forward are those of the layer.
local function cases_of(name, text)
  name = name:gsub(":forward$", "")
  local short = name:match("[%w_]+$")
  return occurrences(text, (name:find(":", 1, true) and "[:%.]" or "%f[%w_]") .. short .. "[ %({\"]")
end

-- Running --------------------------------------------------------------------------------------------------------------------------------

-- Does the example run with all tensors on a device?
local function runs(example, device)
  local before = lt.get_default_device()
  lt.set_default_device(device)
  local env = setmetatable({lt = lt, nn = lt.nn, F = lt.nn.functional, optim = lt.optim, print = function() end}, {__index = _G})
  local ok = true
  for line in (example .. "\n"):gmatch("> (.-)\n") do
    local chunk = loadstring("return " .. line) or loadstring(line)
    ok = ok and pcall(setfenv(chunk, env))
  end
  lt.set_default_device(before)
  return ok
end

local function coverage(root)
  local by_name, rows, text = {}, {}, evidence(root)
  for _, entry in ipairs(reference.entries()) do by_name[entry.name] = entry end
  for name in io.lines(root .. "docs/entries.txt") do
    local entry = entry_of(name, by_name) or {}
    rows[#rows + 1] = {
      name = name, implemented = resolve(name) ~= nil, documented = entry.doc ~= nil, example = entry.example ~= nil,
      cases = cases_of(name, text),
      devices = {cpu = entry.example and runs(entry.example, "cpu"), cuda = entry.example and lt.cuda.is_available() and runs(entry.example, "cuda") or nil},
    }
  end
  return rows
end

return coverage
