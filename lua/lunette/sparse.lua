--- Row-sparse gradients as Lua sees them: what `weight.grad` of an embedding with sparse = true is. The values of some rows and which rows these are; every
--- other row is 0. PyTorch's names; the indices come as [1, n], as they do there.

local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local class = require("lunette.class")
local define = require("lunette.define")
local Size = require("lunette.size").Size

local C, check, wrap, pointer, take, give, fail = base.C, base.check, base.wrap, base.pointer, base.take, base.give, arguments.fail
local bit, getmetatable, rawset, tonumber, tostring, type = bit, getmetatable, rawset, tonumber, tostring, type

local COALESCED = tonumber(C.LN_COALESCED)

local SparseTensor = class.define("lt.SparseTensor", {
  doc = "The gradient of an embedding's weight with sparse = true: values for some of its rows. It has no constructor; optim.SGD without momentum, optim.Adagrad and "
    .. "optim.SparseAdam take it, to_dense() makes it a tensor.",
  example = "> e = nn.Embedding(4, 2, {sparse = true})\n> e(lt.LongTensor{1, 3, 1}):sum():backward()\n> e.weight.grad:coalesce()\n"
    .. "tensor(indices=tensor([[1, 3]]),\n       values=tensor([[2., 2.],\n                      [1., 1.]]),\n       size=(4, 2), nnz=2, layout=torch.sparse_coo)",
})

function SparseTensor.__init() fail("SparseTensor: it is made by backward alone") end

-- What is missing is said so: most of what tensors can do is not here. Fields are read only.
function SparseTensor.__shared(owner, shared)
  function shared.newindex(_, key) fail(("a SparseTensor cannot be assigned to: '%s'"):format(tostring(key))) end
  shared.fields = {
    __index = function(_, key)
      if type(key) == "number" then fail("a SparseTensor cannot be indexed; to_dense() makes it a tensor") end
      local value = owner[key]
      if value == nil and type(key) == "string" and key:find("^%w") then
        fail(("a SparseTensor has no '%s'; to_dense() makes it a tensor that has all"):format(key))
      end
      return value
    end,
  }
end

-- The tensor that C makes of one.
local function made(call, p)
  local block = take()
  local status = call(p, block.outputs)
  local out = block.outputs[0]
  give(block)
  check(status)
  return wrap(out)
end

local function joined(values, rows, n_rows, is_coalesced)
  local block = take()
  local status = C.ln_sparse_new(pointer(values), pointer(rows), n_rows, is_coalesced, block.outputs)
  local out = block.outputs[0]
  give(block)
  check(status)
  return wrap(out)
end

-- Makes an object one around a handle whose tensor has rows.
local function set(self, handle)
  local fields, p = getmetatable(self).__index, pointer(handle)
  rawset(fields, "handle", handle)
  rawset(fields, "is_sparse", true)
  rawset(fields, "requires_grad", false)
  rawset(fields, "dtype", base.dtype_name[p.dtype])
  rawset(fields, "device", base.device_name(p.device))
  rawset(fields, "shape", Size{tonumber(p.n_rows), tonumber(p.shape[1])})
  return self
end

--- The object around a handle whose tensor has rows.
function SparseTensor.around(handle) return set(class.allocate(SparseTensor), handle) end

-- lt.deepcopy makes a copy by itself.
function SparseTensor.__uncopied() return true end

function SparseTensor:__copied(original) set(self, original:clone().handle) end

local function values_of(self) return made(C.ln_tensor_alias, pointer(self.handle)) end
local function rows_of(self) return made(C.ln_sparse_rows, pointer(self.handle)) end

local function coalesced(self) return bit.band(pointer(self.handle).flags, COALESCED) ~= 0 end

-- The same rows with other values, or others altogether.
local function with(self, values, rows, is_coalesced)
  return SparseTensor.around(joined(values, rows, self.shape[0], is_coalesced))
end

