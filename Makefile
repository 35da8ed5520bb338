# Short wrappers over cmake and busted. `make` alone lists them.
BUILD ?= build
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PACKAGES := luajit libluajit-5.1-dev gcc g++ cmake ninja-build pkg-config libopenblas-openmp-dev libdnnl-dev zlib1g-dev lua-busted

.DEFAULT_GOAL := help
.PHONY: help deps configure library build demo test stress mutants bench lint docs rock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

deps: ## installs what is missing, by Debian's package names
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  echo installing $$missing; \
	  $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi

configure: deps
	@cmake -S . -B $(BUILD) -G Ninja $(CMAKE_FLAGS) > $(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

library: configure ## the library with its CPU kernels, nothing else
	@cmake --build $(BUILD) -j $(JOBS) --target lunette

build: configure ## that, the CUDA plug-in, and the stand-in for its specs
	@cmake --build $(BUILD) -j $(JOBS)

demo: library ## trains a network on handwritten digits and looks at a few
	@lua/lunette/bin/lunette examples/digits.lua

test: build ## every spec, beside it again with all tensors on a stand-in for a CUDA device
	@LUNETTE_TEST_DEVICE=cuda LUNETTE_CUDA_PLUGIN=$(CURDIR)/$(BUILD)/liblunette_cuda_host.so busted $(BUSTED_FLAGS) > $(BUILD)/standin.log 2>&1 & standin=$$!; \
	busted $(BUSTED_FLAGS); cpu=$$?; wait $$standin; other=$$?; cat $(BUILD)/standin.log; [ $$cpu = 0 ] && [ $$other = 0 ]

stress: library ## calls with nonsense and calls by chance, each process under limits
	@busted --run=stress

mutants: library ## plants mistakes and lists those that no spec notices: N=100 SEED=1 LANGUAGE=lua or c, FILES=, JOBS=2
	@luajit spec/mutants/run.lua

bench: library ## Lunette beside PyTorch, where that is installed
	@lua/lunette/bin/lunette bench/run.lua

lint: ## luacheck and clang-format, changing nothing
	luacheck -q lua spec examples bench
	clang-format --dry-run -Werror $$(git ls-files '*.c' '*.cpp' '*.h' '*.cu')

docs: library ## the reference of all operators, into build/docs
	@lua/lunette/bin/lunette docs/build.lua $(BUILD)/docs

rock: ## packs what is committed as build/lunette-scm-1.src.rock
	@mkdir -p $(BUILD)
	@sed 's|git+file://\.|git+file://$(CURDIR)|' rockspec/lunette-scm-1.rockspec > $(BUILD)/lunette-scm-1.rockspec
	@cd $(BUILD) && luarocks pack lunette-scm-1.rockspec

clean: ## removes what was built
	rm -rf $(BUILD)
