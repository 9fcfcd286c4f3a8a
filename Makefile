SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
export PORT
# Tests start many servers; without bytecode files each would compile the program again.
export PYTHONDONTWRITEBYTECODE =

# Without addresses and paths: the machine that installs decides where packages come from.
# With extras: pip up to 23.2.1 does not accept a pin of `name` for a requirement of `name[extra]`.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-strip-extras \
	--generate-hashes --no-header
# Programs that tests run, each in an environment of its own: their dependencies conflict.
TOOLS = flit hatch pdm pip-23.0 pip-tools pipenv pipx poetry zuul-registry
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.PHONY: help run demo test coverage acceptance unit fuzz soak bench hostile counts mutation screenshots image-check fresh-check lint format requirements clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.runtime ## serve on http://localhost:8080 (PORT=...) with packages kept in ./data
	@scripts/run

demo: $(VENV)/.demo ## build a package, publish it, install it and import it
	@$(BIN)/python scripts/demo.py

test: ## everything but the longest, against real registries and clients (Debian; as root it installs them)
	@scripts/install-debian-packages
	@$(MAKE) --no-print-directory $(VENV)/.dev
	@# Collecting compiles the tests once, while lint runs; otherwise each process of pytest does it.
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null & $(MAKE) --no-print-directory lint && wait
	$(BIN)/python -m pytest -n 5 --dist loadfile -m "not acceptance"

coverage: $(VENV)/.dev ## the same tests, with branch coverage of at least 90 % (Debian; as root it installs what is needed)
	@scripts/install-debian-packages
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not acceptance" \
		--cov --cov-report=term-missing:skip-covered

acceptance: $(VENV)/.dev ## what takes too long for `make test`: large files, many writers, fresh systems, load (Debian, root)
	@scripts/install-debian-packages
	$(BIN)/python -m pytest -n 2 --dist loadfile -m acceptance
	@$(MAKE) --no-print-directory fresh-check
	@$(MAKE) --no-print-directory soak

unit: $(VENV)/.dev ## the tests that need no registry and no client, without the slow ones
	$(BIN)/python -m pytest -n 2 -m "not slow and not acceptance" tests/unit

fuzz: $(VENV)/.dev ## random input to every parser, random use of an index (SEED=, EXAMPLES= of each test)
	@seed=$${SEED:-$$RANDOM}; export EXAMPLES=$${EXAMPLES:-2000}; \
	echo "seed $$seed, up to $$EXAMPLES examples of each test"; \
	$(BIN)/python -m pytest tests/fuzz --hypothesis-seed=$$seed --hypothesis-show-statistics

soak: $(VENV)/.dev ## mixed load on two workers, memory and open files watched (MINUTES=10)
	@scripts/install-debian-packages
	@MINUTES=$${MINUTES:-10} $(BIN)/python -m tests.soak

bench: $(VENV)/.dev ## speed and memory against floors of the same run (ARGS="--quick --rows ... --baseline FOLDER")
	@scripts/install-debian-packages
	@$(BIN)/python -m benchmarks $(ARGS)

hostile: $(VENV)/.dev ## what each hostile input costs a server (ARGS="--before COMMIT --only TEXT")
	@$(BIN)/python -m benchmarks.hostile $(ARGS)

counts: $(VENV)/.dev ## statements, modules, files that a request crosses, hand-made memories (ARGS=FOLDER)
	@$(BIN)/python scripts/counts.py $(ARGS)

mutation: $(VENV)/.dev ## how many small faults in the riskiest modules their tests notice (ARGS="index/rewrite.py")
	@$(BIN)/python scripts/mutate.py $(ARGS)

screenshots: $(VENV)/.dev ## the pictures in docs/images, taken again (Chromium)
	@scripts/install-debian-packages
	$(BIN)/python scripts/screenshots.py

image-check: $(VENV)/.dev ## build the Dockerfile with buildah on a base of Debian's packages, run it (root)
	$(BIN)/python scripts/check_dockerfile.py

fresh-check: $(BIN)/python ## run, demo and unit on fresh Debian 12 and 13 systems (Debian, root; ARGS=--test: test, too)
	$(BIN)/python scripts/check_fresh_machine.py bookworm $(ARGS)
	$(BIN)/python scripts/check_fresh_machine.py trixie --newest-pip $(ARGS)

lint: $(VENV)/.dev ## style, types, the direction of imports, plain words
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy gunicorn.conf.py wsgi.py scripts/*.py
	$(BIN)/mypy -p benchmarks
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python scripts/check_words.py

format: $(VENV)/.dev ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

requirements: $(VENV)/.dev ## compile requirements*.txt again; UPGRADE=--upgrade for newer versions
	$(COMPILE) $(UPGRADE) pyproject.toml --output-file requirements.txt
	$(COMPILE) $(UPGRADE) pyproject.toml --group dev --constraint requirements.txt \
		--output-file requirements-dev.txt
	$(COMPILE) pyproject.toml --group demo --constraint requirements-dev.txt \
		--output-file requirements-demo.txt
	for tool in $(TOOLS); do \
		$(COMPILE) $(UPGRADE) tests/requirements-$$tool.in \
			--output-file tests/requirements-$$tool.txt; \
	done

clean: ## remove everything made here but the packages in ./data
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis \
		.coverage .coverage.* htmlcov build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	scripts/make-venv $(VENV)

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	$(INSTALL) --requirement requirements.txt
	@touch $@

# These two have the runtime's packages too.
$(VENV)/.demo: requirements-demo.txt | $(BIN)/python
	$(INSTALL) --requirement requirements-demo.txt
	@touch $(VENV)/.runtime $@

$(VENV)/.dev: requirements-dev.txt | $(BIN)/python
	$(INSTALL) --requirement requirements-dev.txt
	@touch $(VENV)/.runtime $(VENV)/.demo $@
