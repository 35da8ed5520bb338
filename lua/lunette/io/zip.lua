--- Zip archives: the directory of one that is read, and writing one. Entries are stored as they are or packed with deflate; zip64 beyond 4 GiB.

local C = require("lunette.ffi").C
local file = require("lunette.io.file")
local promise = require("lunette.io.promise")

local unsigned, little = file.unsigned, file.little
local ipairs, min = ipairs, math.min

local zip = {}

local END, END64, LOCATOR64, CENTRAL, LOCAL = "PK\5\6", "PK\6\6", "PK\6\7", "PK\1\2", "PK\3\4"
local STORED, DEFLATED = 0, 8
local LIMIT, MANY = 0xffffffff, 0xffff -- these stand where zip64 fields hold the value
local LONGEST_COMMENT = 65535

-- Reading --------------------------------------------------------------------------------------------------------------------------------

-- The position of the record at the end of the directory.
local function find_end(f)
  local n = min(f.size, LONGEST_COMMENT + 22)
  local tail = f:bytes(f.size - n, n)
  for at = n - 21, 1, -1 do
    if tail:byte(at) == 80 and tail:sub(at, at + 3) == END and unsigned(tail, at + 20, 2) == n - at - 21 then return f.size - n + at - 1, tail:sub(at, at + 21) end
  end
  f:fail("this zip archive has no directory at its end; is it cut off?")
end

-- Where the directory is, its size and how many entries it has.
local function directory(f)
  local at, record = find_end(f)
  local count, size, offset = unsigned(record, 11, 2), unsigned(record, 13, 4), unsigned(record, 17, 4)
  if (count == MANY or size == LIMIT or offset == LIMIT) and at >= 20 then
    local locator = f:bytes(at - 20, 20)
    local at64 = unsigned(locator, 9, 8)
    if locator:sub(1, 4) == LOCATOR64 and at64 <= at - 56 then
      local record64 = f:bytes(at64, 56)
      if record64:sub(1, 4) == END64 then count, size, offset = unsigned(record64, 33, 8), unsigned(record64, 41, 8), unsigned(record64, 49, 8) end
    end
  end
  if offset + size > at then f:fail("the directory of this zip archive claims bytes %.0f to %.0f of %.0f", offset, offset + size, at) end
  return offset, size, count
end

