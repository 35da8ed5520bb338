--- Shows a picture [H, W] of values from 0 to 1 in the terminal, `repeated` characters a pixel, with a line of text below.

local SHADES = {" ", ".", ":", "o", "O", "@"}

return function(picture, repeated, caption)
  for _, row in ipairs(picture:tolist()) do
    local text = {}
    for i, value in ipairs(row) do text[i] = SHADES[1 + math.floor(value * 5 + 0.5)]:rep(repeated) end
    print("    " .. table.concat(text))
  end
  print("    " .. caption .. "\n")
end
