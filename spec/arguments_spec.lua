local arguments = require("lunette.arguments")

local function values(...) return {n = select("#", ...), ...} end

describe("the argument checker", function()
  local parse = arguments.signature("Conv2d",
    "in_channels:int, out_channels:int, kernel_size:ints, stride:ints=1, padding:ints|enum(same|valid)=0, bias:bool=true, name:string?")

  it("takes arguments by place and fills in defaults", function()
    assert.are.same({n = 7, 1, 2, 3, 1, 0, true}, values(parse(1, 2, 3)))
    assert.are.same({n = 7, 1, 2, 3, 4, 5, false, "x"}, values(parse(1, 2, 3, 4, 5, false, "x")))
    assert.are.same({n = 7, 1, 2, 3, 1, 2, true}, values(parse(1, 2, 3, nil, 2)))
  end)

  it("takes names in a last table", function()
    assert.are.same({n = 7, 1, 2, {3, 5}, {2, 1}, "same", false}, values(parse(1, 2, {3, 5}, {stride = {2, 1}, padding = "same", bias = false})))
  end)

  it("takes all names in one table", function()
    assert.are.same({n = 7, 1, 2, 3, 1, 0, false}, values(parse{in_channels = 1, out_channels = 2, kernel_size = 3, bias = false}))
  end)

  it("takes lt.None where nil is the default", function()
    assert.are.same({n = 7, 1, 2, 3, 1, 0, true}, values(parse(1, 2, 3, {name = arguments.None})))
    assert.has_error(function() parse(1, 2, 3, {stride = arguments.None}) end)
  end)

  it("tells lt.None from nil where the default is something else", function()
    local momentum = arguments.signature("BatchNorm", "n:int, momentum:number|none=0.1")
    assert.are.equal(0.1, select(2, momentum(3)))
    assert.are.equal(arguments.None, select(2, momentum(3, {momentum = arguments.None})))
    assert.are.equal("lt.None", tostring(arguments.None))
  end)

  local function message_of(...)
    local args = values(...)
    local ok, message = pcall(function()
      parse(unpack(args, 1, args.n))
      return nil
    end)
    assert.is_false(ok)
    return message
  end

  it("shows the nearest name for an unknown one", function()
    assert.matches("Conv2d has no argument 'strid'; did you mean 'stride'%?", message_of(1, 2, 3, {strid = 2}))
  end)

  it("refuses a value given twice", function()
    assert.matches("argument 'stride' is given twice, by position and by name", message_of(1, 2, 3, 1, {stride = 2}))
  end)

  it("shows both right spellings for a mixed table", function()
    assert.matches("write Conv2d%(1, 2, 3, {stride = 2}%) or Conv2d{in_channels = 1, out_channels = 2, kernel_size = 3, stride = 2}",
      message_of{1, 2, 3, stride = 2})
    assert.matches("write Conv2d%(1, 2, {3, 5}, {stride = 2}%)", message_of(1, 2, {3, 5, stride = 2}))
  end)

  it("refuses too many, missing and wrongly typed arguments", function()
    assert.matches("takes at most 7 arguments .*, 8 given", message_of(1, 2, 3, 1, 0, true, "x", 9))
    assert.matches("argument 'out_channels' is missing", message_of(1))
    assert.matches("'in_channels' must be a whole number, got 2.5", message_of(2.5, 2, 3))
    assert.matches("'bias' must be true or false, got the string \"no\"", message_of(1, 2, 3, {bias = "no"}))
    assert.matches("'kernel_size' must be .*, got the array {3, 0.5}", message_of(1, 2, {3, 0.5}))
    assert.matches("one of \"same\", \"valid\"", message_of(1, 2, 3, {padding = "full"}))
  end)

  it("blames the caller's line", function()
    local ok, message = pcall(function()
      parse(1)
      return nil
    end)
    assert.is_false(ok)
    assert.matches("arguments_spec.lua:%d+: Conv2d", message)
  end)

  it("gathers values in a last parameter of many", function()
    local zeros = arguments.signature("zeros", "size:size..., dtype:dtype?")
    assert.are.same({n = 2, {2, 3}}, values(zeros(2, 3)))
    assert.are.same({n = 2, {2, 3}, "int64"}, values(zeros({2, 3}, {dtype = "int64"})))
    assert.are.same({n = 2, {}}, values(zeros({})))
    assert.has_error(function() zeros(2, "x") end)
  end)

  it("keeps what stands behind * for names", function()
    local load = arguments.signature("load", "n:int, *, fast:bool=false")
    assert.are.same({n = 2, 1, true}, values(load(1, {fast = true})))
    assert.has_error(function() load(1, true) end, "load takes at most 1 argument (n), 2 given, fast is given by name: {fast = ...}")
  end)

  it("never reads a mapping as options", function()
    local update = arguments.signature("update", "modules:map, strict:bool=true")
    local map = {strict = 1}
    assert.are.same({n = 2, map, true}, values(update(map)))
    assert.are.same({n = 2, map, false}, values(update(map, {strict = false})))
  end)

  describe("kinds with ranges", function()
    local Size = require("lunette").Size

    local function refusal(text, ...)
      local parse_one = arguments.signature("f", text)
      local args = values(...)
      local ok, message = pcall(function() return values(parse_one(unpack(args, 1, args.n))) end)
      return not ok and message:match("f: (.*)") or message
    end

    local cases = {
      {"x:int", {-3, 0, 2 ^ 53}, {2.5, math.huge, -math.huge, 0 / 0, 2 ^ 54, "1", true, 1ULL}, "a whole number"},
      {"x:int>0", {1, 9}, {0, -1, 0.5}, "a whole number above 0"},
      {"x:int>=2", {2, 3}, {1, 1.5}, "a whole number of at least 2"},
      {"x:int[0,2]", {0, 2}, {-1, 3}, "a whole number from 0 to 2"},
      {"x:int<8", {7, -9}, {8}, "a whole number below 8"},
      {"x:number", {0.5, math.huge}, {"0.5", false}, "a number"},
      {"x:number>0", {1e-9, math.huge}, {0, 0 / 0}, "a number above 0"},
      {"x:number[0,1]", {0, 0.5, 1}, {-0.1, 1.1, 0 / 0}, "a number from 0 to 1"},
      {"x:number[0,1)", {0, 0.5}, {1}, "a number between 0 and 1"},
      {"x:number<=0", {0, -1}, {0.1}, "a number of at most 0"},
      {"x:ints>=1", {1, {1, 2}, {1, 2, 3, 4}, Size(3, 4)}, {0, {1, 0}, {1, 2, 3, 0}, Size(3, 0), {1.5}, {"1"}, {arguments.None}},
        "a whole number of at least 1 or an array of them"},
      {"x:size", {{}, {1, 2}, Size(3)}, {3, {0.5}}, "an array of whole numbers"},
      {"x:enum(mean|sum)", {"mean", "sum"}, {"men", 1, 0, true}, 'one of "mean", "sum"'},
      {"x:dtype", {"int64"}, {"nothing of the kind", 3}, 'a dtype such as "float32"'},
      {"x:device", {"cpu", "cuda", "cuda:3", 2}, {"gpu", "cuda:9999", -1, 1.5, math.huge}, 'a device such as "cpu" or "cuda:0"'},
      {"x:scalar", {1, true, 5LL}, {"1", 1ULL}, "a number"},
      {"x:ints_or_none", {{7, arguments.None}, 3, {1, 2}}, {{7, "a"}, 0.5}, "a whole number, lt.None or an array of them"},
    }
    for _, case in ipairs(cases) do
      it(case[1], function()
        local parse_one = arguments.signature("f", case[1])
        for _, value in ipairs(case[2]) do assert.are.equal(value, (parse_one(value))) end
        for _, value in ipairs(case[3]) do
          assert.are.equal(("argument 'x' must be %s, got %s"):format(case[4], arguments.describe(value)), refusal(case[1], value))
          assert.are.equal(("argument 'x' must be %s, got %s"):format(case[4], arguments.describe(value)), refusal(case[1], {x = value}))
        end
      end)
    end

    it("makes sizes of a fixed number of entries", function()
      local pool = arguments.signature("pool", "kernel_size:size2>=1, stride:sizes2>=1?, padding:size2>=0=0")
      local kernel_size, stride, padding = pool(3)
      assert.are.equal("{3, 3} nil {0, 0}", ("%s %s %s"):format(tostring(kernel_size), tostring(stride), tostring(padding)))
      kernel_size, stride = pool({1, 2}, 5)
      assert.are.equal("{1, 2} 5", ("%s %s"):format(tostring(kernel_size), tostring(stride)))
      assert.are.equal("{4, 5}", tostring(select(2, pool({1, 2}, {4, 5}))))
      assert.has_error(function() pool{1, 2, 3} end,
        "pool: argument 'kernel_size' must be a whole number of at least 1 or 2 of them, got the array {1, 2, 3}")
      assert.has_error(function() pool(1, 0) end, "pool: argument 'stride' must be a whole number of at least 1 or 2 of them, got 0")
    end)

    it("limits arrays of numbers", function()
      local many = {}
      for i = 1, 70 do many[i] = 1 end
      assert.are.equal("argument 'x' has at most 32 entries, got 70", refusal("x:ints", many))
    end)
  end)

  it("takes trailing nils, and refuses what is not nil", function()
    local clamp = arguments.signature("clamp", "x:number, low:number=0")
    assert.are.same({n = 2, 1, 0}, values(clamp(1, nil, nil, nil, nil)))
    assert.has_error(function() clamp(1, 2, nil, nil, 5) end, "clamp takes at most 2 arguments (x, low), 5 given")
  end)

  it("gathers values and takes names behind them", function()
    local full = arguments.signature("view", "x:number, shape:ints..., copy:bool=false")
    assert.are.same({n = 3, 1, 5, false}, values(full(1, 5)))
    assert.are.same({n = 3, 1, {5, 6}, false}, values(full(1, 5, 6)))
    assert.are.same({n = 3, 1, {5, 6, 7, 8, 9, 10}, true}, values(full(1, 5, 6, 7, 8, 9, 10, {copy = true})))
    assert.are.same({n = 3, 1, {5, 6}, true}, values(full(1, {shape = {5, 6}, copy = true})))
    assert.has_error(function() full(1, 5, 6.5) end, "view: argument 'shape' must be a whole number or an array of them, got the array {5, 6.5}")
    assert.has_error(function() full(1, 5, {cop = true}) end, "view has no argument 'cop'; did you mean 'copy'?")
    assert.has_error(function() full(1, {5, 6}, 7) end)
  end)

  it("words an array that holds itself", function()
    local loop = {}
    loop[1] = loop
    assert.has_error(function() parse(loop) end)
  end)

  it("passes the usual call without making anything", function()
    local plain = arguments.signature("plain", "x:number, y:number=2, flag:bool=false")
    local sum = 0
    for i = 1, 300 do sum = sum + select(2, plain(i)) end
    collectgarbage()
    collectgarbage("stop")
    local before = collectgarbage("count")
    for i = 1, 10000 do sum = sum + select(2, plain(i)) end
    local grown = collectgarbage("count") - before
    collectgarbage("restart")
    assert.are.equal(20600, sum)
    assert.is_true(grown < 20, grown .. " KB")
  end)

  it("names the nearest of some names", function()
    assert.are.equal("Conv2d", arguments.nearest("Conv2D", {"Linear", "Conv1d", "Conv2d"}))
    assert.is_nil(arguments.nearest("xyz", {"Linear"}))
  end)

  it("makes missing names of a package errors", function()
    local package = arguments.strict({relu = true}, "F")
    assert.has_error(function() return package.relo end)
    assert.matches("F.relo does not exist; did you mean 'relu'%?", select(2, pcall(function() return package.relo end)))
  end)

  describe("ranges", function()
    local ranged = arguments.signature("ranged", "n:int>0, p:number[0,1]=0.5, open:number(0,1)?, low:number>=0?, high:number<=2?, below:int<3?")

    local function refused(...)
      local args = values(...)
      return select(2, pcall(function() return (ranged(unpack(args, 1, args.n))) end))
    end

    it("let pass what lies inside, on both paths", function()
      assert.are.same({n = 6, 1, 0, nil, 0, 2, 2}, values(ranged(1, 0, nil, 0, 2, 2)))
      assert.are.same({n = 6, 1, 1, 0.5}, values(ranged(1, {p = 1, open = 0.5})))
    end)

    it("refuse what lies outside, and NaN", function()
      assert.matches("argument 'n' must be a whole number above 0", refused(0))
      assert.matches("argument 'n' must be", refused(1.5))
      for _, p in ipairs{-0.1, 1.1, 0 / 0} do assert.matches("argument 'p' must be a number from 0 to 1", refused(1, p)) end
      for _, open in ipairs{0, 1} do assert.matches("'open' must be a number between 0 and 1", refused(1, nil, open)) end
      assert.matches("'low' must be a number of at least 0", refused(1, nil, nil, -1))
      assert.matches("'high' must be a number of at most 2", refused(1, nil, nil, nil, 3))
      assert.matches("'below' must be a whole number below 3", refused(1, nil, nil, nil, nil, 3))
    end)
  end)

  describe("sizes", function()
    local Size = require("lunette.size").Size
    local sized = arguments.signature("sized", "kernel:sizes2>=1, stride:size2>=1=1, shape:shape>=0?, padding:enum(same|valid)|size2>=0=0")

    local function refused(...)
      local args = values(...)
      return select(2, pcall(function() return (sized(unpack(args, 1, args.n))) end))
    end

    it("become a Size where they are an array or must be one", function()
      assert.are.same({n = 4, 3, Size{1, 1}, nil, Size{0, 0}}, values(sized(3)))
      local kernel, stride, shape, padding = sized({3, 2}, Size{1, 2}, 5, "same")
      assert.are.same({"{3, 2}", "{1, 2}", "{5}", "same"}, {tostring(kernel), tostring(stride), tostring(shape), padding})
      assert.are.equal("{}", tostring((select(3, sized(1, 1, {})))))
    end)

    it("are refused when an entry is out of range or they are too many", function()
      assert.matches("argument 'kernel' must be a whole number of at least 1 or 2 of them", refused(0))
      for _, kernel in ipairs{{1, 0}, {1, 2, 3}, {}, {1, 1.5}, Size{1}, "x"} do assert.matches("argument 'kernel' must be", refused(kernel)) end
      assert.matches("argument 'shape' must be a whole number of at least 0 or an array of them", refused(1, 1, {2, -1}))
      assert.matches("argument 'padding' must be", refused(1, 1, 1, "full"))
    end)
  end)
end)
