--- `for key, value in each(t) do`: every entry of a table, as `pairs` gives them, in loops that end wherever they run.
--
-- LuaJIT compiles a loop over `pairs` to an instruction of its own (ITERN). When such a compiled loop is left at that instruction - because an entry
-- has another type than the one it was compiled for - the interpreter goes straight back into it, and only the recording of another trace gets it out.
-- Nothing is recorded in a finalizer or a debug hook, so there it never ends (LuaJIT 2.1 as distributed up to 2022). LuaJIT tells these loops by the
-- names `pairs` and `next`; under another name they are calls of `next` like any other, compiled and interpreted alike.
--
-- A compiled loop may lose a key that it keeps in a variable from one round to the next (`if key > most then most = key end`): what does that is not to be
-- compiled (jit.off), as array_length in io/pickler.lua.

local next = next

return function(t) return next, t end
