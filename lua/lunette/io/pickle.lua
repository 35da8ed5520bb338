--- The language of pickles: a stack machine that builds values. This reading of it builds plain tables, strings, numbers and what its caller's closed list
-- of names allows; it runs nothing of the file's.
--
--     pickle.read{fail =, bytes =, from =, size =, global =, persistent =}  -->  the value, where it ends
--
-- bytes, size: a uint8_t pointer and its length; fail(at, what) raises; global(module, name) gives what stands for a name of Python's; persistent(id) what
-- stands for a value outside of the pickle. A name that can be called is `pickle.callable(name, fn)`, fn(args, n, m) with n arguments.
--
-- Lists and tuples become arrays, with n when they hold None, whose places are nil; dicts become tables without the entries that are None; sets become
-- tables of true.

local each = require("lunette.each")
local ffi = require("ffi")
local kinds = require("lunette.kinds")
local ordered = require("lunette.nn.ordered")
local promise = require("lunette.io.promise")
local stream = require("lunette.io.stream")

local None = kinds.None
local refuse, u8, u16, u32, u64 = stream.refuse, stream.u8, stream.u16, stream.u32, stream.u64
local text, line, double, long, decimal = stream.text, stream.line, stream.double, stream.long, stream.decimal
local type, tonumber, getmetatable, setmetatable, rawequal = type, tonumber, getmetatable, setmetatable, rawequal
local cast = ffi.cast

local pickle = {}

local Global = {}

--- A name that can be called.
function pickle.callable(name, call) return setmetatable({name = name, call = call}, Global) end

--- Is x a name that can be called?
function pickle.is_callable(x) return getmetatable(x) == Global end

-- The stack ------------------------------------------------------------------------------------------------------------------------------

local function push(m, value)
  local top = m.top + 1
  m.top, m.stack[top] = top, value
end

local function pop(m)
  local top = m.top
  if top <= m.floor then refuse(m, "the stack is empty") end
  local value = m.stack[top]
  m.top, m.stack[top] = top - 1, nil
  return value
end

local function peek(m)
  if m.top <= m.floor then refuse(m, "the stack is empty") end
  return m.stack[m.top]
end

