--- Handles of hooks: what registering a hook returns, to take it off again.

local class = require("lunette.class")

local Handle = class.define("nn.utils.hooks.RemovableHandle", {doc = "What registering a hook returns; handle:remove() takes the hook off."})

--- undo: takes the hook off.
function Handle:__init(undo) self.undo = undo end

--- Takes the hook off; a second time does nothing.
function Handle:remove()
  class.check_self(self, Handle, "remove")
  local undo = self.undo
  self.undo = nil
  if undo then undo() end
end

return Handle
