--- What Tab offers: names of the session, fields and methods of the object at hand, names of options inside a call, files inside a string.
--
-- Nothing is called to find out: of `net.fc1.` each name is looked up, what stands behind a call is not known.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local class = require("lunette.class")
local each = require("lunette.each")
local lazily = require("lunette.lazily")
local lexer = require("lunette.repl.lexer")
local signature = require("lunette.signature")

require("lunette.interpreted")()

local complete = {}

-- Names of an object -----------------------------------------------------------------------------------------------------------------------

local function add_keys(set, t, wanted)
  for key, value in each(t) do
    if type(key) == "string" and key:find("^[%a_][%w_]*$") and wanted(key, value) then set[key] = true end
  end
end

local function is_public(name) return name:sub(1, 1) ~= "_" end
local function is_method(name, value) return is_public(name) and (type(value) == "function" or class.is_instance(value)) end

local function tensor_names(set, methods)
  if methods then
    add_keys(set, base.T, is_method)
    for _, name in ipairs(base.hooks.names and base.hooks.names() or {}) do set[name] = true end
  else
    add_keys(set, base.fields, is_public)
  end
end

local function children_of(module)
  local ok, list = pcall(function() return module:named_children() end)
  return ok and list or {}
end

local function instance_names(object, set, methods)
  if not methods then
    add_keys(set, class.fields_of(object), is_public)
    if arguments.is_module(object) then
      for _, source in ipairs{children_of(object), object:named_parameters("", false), object:named_buffers("", false)} do
        for _, pair in ipairs(source) do
          if pair[1]:find("^[%a_][%w_]*$") then set[pair[1]] = true end
        end
      end
    end
  end
  local owner = object.class
  while owner do
    add_keys(set, owner, methods and is_method or function(name, value) return is_public(name) and type(value) ~= "function" end)
    owner = class.parent_of(owner)
  end
end

local function table_names(t, set, methods)
  local wanted = methods and is_method or is_public
  add_keys(set, t, wanted)
  local meta = getmetatable(t)
  if type(meta) ~= "table" then return end
  if type(meta.__names) == "function" and not methods then
    for _, name in ipairs(meta.__names()) do set[name] = true end
  end
  if type(meta.__index) == "table" and meta.__index ~= t then table_names(meta.__index, set, methods) end
end

-- The set of names behind `object.` or `object:`.
local function names_of(object, methods)
  local set = {}
  if base.is_tensor(object) then
    tensor_names(set, methods)
  elseif class.is_instance(object) then
    instance_names(object, set, methods)
  elseif type(object) == "table" then
    table_names(object, set, methods)
  elseif type(object) == "string" and methods then
    add_keys(set, string, is_public)
  end
  return set
end

-- The object at hand -----------------------------------------------------------------------------------------------------------------------

-- Where the chain `a.b[0].c` that ends with token `last` begins, its keys; nil where something is called in it.
local function chain_before(tokens, last)
  local keys, i = {}, last
  while tokens[i] do
    local token = tokens[i]
    if token.kind == "name" then
      table.insert(keys, 1, token.text)
      local link = tokens[i - 1] and tokens[i - 1].text
      if link ~= "." and link ~= ":" then return keys end
      i = i - 2
    elseif token.text == "]" and tokens[i - 2] and tokens[i - 2].text == "[" then
      local key = tokens[i - 1]
      table.insert(keys, 1, key.kind == "number" and tonumber(key.text) or key.text:match("^[\"'](.*)[\"']$") or false)
      i = i - 3
    else
      return nil
    end
  end
end

local function lookup(env, keys)
  if not keys or type(keys[1]) ~= "string" then return nil end
  local object = env[keys[1]]
  for i = 2, #keys do
    local ok, value = pcall(function() return object[keys[i]] end)
    if not ok or value == nil then return nil end
    object = value
  end
  return object
end

-- Options ----------------------------------------------------------------------------------------------------------------------------------

local CLOSES = {[")"] = "(", ["}"] = "{", ["]"] = "["}

