--- The text of a tensor, letter by letter PyTorch's.

local each = require("lunette.each")
local base = require("lunette.ffi")
local arguments = require("lunette.arguments")

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

local function is_cut(size, summarize) return summarize and size > 2 * print_options.edgeitems end

--- The tensor with the elements that are shown, the others cut out: their values alone decide the format, and the rest need not be read.
local function edges_of(t)
  local p, edge, ops = pointer(t), print_options.edgeitems, require("lunette.ops")
  t = t:detach()
  for d = 0, p.ndim - 1 do
    local size = tonumber(p.shape[d])
    if is_cut(size, true) then t = ops.cat({ops.narrow(t, d, 0, edge), ops.narrow(t, d, size - edge, edge)}, d) end
  end
  return t
end

-- What texts are made of: `values` are those of `shown`, a struct of shape and strides, whose dimensions `cut[dim]` are shown with "..." inside.

--- Calls element(i) for each index shown along a dimension, and gap() where some are left out.
local function visit(view, dim, element, gap)
  local size = tonumber(view.shown.shape[dim])
  for i = 0, size - 1 do
    if view.cut[dim] and i == size / 2 then gap() end
    element(i)
  end
  if view.cut[dim] and size == 0 then gap() end
end

local function format_row(view, at, dim, indent)
  local per_line = math.max(1, floor((print_options.linewidth - indent) / (view.width + 2)))
  local first, words, lines = at * tonumber(view.shown.shape[dim]), {}, {}
  visit(view, dim, function(i) words[#words + 1] = view.format(view.values[first + i]) end, function()
    words[#words + 1] = print_options.edgeitems == 0 and "..." or " ..."
  end)
  for i = 1, #words, per_line do lines[#lines + 1] = concat(words, ", ", i, math.min(i + per_line - 1, #words)) end
  return "[" .. concat(lines, ",\n" .. (" "):rep(indent + 1)) .. "]"
end

local function format_elements(view, at, dim, indent)
  local p = view.shown
  if p.ndim == 0 then return view.format(view.values[0]) end
  if dim == p.ndim - 1 then return format_row(view, at, dim, indent) end
  local first, rows = at * tonumber(p.shape[dim]), {}
  visit(view, dim, function(i) rows[#rows + 1] = format_elements(view, first + i, dim + 1, indent + 1) end, function() rows[#rows + 1] = "..." end)
  return "[" .. concat(rows, "," .. ("\n"):rep(p.ndim - dim - 1) .. (" "):rep(indent + 1)) .. "]"
end

local function elements_text(t)
  local p = pointer(t)
  if p.numel == 0 then return "[]" end
  local summarize, cut = tonumber(p.numel) > print_options.threshold, {}
  for d = 0, p.ndim - 1 do cut[d] = is_cut(tonumber(p.shape[d]), summarize) end
  local shown = summarize and edges_of(t) or t
  local q = pointer(shown)
  local n = tonumber(q.numel)
  local values = is_float(q) and ffi.new("double[?]", n + 1) or ffi.new("int64_t[?]", n + 1)
  check(C.ln_tensor_read(q, is_float(q) and values or nil, not is_float(q) and values or nil))
  local format, width = formatter(q, values, n)
  return format_elements({shown = q, cut = cut, values = values, format = format, width = width}, 0, 0, #"tensor(")
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
  if bit.band(p.flags, C.LN_UNINITIALIZED) ~= 0 then return t.is_parameter and "<UninitializedParameter>" or "<UninitializedBuffer>" end
  local text = elements_text(t)
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

local MOST_DIGITS = 100

-- What an option must be, in words, and the test.
local rules = {
  precision = {("a whole number from 0 to %d"):format(MOST_DIGITS), function(x) return arguments.is_int(x) and x >= 0 and x <= MOST_DIGITS end},
  threshold = {"a number from 0", function(x) return type(x) == "number" and x >= 0 end},
  edgeitems = {"a whole number from 0", function(x) return arguments.is_int(x) and x >= 0 and x < 2 ^ 53 end},
  linewidth = {"a number from 1", function(x) return type(x) == "number" and x >= 1 end},
  sci_mode = {"true or false", function(x) return type(x) == "boolean" end},
}

local function check_option(name, value)
  local rule = rules[name]
  if not rule then
    local names = {"precision", "threshold", "edgeitems", "linewidth", "sci_mode"}
    base.fail(("set_printoptions has no option '%s'%s"):format(tostring(name), arguments.hint(name, names)))
  end
  if not rule[2](value) then base.fail(("set_printoptions: %s must be %s, not %s"):format(name, rule[1], arguments.describe(value))) end
end

--- lt.set_printoptions{precision = 4, threshold = 1000, edgeitems = 3, linewidth = 80, sci_mode = nil}: what is named is changed, and sci_mode is
-- automatic again where it is not, as in PyTorch.
function printing.set_printoptions(options)
  if type(options) ~= "table" then base.fail("set_printoptions takes a table of options, not " .. arguments.describe(options)) end
  for name, value in each(options) do check_option(name, value) end
  for name, value in each(options) do print_options[name] = value end
  print_options.sci_mode = options.sci_mode
end

return printing