local function mark(m)
  m.marks[#m.marks + 1] = m.floor
  m.floor = m.top
end

-- Where the values above the last mark begin, and how many they are; the caller takes them away with `drop`.
local function marked(m)
  if #m.marks == 0 then refuse(m, "there is no mark") end
  return m.floor + 1, m.top - m.floor
end

local function drop(m)
  local stack = m.stack
  for i = m.floor + 1, m.top do stack[i] = nil end
  m.top = m.floor
  m.floor = m.marks[#m.marks]
  m.marks[#m.marks] = nil
end

-- Containers -----------------------------------------------------------------------------------------------------------------------------

local function new(m, kind, value)
  m.kind[value] = kind
  return value
end

local function append(list, n, value)
  if rawequal(value, None) then
    list.n = n
  else
    list[n] = value
    if list.n then list.n = n end
  end
end

local function array_of(m, kind, first, n)
  local list, stack = {}, m.stack
  for i = 1, n do append(list, i, stack[first + i - 1]) end
  return new(m, kind, list)
end

local function length(list) return list.n or #list end

local function expect(m, value, kind, ...)
  local own = type(value) == "table" and m.kind[value]
  for _, wanted in ipairs({kind, ...}) do
    if own == wanted then return own end
  end
  refuse(m, "a %s is expected, not a %s", kind, own or type(value))
end

local function check_key(m, key)
  local kind = type(key)
  if rawequal(key, None) or kind == "cdata" or key ~= key or kind == "table" and m.kind[key] ~= "tuple" then
    refuse(m, "%s cannot be the key of a table", rawequal(key, None) and "None" or kind == "number" and "nan" or promise.is_tensor(key) and "a tensor" or "a " .. kind)
  end
end

local function set_items(m, table_, first, n)
  local stack = m.stack
  for i = first, first + n - 1, 2 do
    local key, value = stack[i], stack[i + 1]
    check_key(m, key)
    if rawequal(value, None) then value = nil end
    table_[key] = value
  end
end

local function pairs_marked(m)
  local first, n = marked(m)
  if n % 2 == 1 then refuse(m, "a key has no value") end
  return first, n
end

-- What BUILD adds to an object.
local function build(m, object, state)
  local kind = expect(m, object, "map", "dict", "object")
  if kind == "object" then
    object.state = state
    return
  end
  local metadata = type(state) == "table" and m.kind[state] ~= "tuple" and rawget(state, "_metadata")
  if kind == "map" and type(metadata) == "table" then
    for key, value in each(metadata) do ordered.metadata(object)[key] = value end
  end
end

local function call(m, callee, args)
  if not pickle.is_callable(callee) then refuse(m, "a %s is called", type(callee)) end
  expect(m, args, "tuple")
  local value = callee.call(args, length(args), m)
  if value == nil then value = None end
  push(m, value)
end

-- For the functions of callables: m:refuse(...), m:new(kind, table), m:expect(value, kind, ...), m:length(list).
local Machine = {refuse = refuse, new = new, expect = expect, check_key = check_key}
Machine.__index = Machine
function Machine.length(_, list) return length(list) end

-- Operations -----------------------------------------------------------------------------------------------------------------------------

local ops = {}
local function op(code, run) ops[type(code) == "string" and code:byte() or code] = run end

op("(", mark)
op("0", function(m) if m.top > m.floor then pop(m) else marked(m) drop(m) end end)
op("1", function(m) marked(m) drop(m) end)
op("2", function(m) push(m, peek(m)) end)
op(0x80, function(m)
  local version = u8(m)
  if version > 5 then refuse(m, "a pickle of protocol %d", version) end
end)
op(0x95, function(m) u64(m) end) -- a frame, which says how much is to be read at once

op("N", function(m) push(m, None) end)
op(0x88, function(m) push(m, true) end)
op(0x89, function(m) push(m, false) end)
op("K", function(m) push(m, u8(m)) end)
op("M", function(m) push(m, u16(m)) end)
op("J", function(m)
  local n = u32(m)
  push(m, n >= 2 ^ 31 and n - 2 ^ 32 or n)
end)
op("G", function(m) push(m, double(m)) end)
op(0x8a, function(m) push(m, long(m, u8(m))) end)
op(0x8b, function(m)
  local n = u32(m)
  push(m, long(m, n))
end)
op("I", function(m)
  local digits = line(m)
  if digits == "00" or digits == "01" then push(m, digits == "01") else push(m, decimal(m, digits)) end
end)
op("L", function(m) push(m, decimal(m, line(m))) end)
op("F", function(m)
  local digits = line(m)
  push(m, tonumber(digits) or refuse(m, "'%s' is no number", digits:sub(1, 40)))
end)

op("U", function(m) push(m, text(m, u8(m))) end)
op("C", ops[("U"):byte()])
op(0x8c, ops[("U"):byte()])
op("T", function(m) push(m, text(m, u32(m))) end)
op("B", ops[("T"):byte()])
op("X", ops[("T"):byte()])
op(0x8d, function(m) push(m, text(m, u64(m))) end)
op(0x8e, ops[0x8d])
op(0x96, ops[0x8d])
op("S", function(m)
  local inner = line(m):match("^(['\"].*['\"])$")
  if not inner or inner:find("\\", 1, true) then refuse(m, "a string of protocol 0 that cannot be read") end
  push(m, inner:sub(2, -2))
end)
op("V", function(m)
  local inner = line(m)
  if inner:find("\\", 1, true) then refuse(m, "a string of protocol 0 that cannot be read") end
  push(m, inner)
end)

op("]", function(m) push(m, new(m, "list", {})) end)
op("}", function(m) push(m, new(m, "dict", {})) end)
op(")", function(m) push(m, new(m, "tuple", {})) end)
op(0x8f, function(m) push(m, new(m, "set", {})) end)

local function collect(kind)
  return function(m)
    local list = array_of(m, kind, marked(m))
    drop(m)
    push(m, list)
  end
end
op("l", collect("list"))
op("t", collect("tuple"))
for n = 1, 3 do
  op(0x84 + n, function(m)
    if m.top - m.floor < n then refuse(m, "the stack is empty") end
    local list = array_of(m, "tuple", m.top - n + 1, n)
    for _ = 1, n do pop(m) end
    push(m, list)
  end)
end
op("d", function(m)
  local dict = new(m, "dict", {})
  set_items(m, dict, pairs_marked(m))
  drop(m)
  push(m, dict)
end)

op("a", function(m)
  local value = pop(m)
  local list = peek(m)
  expect(m, list, "list")
  append(list, length(list) + 1, value)
end)
op("e", function(m)
  local first, n = marked(m)
  local list = m.stack[first - 1]
  expect(m, list, "list")
  local from = length(list)
  for i = 1, n do append(list, from + i, m.stack[first + i - 1]) end
  drop(m)
end)
op("s", function(m)
  if m.top - m.floor < 3 then refuse(m, "the stack is empty") end
  local dict = m.stack[m.top - 2]
  expect(m, dict, "dict", "map")
  set_items(m, dict, m.top - 1, 2)
  pop(m)
  pop(m)
end)
op("u", function(m)
  local first, n = pairs_marked(m)
  local dict = m.stack[first - 1]
  expect(m, dict, "dict", "map")
  set_items(m, dict, first, n)
  drop(m)
end)
op(0x90, function(m)
  local first, n = marked(m)
  local set = m.stack[first - 1]
  expect(m, set, "set")
  for i = first, first + n - 1 do
    check_key(m, m.stack[i])
    set[m.stack[i]] = true
  end
  drop(m)
end)
op(0x91, function(m)
  local first, n = marked(m)
  local set = new(m, "set", {})
  for i = first, first + n - 1 do
    check_key(m, m.stack[i])
    set[m.stack[i]] = true
  end
  drop(m)
  push(m, set)
end)

local function put(index) return function(m) m.memo[index(m)] = peek(m) end end
local function get(index)
  return function(m)
    local value = m.memo[index(m)]
    if value == nil then refuse(m, "an entry of the memo that nobody made") end
    push(m, value)
  end
end
local function digits_of(m) return tonumber(line(m):match("^%d+$")) or refuse(m, "the memo is counted by whole numbers") end
op("q", put(u8))
op("r", put(u32))
op("p", put(digits_of))
op("h", get(u8))
op("j", get(u32))
op("g", get(digits_of))
op(0x94, function(m)
  m.memo[m.memoized] = peek(m)
  m.memoized = m.memoized + 1
end)

op("c", function(m)
  local module = line(m)
  push(m, m.global(module, line(m), m))
end)
op(0x93, function(m)
  local name = pop(m)
  local module = pop(m)
  if type(name) ~= "string" or type(module) ~= "string" then refuse(m, "a name that is no string") end
  push(m, m.global(module, name, m))
end)
op("R", function(m)
  local args = pop(m)
  call(m, pop(m), args)
end)
op(0x81, ops[("R"):byte()])
op("b", function(m)
  local state = pop(m)
  build(m, peek(m), state)
end)
op("Q", function(m) push(m, m.persistent(pop(m), m)) end)

--- Reads one pickle: its value (nil for None), and the position behind it.
function pickle.read(source)
  local m = setmetatable({
    bytes = cast("const uint8_t *", source.bytes), at = source.from or 0, size = source.size, fail = source.fail, global = source.global,
    persistent = source.persistent, stack = {}, top = 0, floor = 0, marks = {}, memo = {}, memoized = 0, kind = {}, op_at = 0,
  }, Machine)
  while true do
    m.op_at = m.at
    local code = u8(m)
    if code == 46 then break end
    local run = ops[code]
    if not run then refuse(m, "the operation 0x%02x is not one of a file of tensors", code) end
    run(m)
  end
  local value = pop(m)
  if rawequal(value, None) then value = nil end
  return value, m.at
end

return pickle
