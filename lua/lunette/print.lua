--- The text of a tensor, letter by letter PyTorch's.

local base = require("lunette.ffi")

local C, ffi, check, pointer = base.C, base.ffi, base.check, base.pointer
local tonumber, concat, floor, abs, huge = tonumber, table.concat, math.floor, math.abs, math.huge

local print_options = {precision = 4, threshold = 1000, edgeitems = 3, linewidth = 80, sci_mode = nil}
local printing = {options = print_options}

local function is_float(p) return p.dtype <= 3 end

-- Formatting one number ------------------------------------------------------------------------------------------------------------------

local function special(v)
  if v ~= v then return "nan" end
  if v == huge then return "inf" end
  if v == -huge then return "-inf" end
end

--- C's, as it rounds ties to even; LuaJIT's string.format rounds them up.
ffi.cdef("int snprintf(char *, size_t, const char *, ...);")
local buffer = ffi.new("char[512]")
local function digits(v, conversion)
  ffi.C.snprintf(buffer, 512, "%." .. print_options.precision .. conversion, v)
  return ffi.string(buffer)
end

local function scientific(v) return special(v) or digits(v, "e") end
local function fixed(v) return special(v) or digits(v, "f") end
local function whole(v) return special(v) or ("%.0f."):format(v) end

local function counts(v) return v ~= 0 and v == v and abs(v) ~= huge end

--- How the printed floats are written: all whole, fixed or scientific; decided by the non-zero finite ones.
local function float_style(values, n)
  local low, high, all_whole = huge, 0, true
  for i = 0, n - 1 do
    local v = values[i]
    if counts(v) then
      all_whole = all_whole and floor(v) == v
      low, high = math.min(low, abs(v)), math.max(high, abs(v))
    end
  end
  if high == 0 then return whole end
  local sci = print_options.sci_mode
  if sci == nil then sci = high / low > 1000 or high > 1e8 or not all_whole and low < 1e-4 end
  return sci and scientific or all_whole and whole or fixed
end

