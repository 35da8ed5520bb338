--- lt.save, lt.load and lt.read_file. The name of a file says how it is written, its content how it is read (docs/files.md).

local arguments = require("lunette.arguments")
local define = require("lunette.define")
local file = require("lunette.io.file")

local fail, describe, ipairs, type = arguments.fail, arguments.describe, ipairs, type

local io = {read_file = file.read_file}
local declare = define.into(io, "lt")

-- Writing --------------------------------------------------------------------------------------------------------------------------------

-- How a name ends, and the module that writes such files.
local WRITERS = {{".pt", "lunette.io.torch"}, {".pth", "lunette.io.torch"}, {".safetensors", "lunette.save"}, {".npy", "lunette.io.npy"}, {".npz", "lunette.io.npz"}}

local function writer_of(path)
  local endings = {}
  for i, writer in ipairs(WRITERS) do
    if path:sub(-#writer[1]) == writer[1] then return require(writer[2]) end
    endings[i] = writer[1]
  end
  fail(("save: the name %q says no known format; there are %s"):format(path, table.concat(endings, ", ")))
end

declare("save", {
  doc = "Writes tables, tensors, numbers, strings and booleans, nested in any way, as .pt or .pth, which PyTorch's weights_only reads; tables of tensors as "
    .. ".safetensors or .npz; one tensor as .npy. A module is refused: save its state_dict(). The file is the old one or the new one, whole, at any moment.",
  takes = "object:any, path:string",
  example = "> path = os.tmpname() .. \".pt\"\n> lt.save({epoch = 3, weights = {lt.ones(2, 2), lt.zeros(2)}}, path)\n> lt.load(path).weights[1]:sum():item()\n4\n"
    .. "> os.remove(path)\ntrue",
  call = function(object, path)
    file.check_path("save", path)
    if arguments.is_module(object) then fail("save: a module cannot be saved; save its state_dict(): lt.save(net:state_dict(), path)") end
    writer_of(path).write(object, path)
  end,
})

-- Reading --------------------------------------------------------------------------------------------------------------------------------

local function read_zip(f)
  local torch, npz = require("lunette.io.torch"), require("lunette.io.npz")
  local entries, by_name = require("lunette.io.zip").entries(f)
  if torch.is_archive(entries) then return torch.read_archive(f, entries, by_name) end
  if npz.is_archive(entries) then return npz.read(f, entries) end
  f:fail("unknown format: a zip archive of neither PyTorch's data.pkl nor NumPy's arrays")
end

-- How files begin, and what reads them or says what they are.
local FORMATS = {
  {"PK\3\4", read_zip},
  {"PK\5\6", function(f) f:fail("unknown format: a zip archive without entries") end},
  {"\147NUMPY", function(f) return require("lunette.io.npy").read_file(f) end},
  {"GGUF", function(f) return require("lunette.io.gguf").read(f) end},
  {"\128\2\138\10", function(f, options) return require("lunette.io.torch").read_sequence(f, options.mmap) end},
  {"[34]\n1\n", function(f) return require("lunette.io.t7").read(f, "ascii") end},
  {"[\3\4]%z%z%z\1%z%z%z", function(f) return require("lunette.io.t7").read(f, "binary") end},
  {"\128[\2-\5]", function(f) f:fail("unknown format: a pickle that torch.save did not write") end},
  {"\31\139\8", function(f) f:fail("unknown format: a gzip file; unpack it first") end},
}

local function read(f, options)
  local head = f:bytes(0, math.min(16, f.size))
  -- the length with which a safetensors file begins may look like another format
  if not head:find("^....%z%z%z%z{") then
    for _, format in ipairs(FORMATS) do
      if head:find("^" .. format[1]) then return format[2](f, options) end
    end
  end
  return require("lunette.save").read(f)
end

local function load(f, options)
  local tree = read(f, options)
  local promise = require("lunette.io.promise")
  if options.names then tree = promise.keep(f, tree, options.names) end
  return promise.fill(f, tree, options)
end

local function check_names(names)
  for i = 1, #(names or {}) do
    if type(names[i]) ~= "string" then fail(("load: names must be an array of strings, entry %d is %s"):format(i, describe(names[i]))) end
  end
end

declare("load", {
  doc = "What a file holds: .pt and .pth of PyTorch, .safetensors, .npy, .npz, GGUF and Torch7's .t7, told by their content; nothing in it is run. map_location: the device for its tensors, a "
    .. "table from the devices that the file names to others, or a function (bytes, location); otherwise tensors go to the device that the file names where "
    .. "it is there, else to the cpu. mmap: elements are read when they are first looked at. names: these entries alone, keys of nested tables joined with \"/\". "
    .. "weights_only is how every file is read.",
  takes = "path:string, map_location:any?, *, weights_only:bool=true, mmap:bool=true, names:table?",
  example = "> path = os.tmpname() .. \".pt\"\n> lt.save({a = lt.ones(2), b = lt.zeros(3)}, path)\n> for name in lt.items(lt.load(path, {names = {\"b\"}})) do print(name) end\nb\n"
    .. "> os.remove(path)\ntrue",
  call = function(path, map_location, weights_only, mmap, names)
    file.check_path("load", path)
    if not weights_only then fail("load: weights_only = false would run code that the file brings; only values are read") end
    check_names(names)
    return file.reading(path, load, {map_location = map_location, mmap = mmap, names = names})
  end,
})

return io
