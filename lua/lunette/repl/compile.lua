--- Makes chunks of what is typed at the prompt.
--
-- Names that are declared by `local` outside of any block live on, so that such a statement becomes an assignment to a name of the session. And every loop and
-- every function begins with a look for an interrupt, as compiled code calls no debug hook: they stay compiled and can be stopped all the same.

local base = require("lunette.ffi")
local lexer = require("lunette.repl.lexer")

require("lunette.interpreted")()

local compile = {}
local NAME = "=(prompt)"
local LOOK = " if __lunette.ln_interrupted() then __stop() end "

local function stop() error("interrupted", 2) end
local function values(...) return ... end

-- Rewriting --------------------------------------------------------------------------------------------------------------------------------

-- The names behind `local` at token i, and the last token of the list.
local function names_after(tokens, i)
  local names = {tokens[i + 1].text}
  i = i + 1
  while tokens[i + 1] and tokens[i + 1].text == "," do
    names[#names + 1] = tokens[i + 2].text
    i = i + 2
  end
  return names, i
end

-- A `local` that stands in no block: it goes, and a declaration without values assigns nil.
local function release_local(tokens, i, edits, declared)
  edits[#edits + 1] = {tokens[i].first, tokens[i].last, "     "}
  if tokens[i + 1].text == "function" then
    declared[#declared + 1] = tokens[i + 2].text
    return
  end
  local names, last = names_after(tokens, i)
  for _, name in ipairs(names) do declared[#declared + 1] = name end
  local follower = tokens[last + 1] and tokens[last + 1].text
  if follower ~= "=" then
    local at = tokens[last].last + 1
    edits[#edits + 1] = {at, at - 1, follower == ";" and " = nil" or " = nil;"}
  end
end

local DEEPER = {["function"] = true, ["do"] = true, ["repeat"] = true, ["if"] = true}

-- The replacements {first, last, text} for a text that compiles, in order, and the names it declares.
local function edits_of(tokens)
  local edits, declared, depth, loop, header = {}, {}, 0, false, false
  for i, token in ipairs(tokens) do
    local word = token.kind ~= "string" and token.text
    if word == "local" and depth == 0 then release_local(tokens, i, edits, declared) end
    if DEEPER[word] then depth = depth + 1 end
    if word == "end" or word == "until" then depth = depth - 1 end
    local begins = word == "repeat" or word == "do" and loop or word == ")" and header
    if begins then edits[#edits + 1] = {token.last + 1, token.last, LOOK} end
    if word == "function" then header = true elseif word == ")" then header = false end
    if word == "for" or word == "while" then loop = true elseif word == "do" then loop = false end
  end
  return edits, declared
end

local function rewritten(text)
  local edits, declared = edits_of((lexer.tokens(text)))
  local parts, at = {}, 1
  for _, edit in ipairs(edits) do
    parts[#parts + 1] = text:sub(at, edit[1] - 1) .. edit[3]
    at = edit[2] + 1
  end
  return table.concat(parts) .. text:sub(at), declared
end

-- Chunks -----------------------------------------------------------------------------------------------------------------------------------

local HEAD, TAIL = "local __lunette, __stop, __values = ... return function(...) ", "\nend"

-- The chunk of a text that is known to compile as it is.
local function chunk_of(text, plain)
  local changed, declared = rewritten(text)
  local maker = loadstring(HEAD .. changed .. TAIL, NAME)
  if maker then return {run = maker(base.C, stop, values), declared = declared} end
  return {run = plain, declared = {}} -- as when it has more names than a function may have
end

-- What is wrong with a text that is neither expression nor statement: the message of the reading that got further.
local function complaint(text, as_expression, as_statement)
  local first = lexer.tokens(text)[1]
  local statement_fails_at_once = first and first.kind ~= "keyword" and as_statement:find("near '" .. first.text .. "'", 1, true)
  return statement_fails_at_once and as_expression or as_statement
end

local function goes_on(message) return message:find("near '<eof>'$") ~= nil and not message:find("unfinished string", 1, true) end

-- A quoted string whose line ends in a backslash goes on.
local function open_string(text)
  local tokens = lexer.tokens(text)
  local last = tokens[#tokens]
  return last ~= nil and last.open and text:sub(-1) == "\\"
end

-- Is the last thing in an expression a call?
local function ends_in_call(text)
  local tokens = lexer.tokens(text)
  local last, before = tokens[#tokens], tokens[#tokens - 1]
  return last.text == ")" or before ~= nil and (last.text == "}" or last.kind == "string") and (before.kind == "name" or before.text == "{")
end

local function single(text)
  local expression, as_expression = loadstring("return " .. text, NAME)
  if expression then -- a call in it is no tail call, which traces leave out
    local closed = loadstring("return f(" .. text .. ")") and ")" or "\n)"
    local chunk = chunk_of("return __values(" .. text .. closed, expression)
    chunk.is_call = ends_in_call(text)
    return chunk
  end
  local statement, as_statement = loadstring(" " .. text, NAME) -- a line that begins with # would be passed over
  if statement then return chunk_of(text, statement) end
  if goes_on(as_expression) or goes_on(as_statement) or open_string(text) then return nil, "more" end
  return nil, complaint(text, as_expression, as_statement)
end

-- Several lines that are no one chunk, as expressions between statements: each as many lines as it takes.
local function by_lines(text)
  local chunks, pending = {}, nil
  for line in (text .. "\n"):gmatch("(.-)\n") do
    pending = pending and pending .. "\n" .. line or line
    if pending:find("%S") then
      local chunk, message = single(pending)
      if chunk then
        chunks[#chunks + 1], pending = chunk, nil
      elseif message ~= "more" then
        return nil, message
      end
    else
      pending = nil
    end
  end
  if pending then return nil, "more" end
  return chunks
end

--- The chunks of a text, an array of {run =, declared = names, is_call = the value is that of a call}; or nil and "more" when it is not finished, nil and a message when it is wrong. An expression
--- is returned by its chunk.
function compile.chunks(text)
  text = text:gsub("^%s*=%s*", "")
  local tokens, in_comment = lexer.tokens(text)
  if #tokens == 0 and not in_comment then return {} end
  if #tokens == 0 and loadstring(text) then return {} end
  local chunk, message = single(text)
  if chunk then return {chunk} end
  if message ~= "more" and text:find("\n", 1, true) then
    local chunks, reason = by_lines(text)
    if chunks or reason == "more" then return chunks, reason end
  end
  return nil, message
end

return compile
