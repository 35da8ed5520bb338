return require("lunette.nn.parallel.data_parallel").DataParallel
