--- nn.modules: names that PyTorch keeps there and not in nn itself.

return {lazy = {LazyModuleMixin = require("lunette.nn.lazy").LazyModuleMixin}}