-- The indices of the brackets that are open behind token `last`, the innermost at the end.
local function open_brackets(tokens, last)
  local open = {}
  for i = 1, last do
    local text = tokens[i].kind == "operator" and tokens[i].text
    if text == "(" or text == "{" or text == "[" then
      open[#open + 1] = i
    elseif CLOSES[text] then
      open[#open] = nil
    end
  end
  return open
end

-- The last token of what is called with the table that opens at token i: `nn.Linear{` or `lt.sum(x, {`.
local function callee_of(tokens, open)
  local i = open[#open]
  local before = tokens[i - 1]
  if before and (before.kind == "name" or before.text == "]") then return i - 1 end
  local outer = open[#open - 1]
  local in_call = before and (before.text == "," or before.text == "(") and outer and tokens[outer].text == "("
  return in_call and outer - 1 or nil
end

local function signatures_of(thing)
  if type(thing) == "function" then thing = lazily.real(thing) end
  local list = {}
  for _, entry in ipairs(require("lunette.reference").find(thing)) do
    local is_call = class.is_instance(thing)
    for _, text in ipairs(is_call and {entry.forward} or entry.signatures) do list[#list + 1] = text end
  end
  return list
end

local function option_names(env, tokens, last)
  local open = open_brackets(tokens, last)
  local i = open[#open]
  if not i or tokens[i].text ~= "{" or (tokens[last].text ~= "{" and tokens[last].text ~= ",") then return {} end
  local callee = callee_of(tokens, open)
  local thing = callee and lookup(env, chain_before(tokens, callee))
  local set = {}
  for _, text in ipairs(thing ~= nil and signatures_of(thing) or {}) do
    for _, part in ipairs(signature.split((text:gsub("%s+", "")), ",")) do
      local name = part:match("^([%a_][%w_]*)")
      if name and name ~= "self" then set[name .. "="] = true end
    end
  end
  return set
end

-- Files ------------------------------------------------------------------------------------------------------------------------------------

local function files(fragment)
  local folder, set = fragment:match("^(.*/)") or "", {}
  local home = os.getenv("HOME")
  local place = folder == "" and "." or (folder:gsub("^~/", (home or "~") .. "/"))
  local pipe = io.popen("ls -1Ap -- '" .. place:gsub("'", "'\\''") .. "' 2> /dev/null")
  for name in pipe:lines() do
    if name:sub(1, 1) ~= "." or fragment:match("[^/]*$"):sub(1, 1) == "." then set[folder .. name] = true end
  end
  pipe:close()
  return set
end

-- All ----------------------------------------------------------------------------------------------------------------------------------------

local function global_names(session)
  local set = {}
  for name in each(lexer.keywords) do set[name] = true end
  for _, source in ipairs{_G, session.declared} do
    for name in each(source) do
      if type(name) == "string" and is_public(name) then set[name] = true end
    end
  end
  return set
end

-- The set of candidates, and what of the line they begin with.
local function candidates(session, line)
  local tokens, in_comment = lexer.tokens(line)
  local last = tokens[#tokens]
  if in_comment then return {}, "" end
  if last and last.open then return files(last.text:sub(2)), last.text:sub(2) end
  local touching = last and last.last == #line and (last.kind == "name" or last.kind == "keyword")
  local fragment, i = touching and last.text or "", touching and #tokens - 1 or #tokens
  local link = tokens[i] and tokens[i].text
  if link == "." or link == ":" then
    local object = lookup(session.env, chain_before(tokens, i - 1))
    if object ~= nil then return names_of(object, link == ":"), fragment end
    local set = {}
    if link == ":" and tokens[i - 1] and tokens[i - 1].text == ")" then tensor_names(set, true) end -- most calls give a tensor
    return set, fragment
  end
  if i > 0 then
    local options = option_names(session.env, tokens, i)
    for name in each(options) do
      if name:sub(1, #fragment) == fragment then return options, fragment end
    end
  end
  return global_names(session), fragment
end

--- The words that may stand in the place of `word`, the end of the line, in order.
function complete.words(session, line, word)
  local set, fragment = candidates(session, (line:gsub("^%s*%%%a+", ""):gsub("^%s*%?", "")))
  local kept = word:sub(1, math.max(0, #word - #fragment))
  local cut = math.max(0, #fragment - #word) -- of a path with spaces the word is the end
  local list = {}
  for name in each(set) do
    if name:sub(1, #fragment) == fragment then list[#list + 1] = kept .. name:sub(cut + 1) end
  end
  table.sort(list)
  return list
end

return complete
