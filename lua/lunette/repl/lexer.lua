--- The tokens of Lua text, also of text that is not finished: the prompt rewrites what is typed and completes names by them.

require("lunette.interpreted")()

local lexer = {}

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until while]]):gmatch("%a+") do
  KEYWORDS[word] = true
end
lexer.keywords = KEYWORDS

-- The end of a string between quotes that begins at `at`; nil when the line ends first.
local function quoted_end(text, at)
  local quote, i = text:sub(at, at), at + 1
  while i <= #text do
    local c = text:sub(i, i)
    if c == quote then return i end
    if c == "\n" then return nil end
    i = i + (c == "\\" and 2 or 1)
  end
end

-- The end of what begins with a long bracket at `at`; nil when it has none.
local function long_end(text, at)
  local level = text:match("^%[(=*)%[", at)
  local _, last = text:find("]" .. level .. "]", at, true)
  return last
end

local function number_end(text, at)
  local _, last = text:find("^%.?%d[%w_%.]*", at)
  local hex = text:find("^0[xX]", at)
  if text:find(hex and "^[pP][+-]%d" or "^[eE][+-]%d", last) then _, last = text:find("^[+-]%d+", last + 1) end
  return last
end

local function operator_end(text, at)
  if text:find("^%.%.%.", at) then return at + 2 end
  local two = text:sub(at, at + 1)
  return (two == "==" or two == "~=" or two == "<=" or two == ">=" or two == ".." or two == "::") and at + 1 or at
end

-- The kind of the token at `at` and its last position; nil for one that is open at the end of the text.
local function scan(text, at)
  if text:find("^%-%-%[=*%[", at) then return "comment", long_end(text, at + 2) end
  if text:find("^%-%-", at) then return "comment", (text:find("\n", at, true) or #text + 1) - 1 end
  if text:find("^%[=*%[", at) then return "string", long_end(text, at) end
  if text:find("^[\"']", at) then return "string", quoted_end(text, at) end
  local _, last = text:find("^[%a_\128-\255][%w_\128-\255]*", at)
  if last then return KEYWORDS[text:sub(at, last)] and "keyword" or "name", last end
  if text:find("^%.?%d", at) then return "number", number_end(text, at) end
  return "operator", operator_end(text, at)
end

--- An array of {kind =, text =, first =, last =}; kind is name, keyword, number, string, operator. Comments are left out. Of a string that is not closed `open`
--- is true. The second value says whether the text ends inside a comment.
function lexer.tokens(text)
  local list, at = {}, 1
  while true do
    at = text:find("%S", at)
    if not at then return list, false end
    local kind, last = scan(text, at)
    local open = not last
    last = last or #text
    if kind ~= "comment" then
      list[#list + 1] = {kind = kind, text = text:sub(at, last), first = at, last = last, open = open}
    elseif open or last == #text and not text:find("^%-%-%[=*%[", at) then
      return list, true
    end
    at = last + 1
  end
end

return lexer
