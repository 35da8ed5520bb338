--- Lines from the terminal: edited by GNU readline or libedit where one is installed, else as the terminal gives them.
--
-- LUNETTE_READLINE names the library to be opened; with "none" none is.

local ffi = require("ffi")
local base = require("lunette.ffi")
local history = require("lunette.repl.history")

require("lunette.interpreted")()

local C = base.C
local input = {}

local NAMES = {"libreadline.so.8", "libreadline.so.7", "libreadline.so", "libedit.so.2", "libedit.so.0"}
-- What ends a word that is to be completed: chains of names and paths are words.
local BREAKS = " \t\n\"'`@$><=;|&{(+*%^#~,[])}!\\"

ffi.cdef[[
typedef char *ln_rl_generator(const char *text, int state);
typedef char **ln_rl_completer(const char *text, int start, int end);
typedef void ln_rl_handler(char *line);
void rl_callback_handler_install(const char *prompt, ln_rl_handler *handler);
void rl_callback_read_char(void);
void rl_callback_handler_remove(void);
void rl_free_line_state(void);
void rl_cleanup_after_signal(void);
int rl_initialize(void);
void add_history(const char *line);
void using_history(void);
void stifle_history(int most);
char **rl_completion_matches(const char *text, ln_rl_generator *generator);
extern ln_rl_completer *rl_attempted_completion_function;
extern int rl_attempted_completion_over, rl_completion_append_character, rl_catch_signals, rl_point;
extern char *rl_line_buffer;
extern const char *rl_completer_word_break_characters, *rl_basic_word_break_characters, *rl_readline_name;
struct ln_pollfd { int fd; short events, revents; };
int poll(struct ln_pollfd *fds, unsigned long n, int timeout);
char *strdup(const char *text);
void free(void *p);
]]

local LOOK = 100 -- milliseconds between looks at the flag of Ctrl-C, which may be set just before a wait begins
local keyboard = ffi.new("struct ln_pollfd[1]", {{fd = 0, events = 1}})

-- Waits for a key for so many milliseconds. @return whether there is one
local function wait(milliseconds) return ffi.C.poll(keyboard, 1, milliseconds) > 0 end

-- The plain reader -------------------------------------------------------------------------------------------------------------------------

local function interrupted()
  C.ln_interrupt_clear()
  io.write("\n")
  return nil, "interrupted"
end

local function plain(prompt)
  io.write(prompt)
  io.flush()
  while C.ln_is_terminal(0) and not wait(LOOK) do
    if C.ln_interrupted() then return interrupted() end
  end
  local line = io.stdin:read("*l")
  if not line and C.ln_interrupted() then return interrupted() end
  return line
end

-- The editing reader -----------------------------------------------------------------------------------------------------------------------

local function open_library()
  local wish = os.getenv("LUNETTE_READLINE")
  if wish == "none" then return nil end
  for _, name in ipairs(wish and wish ~= "" and {wish} or NAMES) do
    local ok, library = pcall(ffi.load, name)
    if ok and pcall(function() return library.rl_callback_handler_install end) then return library end
  end
end

local kept = {} -- what the library holds pointers to

local function set_completion(library, complete)
  local candidates = {}
  local generator = ffi.cast("ln_rl_generator *", function(_, state)
    local text = candidates[state + 1]
    return text and ffi.C.strdup(text) or nil
  end)
  kept.generator = generator
  kept.completer = ffi.cast("ln_rl_completer *", function(text, start, stop)
    local ok, found = pcall(function()
      local line = ffi.string(library.rl_line_buffer)
      return complete(line:sub(1, stop), line:sub(start + 1, stop))
    end)
    candidates = ok and found or {}
    library.rl_attempted_completion_over = 1
    library.rl_completion_append_character = 0
    return #candidates > 0 and library.rl_completion_matches(text, generator) or nil
  end)
  kept.breaks = ffi.cast("const char *", BREAKS)
  library.rl_completer_word_break_characters = kept.breaks
  library.rl_basic_word_break_characters = kept.breaks
  library.rl_attempted_completion_function = kept.completer
end

local function optional(library, name)
  local ok, fn = pcall(function() return library[name] end)
  return ok and fn or nil
end

local function editing(library, complete)
  local done, line
  kept.handler = ffi.cast("ln_rl_handler *", function(text)
    done, line = true, text ~= nil and ffi.string(text) or nil
    if text ~= nil then ffi.C.free(text) end
    library.rl_callback_handler_remove()
  end)
  kept.name = ffi.cast("const char *", "Lunette")
  library.rl_readline_name = kept.name
  library.rl_catch_signals = 0
  library.using_history()
  library.rl_initialize()
  set_completion(library, complete)
  for _, entry in ipairs(history.read()) do library.add_history(entry) end
  local free_line, clean = optional(library, "rl_free_line_state"), optional(library, "rl_cleanup_after_signal")
  local function drop()
    C.ln_interrupt_clear()
    io.write("^C") -- before the library moves the cursor
    io.flush()
    if free_line then free_line() end
    if clean then clean() end
    library.rl_callback_handler_remove()
    io.write("\n")
    io.flush()
    return nil, "interrupted"
  end
  return function(prompt)
    done, line = false, nil
    io.flush()
    library.rl_callback_handler_install(prompt, kept.handler)
    while not done do
      if wait(LOOK) then library.rl_callback_read_char() end
      if C.ln_interrupted() and not done then return drop() end
    end
    return line
  end, function(entry) library.add_history(entry) end
end

--- A function that reads a line, read(prompt), and one that adds an entry to the history. read returns nil at the end of input, nil and "interrupted" when
--- Ctrl-C drops the line. complete(line, word) gives the words that may stand in the place of the last one of a line.
function input.open(complete)
  local library = C.ln_is_terminal(0) and C.ln_is_terminal(1) and open_library()
  if not library then return plain, history.add end
  local read, remember = editing(library, complete)
  return read, function(entry)
    if history.add(entry) then remember(entry) end
  end
end

return input
