--- The single mistakes that can be planted in a source text: a comparison turned, an operator swapped, a constant changed, a statement dropped, a
--- branch forced. Comments, strings and the arguments of what raises errors are left alone.

local mistakes = {}

-- What is code ---------------------------------------------------------------------------------------------------------------------------

local function blank(text) return (text:gsub("[^\n]", " ")) end

local languages = {
  lua = {comment = "^%-%-[^\n]*", block = "^%-%-%[%[.-%]%]", raising = {"%f[%w_]fail%s*%b()", "%f[%w_]error%s*%b()", "%f[%w_]assert%s*%b()"}},
  c = {comment = "^//[^\n]*", block = "^/%*.-%*/", raising = {"%f[%w_]ln_fail[%w_]*%s*%b()", "%f[%w_]fail_at%s*%b()"}},
}

--- Length of the comment or string that begins at `i`, or nil.
local function no_code(text, i, language)
  local rest = text:sub(i, i + 4000)
  local found = rest:match(language.block) or rest:match(language.comment)
  if found then return #found end
  local quote = rest:match("^[\"']")
  if not quote then return nil end
  local k = 2
  while k <= #rest and rest:sub(k, k) ~= quote and rest:sub(k, k) ~= "\n" do
    k = k + (rest:sub(k, k) == "\\" and 2 or 1)
  end
  return k
end

--- The text with everything that is no code turned into spaces.
local function code_of(text, language)
  local parts, i = {}, 1
  while i <= #text do
    local next_at = text:find("[-/\"']", i)
    if not next_at then break end
    local length = no_code(text, next_at, language) or 0
    parts[#parts + 1] = text:sub(i, next_at - 1) .. (length > 0 and blank(text:sub(next_at, next_at + length - 1)) or text:sub(next_at, next_at))
    i = next_at + math.max(length, 1)
  end
  local code = table.concat(parts) .. text:sub(i)
  for _, pattern in ipairs(language.raising) do code = code:gsub(pattern, blank) end
  return code
end

-- Mistakes -------------------------------------------------------------------------------------------------------------------------------

local SWAPS = {
  lua = {[" == "] = " ~= ", [" ~= "] = " == ", [" < "] = " <= ", [" <= "] = " < ", [" > "] = " >= ", [" >= "] = " > ", [" + "] = " - ", [" - "] = " + ",
    [" * "] = " / ", [" / "] = " * ", [" and "] = " or ", [" or "] = " and ", [" not "] = " "},
  c = {[" == "] = " != ", [" != "] = " == ", [" < "] = " <= ", [" <= "] = " < ", [" > "] = " >= ", [" >= "] = " > ", [" + "] = " - ", [" - "] = " + ",
    [" * "] = " / ", [" / "] = " * ", [" && "] = " || ", [" || "] = " && ", ["(!"] = "(", [" += "] = " -= ", [" -= "] = " += "},
}
local WORDS = {["true"] = "false", ["false"] = "true"}
local NUMBER = "%f[%w_.]%d+%.?%d*[eE]?%-?%d*%f[^%w_.]"
local BRANCHES = {lua = {{"%f[%w]if (.-) then", "if %s then", {"true", "false"}}}, c = {{"%f[%w]if (%b())", "if (%s)", {"1", "0"}}}}
local STATEMENTS = {
  lua = {"^%s*[%w_.:%[%]]+%b()%s*$", "^%s*[%w_][%w_.:%[%], ]*%s=%s.+$"},
  c = {"^%s*[%w_][%w_>.%-]*%b();%s*$", "^%s*%*?[%w_][%w_>.%-%[%]]*%s[-+*/|&]?=%s.*;%s*$", "^%s*break;%s*$", "^%s*continue;%s*$"},
}

local function swaps(line, language, put)
  for from, to in pairs(SWAPS[language]) do
    local at = line:find(from, 1, true)
    while at do
      put(at, at + #from - 1, to)
      at = line:find(from, at + 1, true)
    end
  end
end

local function constants(line, _, put)
  for first, token, last in line:gmatch("()(" .. NUMBER .. ")()") do put(first, last - 1, "(" .. token .. " + 1)") end
  for first, word, last in line:gmatch("()%f[%w_](%a+)%f[^%w_]()") do
    if WORDS[word] then put(first, last - 1, WORDS[word]) end
  end
end

local function branches(line, language, put)
  for _, form in ipairs(BRANCHES[language]) do
    local first, last = line:find(form[1])
    for _, value in ipairs(first and form[3] or {}) do put(first, last, form[2]:format(value)) end
  end
end

local function statements(line, language, put)
  if line:find("^%s*local ") or line:find("^%s*return") then return end
  for _, pattern in ipairs(STATEMENTS[language]) do
    if line:find(pattern) then put(1, #line, "") end
  end
end

--- All mistakes for the text of a source: arrays of {line =, first =, last = columns, new = what replaces these}, in the order of the text.
function mistakes.of(text, language)
  local list, number = {}, 0
  for line in (code_of(text, languages[language]) .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    local here = number
    local function put(first, last, new) list[#list + 1] = {line = here, first = first, last = last, new = new} end
    if not line:find("^%s*#%s*%a") then
      for _, kind in ipairs{swaps, constants, branches, statements} do kind(line, language, put) end
    end
  end
  table.sort(list, function(a, b)
    if a.line ~= b.line then return a.line < b.line end
    if a.first ~= b.first then return a.first < b.first end
    if a.last ~= b.last then return a.last < b.last end
    return a.new < b.new
  end)
  return list
end

--- The text with one mistake, and the line before and after.
function mistakes.plant(text, mistake)
  local lines = {}
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  local old = lines[mistake.line]
  local new = old:sub(1, mistake.first - 1) .. mistake.new .. old:sub(mistake.last + 1)
  lines[mistake.line] = new
  return table.concat(lines, "\n"), old, new
end

return mistakes
