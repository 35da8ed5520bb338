--- The options of torch.nn, combined: every line of spec/fixtures/space against what PyTorch made of it: text, state, results, first and second
--- derivatives, buffers; and the calls that it refuses.

local lt = require("lunette")
local cases = require("spec.nn.cases")
local waited = require("spec.waited")
local F = lt.nn.functional

local folder = debug.getinfo(1, "S").source:match("^@(.*)nn/space_spec%.lua$") .. "fixtures/space/"

-- How far an element may be off, relative to the largest of its tensor, and to the largest of all tensors of the call, since rounding of what cancels remains.
-- What is compared with is exact to float64 (fixtures/space/generate.py), so this is what Lunette loses: half a unit in the last place by the last rounding,
-- 2^-53, 2^-25, 2^-9 and 2^-12, and some of these by what layers round between their steps, as PyTorch's do. `single`: where PyTorch has constants in float32.
local BOUNDS = {
  float64 = {own = 1e-8, any = 1e-13}, single = {own = 1e-6, any = 1e-7}, float32 = {own = 2e-5, any = 5e-7}, bfloat16 = {own = 2 ^ -6, any = 2 ^ -7},
  float16 = {own = 2 ^ -9, any = 2 ^ -10},
}

-- Reading ----------------------------------------------------------------------------------------------------------------------------------

local WORDS = {inf = math.huge, ["-inf"] = -math.huge, nan = 0 / 0, ["-nan"] = 0 / 0}
local function number(word) return WORDS[word] or tonumber(word) end

