rockspec_format = "3.0"
package = "lunette"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "A Lua-scripted deep learning environment",
  detailed = "Tensors, autograd and torch.nn in LuaJIT, on a C library bound through FFI.",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua == 5.1" }
build = {
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    CMAKE_INSTALL_PREFIX = "$(PREFIX)",
    LUADIR = "$(LUADIR)",
    BINDIR = "$(BINDIR)",
    LUNETTE_CUDA_HOST = "OFF",
  },
}
-- the launcher names luajit itself; a wrapper would start Lua 5.1, which has no FFI
deploy = { wrap_bin_scripts = false }
