# Two commands for newcomers, from a fresh clone with only Python 3.11+ and make:
#   make demo   installs into .venv and runs the quickstart study, which takes about a minute and a half on two cores
#   make test   runs the whole test suite
# `make help` lists the rest. PYTHON chooses the interpreter, JOBS the test processes, PIP_FLAGS goes to pip install.

PYTHON ?= python3
JOBS ?= 2
PIP_FLAGS ?=
STUDY ?= quickstart
RUN_FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
# Installing again is only worth it when what is installed has changed.
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help demo test coverage check format lint types docs bench reference clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
		printf '%-16s %s\n' "$$name" "$$what"; done

demo: $(CORE) ## install, and run the quickstart study (STUDY=NAME for another, RUN_FLAGS for options)
	$(BIN)/ticketdiet run $(STUDY) $(RUN_FLAGS)

# Kernels differ between CPUs, and so do their numbers and their faults: with AVX-512 both kinds are tried.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2

test: $(DEV) ## run the whole test suite, and with AVX-512 what depends on kernels once more with AVX2 alone
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -q
	@found="$$($(BIN)/python -c 'import torch; print(torch.backends.cpu.get_cpu_capability())')"; \
	if [ "$$found" = AVX512 ]; then \
		echo "once more with AVX2 alone: the tests that depend on kernels"; \
		$(AVX2) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -q -m 'kernels and not slow'; \
	else \
		echo "The kernels here are $$found, so the run above was already the one without AVX-512."; \
	fi

coverage: $(DEV) ## run the whole test suite, and report what it does not reach (htmlcov/ shows it line by line)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -q --cov --cov-report=term-missing:skip-covered --cov-report=html

check: lint types docs test ## format check, lint, types, documentation and tests: what has to pass

lint: $(DEV) ## check format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEV) ## check types
	$(BIN)/mypy

# --quiet would hide warnings from --strict too.
docs: $(DEV) ## build the documentation site into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(DEV) ## format, and repair what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## run the benchmarks; the machine should be quiet
	$(BIN)/python benchmarks/run_all.py

reference: $(DEV) ## write the tables of docs/study.md from the schema, and those of docs/paper.md from the plans
	$(BIN)/python scripts/write_study_reference.py
	$(BIN)/python scripts/write_paper_tables.py

clean: ## remove caches and build outputs; results and figures stay
	rm -rf build dist site htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(CORE): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -e .
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -e '.[dev]'
	@touch $(CORE) $@