local method = define.methods(SparseTensor, "lt.SparseTensor")

method("is_coalesced", {doc = "Does each row come once, in order?", call = coalesced})

method("coalesce", {
  doc = "Each row once, in order, the values of one that came several times added up.",
  call = function(self) return coalesced(self) and self or SparseTensor.around(made(C.ln_sparse_coalesce, pointer(self.handle))) end,
})

method("to_dense", {doc = "The whole tensor, zeros where there is no row.", call = function(self) return made(C.ln_sparse_to_dense, pointer(self.handle)) end})

method("_values", {doc = "The values [n, width], whose elements it shares.", call = values_of})
method("_indices", {doc = "The rows that the values are for, int64 [1, n].", call = function(self) return rows_of(self):unsqueeze(0) end})
method("_nnz", {doc = "How many rows there are, those that come several times counted each time.", call = function(self) return tonumber(pointer(self.handle).shape[0]) end})

local function of_coalesced(name)
  method(name, {
    doc = ("_%s of what is coalesced; an error of anything else."):format(name),
    call = function(self)
      if not coalesced(self) then fail(("%s: the tensor is not coalesced; call :coalesce() first"):format(name)) end
      return self["_" .. name](self)
    end,
  })
end

of_coalesced("values")
of_coalesced("indices")

method("size", {
  doc = "The shape, or the size of one dimension.",
  takes = "dim:int?",
  call = function(self, dim) if dim then return self.shape[dim] end return self.shape end,
})

method("dim", {doc = "2.", call = function() return 2 end})
method("numel", {doc = "How many elements the whole tensor has.", call = function(self) return self.shape:numel() end})

local function copied(self, convert) return with(self, convert(values_of(self)), rows_of(self):clone(), coalesced(self)) end

method("clone", {doc = "A copy.", call = function(self) return copied(self, function(t) return t:clone() end) end})
method("detach", {doc = "The tensor itself, which has no history.", call = function(self) return self end})

--- to(dtype), to(device), ...: as that of tensors, over the values.
function SparseTensor:to(...)
  class.check_self(self, SparseTensor, "to")
  local values = values_of(self):to(...)
  return with(self, values, rows_of(self):to(values.device), coalesced(self))
end

method("mul", {
  doc = "Times a number, or a tensor that is one.", takes = "other:tensor|number",
  call = function(self, other) return with(self, values_of(self) * other, rows_of(self), coalesced(self)) end,
})

method("mul_", {
  doc = "The same in place.", takes = "other:tensor|number",
  call = function(self, other)
    values_of(self):mul_(other)
    return self
  end,
})

method("norm", {
  doc = "The p-norm of all elements.", takes = "p:number=2",
  call = function(self, p) return values_of(self:coalesce()):norm(p) end,
})

method("zero_", {
  doc = "Drops all rows.",
  call = function(self)
    return set(self, joined(values_of(self):narrow(0, 0, 0):clone(), rows_of(self):narrow(0, 0, 0):clone(), self.shape[0], true))
  end,
})

-- A tensor of the device and dtype that the text says anyway.
local function bare(t) return t:cpu():to(t:is_floating_point() and "float32" or t.dtype) end

-- Lines behind the first one moved to the right.
local function indented(t, n) return (tostring(t):gsub("\n", "\n" .. (" "):rep(n))) end

function SparseTensor:__repr()
  local device = self.device ~= "cpu" and ("device='%s', "):format(self.device) or ""
  local dtype = self.dtype ~= "float32" and ("dtype=torch.%s, "):format(self.dtype) or ""
  return ("tensor(indices=%s,\n       values=%s,\n       %ssize=(%d, %d), nnz=%d, %slayout=torch.sparse_coo)"):format(
    (indented(bare(self:_indices()), 15):gsub(", dtype=torch.int64", "")), indented(bare(values_of(self)), 14), device, self.shape[0], self.shape[1], self:_nnz(), dtype)
end

return SparseTensor