-- The fields of a zip64 extra, in place of those that are at their limit.
local function widen(extra, fields)
  local i = 1
  while i + 3 <= #extra do
    local id, n = unsigned(extra, i, 2), unsigned(extra, i + 2, 2)
    local from, last = i + 4, min(i + 3 + n, #extra)
    if id == 1 then
      for _, name in ipairs{"size", "packed", "offset"} do
        if fields[name] == LIMIT and from + 7 <= last then
          fields[name] = unsigned(extra, from, 8)
          from = from + 8
        end
      end
    end
    i = i + 4 + n
  end
end

local function read_entry(f, text, i)
  if text:sub(i, i + 3) ~= CENTRAL or i + 45 > #text then f:fail("entry at byte %d of the zip directory is damaged", i - 1) end
  local e = {
    flags = unsigned(text, i + 8, 2), method = unsigned(text, i + 10, 2), crc = unsigned(text, i + 16, 4), packed = unsigned(text, i + 20, 4),
    size = unsigned(text, i + 24, 4), offset = unsigned(text, i + 42, 4),
  }
  local names, extras, comments = unsigned(text, i + 28, 2), unsigned(text, i + 30, 2), unsigned(text, i + 32, 2)
  local next_entry = i + 46 + names + extras + comments
  if next_entry - 1 > #text then f:fail("entry at byte %d of the zip directory is damaged", i - 1) end
  e.name = text:sub(i + 46, i + 45 + names)
  widen(text:sub(i + 46 + names, i + 45 + names + extras), e)
  if e.flags % 2 == 1 then f:fail("the entry %q is encrypted", e.name) end
  if e.method ~= STORED and e.method ~= DEFLATED then f:fail("the entry %q is packed by method %d; only deflate is known", e.name, e.method) end
  if e.method == STORED and e.packed ~= e.size then f:fail("the entry %q is stored, yet has two sizes", e.name) end
  return e, next_entry
end

--- The entries of an archive: an array of {name =, size =, packed =, ...}, and name -> entry.
function zip.entries(f)
  local offset, size, count = directory(f)
  local text, list, by_name, i, total = f:bytes(offset, size), {}, {}, 1, 0
  while i <= #text do
    local e
    e, i = read_entry(f, text, i)
    if by_name[e.name] then f:fail("the entry %q stands twice", e.name) end
    total = total + e.packed
    if total > offset then f:fail("the entry %q claims more bytes than the archive has", e.name) end
    list[#list + 1], by_name[e.name] = e, e
  end
  if #list ~= count then f:fail("this zip archive has %d entries, its end claims %.0f", #list, count) end
  return list, by_name
end

--- Where the bytes of an entry begin.
function zip.data_offset(f, e)
  if e.offset + 30 > f.size then f:fail("the entry %q begins at byte %.0f of %.0f", e.name, e.offset, f.size) end
  local head = f:bytes(e.offset, 30)
  local at = e.offset + 30 + unsigned(head, 27, 2) + unsigned(head, 29, 2)
  if head:sub(1, 4) ~= LOCAL or at + e.packed > f.size then f:fail("the entry %q is damaged", e.name) end
  return at
end

--- The storage of an entry's bytes.
function zip.storage(f, e, location)
  local packed = e.method == DEFLATED
  return promise.storage{
    offset = zip.data_offset(f, e), bytes = e.size, packed = packed and e.packed or nil, crc = packed and e.crc or nil, location = location,
  }
end

--- The bytes of an entry as a vector of uint8.
function zip.vector(f, e)
  local at = zip.data_offset(f, e)
  if e.method == DEFLATED then return f:unpacked(at, e.packed, e.size, e.crc) end
  return f:vector(at, e.size, false)
end

-- Writing --------------------------------------------------------------------------------------------------------------------------------

local ALIGNMENT = 64
local DATE = little(0, 2) .. little(33, 2) -- 1 January 1980: an archive of the same values has the same bytes
local UTF8 = 0x0800

-- The extra field of a local header after which the data begin at a multiple of the alignment.
local function padding(at)
  local n = (ALIGNMENT - (at + 4) % ALIGNMENT) % ALIGNMENT
  return "FB" .. little(n, 2) .. ("Z"):rep(n)
end

local function sizes_extra(e, with_offset)
  local wide = (e.size >= LIMIT and little(e.size, 8) .. little(e.size, 8) or "") .. (with_offset and e.offset >= LIMIT and little(e.offset, 8) or "")
  return wide == "" and "" or little(1, 2) .. little(#wide, 2) .. wide
end

local function small(n) return little(min(n, LIMIT), 4) end

local function common(e, extra)
  return little(e.size >= LIMIT and 45 or 20, 2) .. little(UTF8, 2) .. little(STORED, 2) .. DATE .. little(e.crc, 4) .. small(e.size) .. small(e.size)
    .. little(#e.name, 2) .. little(#extra, 2)
end

--- A new archive that is written by w (file.writing).
function zip.writer(w) return {w = w, entries = {}} end

--- Appends an entry of n bytes at a pointer.
function zip.add(archive, name, pointer, n)
  local w = archive.w
  local e = {name = name, size = n, offset = w.at, crc = C.ln_crc32(0, pointer, n)}
  local extra = sizes_extra(e, false)
  extra = extra .. padding(w.at + 30 + #name + #extra)
  w:bytes(LOCAL .. common(e, extra) .. name .. extra)
  w:bytes(pointer, n)
  archive.entries[#archive.entries + 1] = e
end

--- Writes the directory.
function zip.finish(archive)
  local w, from = archive.w, archive.w.at
  for _, e in ipairs(archive.entries) do
    local extra = sizes_extra(e, true)
    w:bytes(CENTRAL .. little(45, 2) .. common(e, extra) .. little(0, 10) .. small(e.offset) .. e.name .. extra)
  end
  local size, count = w.at - from, #archive.entries
  if count >= MANY or w.at >= LIMIT then
    local at64 = w.at
    w:bytes(END64 .. little(44, 8) .. little(45, 2) .. little(45, 2) .. little(0, 8) .. little(count, 8) .. little(count, 8) .. little(size, 8)
      .. little(from, 8))
    w:bytes(LOCATOR64 .. little(0, 4) .. little(at64, 8) .. little(1, 4))
  end
  local few = little(min(count, MANY), 2)
  w:bytes(END .. little(0, 4) .. few .. few .. small(size) .. small(from) .. little(0, 2))
end

return zip