--- A function that writes an element, padded to the width of the widest; of floats the non-zero finite ones are measured.
local function formatter(p, values, n)
  local style, measured
  if is_float(p) then
    style, measured = float_style(values, n), counts
  elseif p.dtype == 9 then
    style = function(v) return v ~= 0 and "True" or "False" end
  else
    style = function(v) return (tostring(v):gsub("LL$", "")) end
  end
  local width = 1
  for i = 0, n - 1 do
    if not measured or measured(values[i]) then width = math.max(width, #style(values[i])) end
  end
  return function(v)
    local text = style(v)
    return (" "):rep(width - #text) .. text
  end, width
end

-- The elements shown ---------------------------------------------------------------------------------------------------------------------

--- Places along a dimension that are shown; nil stands for "...".
local function shown(size, summarize)
  local list, edge = {}, print_options.edgeitems
  if not summarize or size <= 2 * edge then
    for i = 0, size - 1 do list[#list + 1] = i end
    return list
  end
  for i = 0, edge - 1 do list[#list + 1] = i end
  list[#list + 1] = false
  for i = size - edge, size - 1 do list[#list + 1] = i end
  return list
end

local function vector(p, at, dim, indent, summarize, format, width, values)
  local per_line = math.max(1, floor((print_options.linewidth - indent) / (width + 2)))
  local words = {}
  for _, i in ipairs(shown(tonumber(p.shape[dim]), summarize)) do
    words[#words + 1] = i and format(values(at * tonumber(p.shape[dim]) + i)) or print_options.edgeitems == 0 and "..." or " ..."
  end
  local lines = {}
  for i = 1, #words, per_line do lines[#lines + 1] = concat(words, ", ", i, math.min(i + per_line - 1, #words)) end
  return "[" .. concat(lines, ",\n" .. (" "):rep(indent + 1)) .. "]"
end

local function body(p, at, dim, indent, summarize, format, width, values)
  if p.ndim == 0 then return format(values(0)) end
  if dim == p.ndim - 1 then return vector(p, at, dim, indent, summarize, format, width, values) end
  local rows = {}
  for _, i in ipairs(shown(tonumber(p.shape[dim]), summarize)) do
    rows[#rows + 1] = i and body(p, at * tonumber(p.shape[dim]) + i, dim + 1, indent + 1, summarize, format, width, values) or "..."
  end
  return "[" .. concat(rows, "," .. ("\n"):rep(p.ndim - dim - 1) .. (" "):rep(indent + 1)) .. "]"
end

--- The values that are printed decide the format, so those alone are gathered.
local function gather(p, all, summarize)
  if not summarize then return all, tonumber(p.numel) end
  local picked = {}
  local function walk(dim, at)
    if dim == p.ndim then
      picked[#picked + 1] = all[at]
      return
    end
    for _, i in ipairs(shown(tonumber(p.shape[dim]), true)) do
      if i then walk(dim + 1, at * tonumber(p.shape[dim]) + i) end
    end
  end
  walk(0, 0)
  local n = #picked
  picked[0] = picked[1]
  for i = 1, n do picked[i - 1] = picked[i] end
  return picked, n
end

-- The suffix -----------------------------------------------------------------------------------------------------------------------------

local function shape_text(p)
  local words = {}
  for i = 0, p.ndim - 1 do words[#words + 1] = tostring(tonumber(p.shape[i])) end
  return "(" .. concat(words, ", ") .. (p.ndim == 1 and "," or "") .. ")"
end

local function suffixes(t, p)
  local list = {}
  if p.device >= 0 then list[#list + 1] = "device='" .. base.device_name(p.device) .. "'" end
  local dtype, empty = base.dtype_name[p.dtype], p.numel == 0
  if empty and p.ndim ~= 1 or not empty and print_options.edgeitems == 0 then list[#list + 1] = "size=" .. shape_text(p) end
  local default = dtype == "float32" or (not empty and (dtype == "int64" or dtype == "bool"))
  if not default then list[#list + 1] = "dtype=torch." .. dtype end
  local fn = t.grad_fn
  if fn then
    list[#list + 1] = "grad_fn=<" .. fn .. ">"
  elseif C.ln_tensor_requires_grad(p) then
    list[#list + 1] = "requires_grad=True"
  end
  return list
end

--- The text, with `tensor(` before it and what is not the default behind it.
function printing.tostring(t)
  local p = pointer(t)
  local n = tonumber(p.numel)
  local text
  if n == 0 then
    text = "[]"
  else
    local values = is_float(p) and ffi.new("double[?]", n) or ffi.new("int64_t[?]", n)
    check(C.ln_tensor_read(p, is_float(p) and values or nil, not is_float(p) and values or nil))
    local summarize = n > print_options.threshold
    local picked, count = gather(p, values, summarize)
    local format, width = formatter(p, picked, count)
    text = body(p, 0, 0, #"tensor(", summarize, format, width, function(i) return values[i] end)
  end
  local parts, suffix = {"tensor(" .. text}, suffixes(t, p)
  local last = #parts[1]:match("[^\n]*$") + 2 -- PyTorch, too, counts two more than there are
  for _, word in ipairs(suffix) do
    if last + #word + 2 > print_options.linewidth then
      parts[#parts + 1] = ",\n" .. (" "):rep(#"tensor(") .. word
      last = #"tensor(" + #word
    else
      parts[#parts + 1] = ", " .. word
      last = last + #word + 2
    end
  end
  local full = concat(parts) .. ")"
  if t.is_parameter then return "Parameter containing:\n" .. full end
  return full
end

--- lt.set_printoptions{precision = 4, threshold = 1000, edgeitems = 3, linewidth = 80, sci_mode = nil}
function printing.set_printoptions(options)
  for key, value in pairs(options) do
    if key ~= "sci_mode" and print_options[key] == nil then base.fail("set_printoptions has no option '" .. tostring(key) .. "'") end
    print_options[key] = value
  end
  print_options.sci_mode = options.sci_mode -- automatic again where it is not named, as in PyTorch
end

base.hooks.tostring = printing.tostring

return printing
