# bpflens: what can be done here. `make` alone prints it.

# The first Python here that is new enough.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.DEFAULT_GOAL = help
.PHONY: help run setup test soak check bench vm abi clean

help:  ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run:  ## show the main job on this machine (needs Python, and nothing else)
	@$(if $(PYTHON),,$(error bpflens needs Python 3.11 or newer))$(PYTHON) tools/tour.py

setup: $(READY)  ## make the virtual environment

$(READY): pyproject.toml tools/venv.sh
	@$(if $(PYTHON),,$(error bpflens needs Python 3.11 or newer))sh tools/venv.sh $(PYTHON) $(VENV)
	@touch $@

test: $(READY)  ## run the tests; those that need root or a package say so and are skipped
	$(BIN)/python -m pytest -q

soak: $(READY)  ## run the tests that take minutes, marked `soak` (CI does not)
	$(BIN)/python -m pytest -q -m soak

check: $(READY)  ## what CI asks of the code: format, lint, types, layers, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python tools/gen_abi.py --check

bench: $(READY)  ## measure beside the peers (needs root, bpftool, and a quiet machine)
	$(BIN)/python -m compileall -q src
	$(BIN)/python benchmarks/listing.py
	$(BIN)/python benchmarks/engine.py

vm: $(READY)  ## fetch Debian's kernels 6.1, 6.12 and 7.2, on which `make test` then runs too
	$(BIN)/python -m tools.vm kernel 6.1 6.12 7.2
	$(BIN)/python -m tools.vm bpftool

KERNEL ?= 7.3
abi: $(READY)  ## take the ABI from the BTF of Debian's kernel KERNEL (7.3), run in QEMU
	$(BIN)/python -m tools.vm kernel $(KERNEL)
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	$(BIN)/python -m tools.vm run $(KERNEL) --share "$$dir" -- \
		cp /sys/kernel/btf/vmlinux /run/share && \
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python tools/gen_abi.py --pin "$$dir/vmlinux" $(KERNEL)

clean:  ## remove what the targets above made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
