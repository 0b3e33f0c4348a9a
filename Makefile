# A second run of any target is fast: stamps tell what is installed and built.
PYTHON ?= python3
PYTEST ?=
FORCE ?=

BIN := .venv/bin
VENV := .venv/.installed
NODE := node_modules/.installed
WIDGET := xai_widgets/static/widget.js
PASSED := build/.passed
SOURCES := $(shell find xai_widgets js tests notebooks scripts .ci *.* Makefile -type f \
	-not -path '*/__pycache__/*' -not -path 'xai_widgets/static/*' -not -name '.*' -not -name '*.db*')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo lab test check pytest lint build bench screenshots clean chromium

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV) $(WIDGET) ## run the quickstart notebook into build/quickstart.html
	@$(BIN)/python scripts/demo.py

lab: $(VENV) $(WIDGET) ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/quickstart.ipynb

test: $(if $(PYTEST)$(FORCE),check,$(PASSED)) ## everything CI runs but the wheel; again only after a change, or with FORCE=1
	@echo 'All tests pass on these very files. To run them again: make test FORCE=1'
	@echo 'A part of them: make test PYTEST="tests/test_demo.py -x"'

# Like any product of make, "the tests pass" is made anew only when something that it depends on has changed.
$(PASSED): $(VENV) $(NODE) $(SOURCES)
	$(MAKE) --no-print-directory check
	@mkdir -p $(@D) && touch $@

check: $(VENV) $(NODE) chromium
	npm run --silent lint
	npm run --silent typecheck
	npm run --silent test
	rm -rf $(dir $(WIDGET)) && $(MAKE) --no-print-directory $(WIDGET)
	npm run --silent size
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(if $(PYTEST),$(BIN)/python -m pytest $(PYTEST),$(MAKE) --no-print-directory pytest)

# Small networks gain nothing from a second thread, the tests from a second process; what drives a browser needs quiet.
pytest:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m 'not browser and not jupyter'
	$(BIN)/python -m pytest -m 'browser or jupyter'

lint: $(VENV) $(NODE) ## the style of both languages
	npm run --silent lint
	npm run --silent typecheck
	$(BIN)/ruff check .

build: $(VENV) $(WIDGET) ## wheel and sdist into dist/
	rm -rf dist && $(BIN)/python -m build --no-isolation

bench: $(VENV) $(WIDGET) chromium ## us and the peers side by side, about 25 minutes; BENCH="--only lime --quick"
	$(BIN)/python -m benchmarks $(BENCH)

screenshots: $(VENV) $(WIDGET) chromium ## pictures of the widget into docs/
	$(BIN)/python scripts/screenshots.py docs

clean: ## remove what was built; .venv and node_modules stay
	rm -rf build dist $(dir $(WIDGET)) .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -not -path './node_modules/*' -prune -exec rm -rf {} +

$(VENV): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is %d.%d. Type: make PYTHON=python3.12" % v[:2])'
	@echo 'Installing into .venv; the first time this takes minutes, for torch is large.'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,test]'
	@touch $@

$(NODE): package.json package-lock.json
	@command -v npm >/dev/null || { echo "The front end is built with npm, which is not on the PATH. Install Node.js 20 or newer." >&2; exit 1; }
	npm ci --no-audit --no-fund
	@touch $@

$(WIDGET): $(NODE) $(shell find js -type f)
	npm run --silent build
	@test -s $@ && touch $@

# Debian's Chromium, for the tests in a browser: playwright's own comes from a server that many machines do not reach.
chromium:
	@if [ -x /usr/bin/chromium ]; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; \
	else \
	  echo 'The tests in a browser need Chromium at /usr/bin/chromium. Type: sudo apt-get install chromium fonts-dejavu-core' >&2; \
	  echo 'The others run without it: .venv/bin/python -m pytest -m "not browser and not jupyter"' >&2; exit 1; \
	fi