local function parts_of(text, separator)
  local list = {}
  for part in (text .. separator):gmatch("([^" .. separator .. "]*)" .. separator) do list[#list + 1] = part end
  return list
end

-- "int64:2x3 1 2 3" as dtype, shape and three numbers.
local function read_tensor(text, dtype)
  if text == "-" then return false end
  local named, rest = text:match("^(%l%w*):(.*)$")
  local words = parts_of(rest or text, " ")
  return {dtype = named or dtype, shape = words[1], sum = number(words[2]), weighted = number(words[3]), largest = number(words[4])}
end

local function read_tensors(text, dtype)
  local list = {}
  if text == "-" then return list end
  for i, part in ipairs(parts_of(text, ",")) do list[i] = read_tensor(part, dtype) end
  return list
end

-- Measuring --------------------------------------------------------------------------------------------------------------------------------

local function shape_text(t) return #t.shape == 0 and "scalar" or table.concat(t.shape:totable(), "x") end

local function elements(t)
  if t.dtype == "bool" then t = t:to("uint8") end
  t = t:detach():to("float64")
  return #t.shape == 0 and {t:item()} or t:reshape(-1):tolist()
end

-- The three numbers of a tensor.
local function measured(t)
  local sum, weighted, largest = 0, 0, 0
  for i, v in ipairs(elements(t)) do
    sum, weighted = sum + v, weighted + v * math.sin(i)
    if v ~= v or math.abs(v) > largest then largest = math.abs(v) end
  end
  return {sum = sum, weighted = weighted, largest = largest}
end

local function finite(x) return x == x and math.abs(x) < math.huge end

local function near(got, want, allowed) return got == want or got ~= got and want ~= want or math.abs(got - want) <= allowed end

-- What differs between a tensor and what is written of it, or nil. scale: the largest number of the call.
local function difference(want, t, bounds, scale)
  if not want then return t and "is there, PyTorch has none" or nil end
  if not t then return "is missing" end
  if t.dtype ~= want.dtype or shape_text(t) ~= want.shape then return ("is %s %s instead of %s %s"):format(t.dtype, shape_text(t), want.dtype, want.shape) end
  local got, n = measured(t), math.max(1, t:numel())
  local allowed = bounds.own * (finite(want.largest) and want.largest or 0) + bounds.any * scale
  for name, times in pairs{sum = n, weighted = n, largest = 1} do
    if not near(got[name], want[name], allowed * times) then return ("has the %s %.12g instead of %.12g"):format(name, got[name], want[name]) end
  end
end

local function scale_of(sections)
  local scale = 1
  for _, section in ipairs(sections) do
    for _, want in ipairs(section) do
      if want and finite(want.largest) then scale = math.max(scale, want.largest) end
    end
  end
  return scale
end

-- A call -----------------------------------------------------------------------------------------------------------------------------------

local function state_of(module)
  local list = {}
  for name, t in lt.items(module:state_dict()) do list[#list + 1] = name .. " " .. shape_text(t) end
  return #list > 0 and table.concat(list, ",") or "-"
end

local function leaves_of(inputs, module)
  local leaves = {}
  local function add(t)
    if type(t) == "table" then
      for _, part in ipairs(t) do add(part) end
    elseif lt.is_tensor(t) and t.requires_grad then
      leaves[#leaves + 1] = t
    end
  end
  for i = 1, 32 do add(inputs[i]) end
  for _, p in ipairs(module and module:parameters() or {}) do add(p) end
  return leaves
end

-- The sum of all floating results, each times a wave; nil where nothing wants a gradient.
local function weighted(results, dtype)
  local loss
  for k, y in ipairs(results) do
    if y and y.requires_grad and y.dtype:find("float") then
      local term = (y * cases.rounded(cases.wave({y.shape:unpack()}, 1 + 0.3 * (k - 1), dtype), dtype):to(y.dtype)):sum()
      loss = type(loss) == "nil" and term or loss + term
    end
  end
  return loss
end

local function filled(list, n)
  for i = 1, n do list[i] = list[i] ~= nil and list[i] end
  return list
end

local function gradients(results, leaves, dtype, twice)
  local loss = weighted(results, dtype)
  if type(loss) == "nil" or #leaves == 0 then return {}, {} end
  local first = filled(lt.autograd.grad(loss, leaves, {create_graph = twice, allow_unused = true}), #leaves)
  if not twice then return first, {} end
  local squares
  for _, g in ipairs(first) do
    if g and g.requires_grad then squares = type(squares) == "nil" and (g * g):sum() or squares + (g * g):sum() end
  end
  if type(squares) == "nil" then return first, {} end
  return first, filled(lt.autograd.grad(squares, leaves, {allow_unused = true}), #leaves)
end

-- Runs a case: the module or nil, and its tensors in the four sections of a line.
local function run(case, twice)
  local module = not case.fn and cases.make(case) or nil
  local results, inputs = cases.call(case, module or F[case.fn])
  local first, second = gradients(results, leaves_of(inputs, module), case.dtype, twice)
  return module, {results, first, second, module and module:buffers() or {}}
end

local SECTIONS = {"result", "gradient", "second derivative", "buffer"}

-- No gradient is as good as one of zeros.
local function zero(want, t) return not want and (not t or measured(t).largest == 0) or want and not t and want.largest == 0 end

local function compare(case, fields)
  local wanted = {}
  for i = 1, 4 do wanted[i] = read_tensors(fields[i + 2], case.dtype) end
  local module, got = run(case, #wanted[3] > 0)
  if module and fields[1] ~= "-" and tostring(module) ~= (fields[1]:gsub("\\n", "\n")) then return ("prints %s instead of %s"):format(tostring(module), fields[1]) end
  if module and state_of(module) ~= fields[2] then return ("has the state %s instead of %s"):format(state_of(module), fields[2]) end
  local scale = scale_of(wanted)
  for i, section in ipairs(SECTIONS) do
    for k = 1, math.max(#wanted[i], #got[i]) do
      local want, t = wanted[i][k], got[i][k]
      local problem = not (i ~= 1 and zero(want, t)) and difference(want, t, BOUNDS[case.single and case.dtype == "float64" and "single" or case.dtype], scale)
      if problem then return ("%s %d %s"):format(section, k - 1, problem) end
    end
  end
end

-- What is wrong with a line, or nil.
local function problem_of(line)
  local fields = parts_of(line, "\t")
  local case = cases.read(table.remove(fields, 1))
  if fields[1]:find("^refused") then
    local ok = waited(run, case, false)
    return ok and "raises nothing; " .. fields[1] or nil
  end
  local ok, problem = pcall(compare, case, fields)
  return not ok and "raises " .. tostring(problem) or problem
end

-- The specs --------------------------------------------------------------------------------------------------------------------------------

local function files()
  local list, pipe = {}, io.popen("ls " .. folder .. "*.txt")
  for name in pipe:lines() do list[#list + 1] = name end
  pipe:close()
  return list
end

-- The lines of a file by class or function, in order.
local function groups_of(name)
  local names, groups, at = {}, {}, 0
  for line in io.lines(name) do
    at = at + 1
    local class = line:match("^([%w_.]+)%(")
    if not groups[class] then names[#names + 1], groups[class] = class, {} end
    table.insert(groups[class], {at, line})
  end
  return names, groups
end

describe("over its options, as in PyTorch:", function()
  for _, name in ipairs(files()) do
    local family = name:match("([%w_]+)%.txt$")
    local names, groups = groups_of(name)
    for _, class in ipairs(names) do
      it(class, function()
        local problems = {}
        for _, entry in ipairs(groups[class]) do
          local problem = problem_of(entry[2])
          if problem then problems[#problems + 1] = ("%s.txt:%d  %s: %s"):format(family, entry[1], entry[2]:match("^[^\t]*"), problem) end
        end
        assert(#problems == 0, ("%d of %d differ\n"):format(#problems, #groups[class]) .. table.concat(problems, "\n"))
      end)
    end
  end
end)
