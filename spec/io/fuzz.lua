--- Damaged files for every format: mutations of bytes and of text that come out the same in each run, and what a damaged file may do: load, or be refused by
-- an error that names it. None crashes, hangs, or has memory allocated from its numbers.

local lt = require("lunette")
local base = require("lunette.ffi")
local child = require("spec.child")
local assert = require("luassert")

local C, ffi = base.C, base.ffi
local char, floor = string.char, math.floor

local fuzz = {}

-- Numbers that are the same in every run ---------------------------------------------------------------------------------------------------

local state = 1

--- Starts the numbers anew.
function fuzz.seed(n) state = n end

--- A whole number from low to high.
local function draw(low, high)
  state = state * 16807 % 2147483647
  return low + floor(state / 2147483647 * (high - low + 1))
end
fuzz.draw = draw

function fuzz.pick(list) return list[draw(1, #list)] end
local pick = fuzz.pick

--- n bytes of any kind.
function fuzz.noise(n)
  local bytes = {}
  for i = 1, n do bytes[i] = char(draw(0, 255)) end
  return table.concat(bytes)
end
local noise = fuzz.noise

--- n as `bytes` bytes, the lowest first.
function fuzz.little(n, bytes)
  local list = {}
  for i = 1, bytes do
    list[i] = char(n % 256)
    n = floor(n / 256)
  end
  return table.concat(list)
end

-- Files ----------------------------------------------------------------------------------------------------------------------------------

--- A new folder, and the path of a file in it.
function fuzz.place()
  local folder = child.folder()
  return folder, folder .. "/x"
end

function fuzz.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

function fuzz.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

--- The text of the file that lt.save writes.
function fuzz.saved(object, ending)
  local folder, path = fuzz.place()
  lt.save(object, path .. ending)
  local text = fuzz.read(path .. ending)
  child.remove_folder(folder)
  return text
end

-- The bytes of all storages below a value, each of which has been read.
local function weigh(value, seen)
  if lt.is_tensor(value) then
    local id = tonumber(C.ln_tensor_storage_id(value._p))
    if seen[id] then return 0 end
    local out = ffi.new("ln_tensor *[1]")
    base.check(C.ln_tensor_storage(value._p, out))
    local bytes = base.wrap(out[0])
    if bytes:numel() > 0 then bytes:sum():item() end
    if value:numel() < 1e6 then value:to("float64"):sum():item() end
    seen[id] = value
    return bytes:numel()
  end
  if type(value) ~= "table" or seen[value] then return 0 end
  seen[value] = true
  local bytes = 0
  for _, part in pairs(value) do bytes = bytes + weigh(part, seen) end
  return bytes
end

local NEVER = {"attempt to", "out of memory", "not enough memory", "stack overflow", "bad argument"}

--- Loads `text` as a file and says whether it was one. ratio: how many bytes one of the file may become.
function fuzz.try(path, text, what, ratio)
  fuzz.write(path, text)
  local ok, result = pcall(lt.load, path)
  if ok then
    assert.is_true(weigh(result, {}) <= (ratio or 1) * #text, what)
  else
    assert.are.equal("string", type(result), what)
    for _, wrong in ipairs(NEVER) do assert.is_nil(result:find(wrong, 1, true), what .. ": " .. result) end
    assert.is_truthy(result:find(path, 1, true), what .. ": " .. result)
  end
  return ok
end

local SLOWEST = 2 -- seconds that one file may take, on a machine that is busy

--- Loads n files that `make(i)` gives, each written to `path`, with what was done to them. loaded, refused: how many of each there are at least.
function fuzz.run(path, n, make, loaded, refused, ratio)
  lt.gc()
  local before, counts = lt.memory_stats(), {[true] = 0, [false] = 0}
  for i = 1, n do
    local text, what = make(i)
    local start = os.clock()
    local ok = fuzz.try(path, text, ("mutation %d (%s)"):format(i, what), ratio)
    assert.is_true(os.clock() - start < SLOWEST, what)
    counts[ok] = counts[ok] + 1
  end
  assert.is_true(counts[true] >= loaded, "loaded: " .. counts[true])
  assert.is_true(counts[false] >= refused, "refused: " .. counts[false])
  lt.gc()
  local after = lt.memory_stats()
  assert.is_true(after.live <= before.live + 65536) -- the last one may still lie on the stack
  assert.is_true(after.tensors <= before.tensors + 40)
  assert.is_true(after.peak <= math.max(before.peak, before.live + 64 * 2 ^ 20), "a size was believed")
end

-- Mutations of bytes ---------------------------------------------------------------------------------------------------------------------

local INTERESTING = {"\0", "\1", "\127", "\128", "\255", "\0\0", "\255\255", "\0\128", "\0\0\0\0", "\1\0\0\0", "\255\255\255\255", "\0\0\0\128", "\255\255\255\127", "\0\0\0\0\0\0\0\0",
  "\255\255\255\255\255\255\255\255", "\255\255\255\255\255\255\255\127", "\0\0\0\0\0\0\0\128", "\0\0\0\0\1\0\0\0", "\0\0\0\0\0\0\0\64", "\0\0\0\0\0\0\248\255"}

local function at_random(text, piece)
  local i = draw(0, #text)
  return text:sub(1, i) .. piece .. text:sub(i + 1)
end
fuzz.at_random = at_random

local function over(text, i, piece) return text:sub(1, i - 1) .. piece .. text:sub(i + #piece) end

--- name -> function of bytes that gives them back changed.
fuzz.bytes = {
  bit = function(text)
    local i = draw(1, #text)
    local b, mask = text:byte(i), 2 ^ draw(0, 7)
    return over(text, i, char(floor(b / mask) % 2 == 1 and b - mask or b + mask))
  end,
  byte = function(text) return over(text, draw(1, #text), noise(1)) end,
  number = function(text) return over(text, draw(1, #text), pick(INTERESTING)) end,
  nudged = function(text)
    local i = draw(1, #text)
    return over(text, i, char((text:byte(i) + draw(-3, 3)) % 256))
  end,
  inserted = function(text) return at_random(text, pick(INTERESTING)) end,
  deleted = function(text)
    local i = draw(1, #text)
    return text:sub(1, i - 1) .. text:sub(i + draw(1, 12))
  end,
  repeated = function(text)
    local i = draw(1, #text)
    return text:sub(1, i + draw(0, 60)) .. text:sub(i)
  end,
  moved = function(text)
    local i, k, n = draw(1, #text), draw(1, #text), draw(1, 40)
    return over(text, k, text:sub(i, i + n):sub(1, #text - k + 1))
  end,
  noise = function(text) return at_random(text, noise(draw(1, 40))) end,
  cut = function(text) return text:sub(1, draw(0, #text)) end,
}

--- The names of a table of mutations, in order.
function fuzz.names_of(list)
  local names = {}
  for name in pairs(list) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- One to three mutations from a list, and which they were.
function fuzz.mutated(text, list, names)
  local what = ""
  for _ = 1, pick{1, 1, 1, 2, 3} do
    if text == "" then break end
    local name = pick(names)
    what, text = what .. " " .. name, list[name](text)
  end
  return text, what
end

-- Archives -------------------------------------------------------------------------------------------------------------------------------

--- A zip archive of stored entries, an array of {name, text}.
function fuzz.archive(entries)
  local little, parts, central, at = fuzz.little, {}, {}, 0
  for _, e in ipairs(entries) do
    local name, text = e[1], e[2]
    local common = little(20, 2) .. little(0, 8) .. little(0, 4) .. little(#text, 4) .. little(#text, 4) .. little(#name, 2) .. little(0, 2)
    local head = "PK\3\4" .. common .. name
    central[#central + 1] = "PK\1\2" .. little(20, 2) .. common .. little(0, 10) .. little(at, 4) .. name
    parts[#parts + 1] = head .. text
    at = at + #head + #text
  end
  local directory = table.concat(central)
  return table.concat(parts) .. directory .. "PK\5\6" .. little(0, 4) .. little(#entries, 2):rep(2) .. little(#directory, 4) .. little(at, 4) .. little(0, 2)
end

return fuzz
