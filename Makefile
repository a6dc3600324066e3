# Needs python3 (with venv) and make; everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test check fix bench docs site

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[subword,translate,speech,compiler,dev]'
	touch $@

demo: install  ## learns Python's own source for three minutes (nine, where it is no better than its baseline before) and writes some
	@run=runs/demo-$$(date +%Y%m%d-%H%M%S); set -e; \
	$(BIN)/unrolled train text --minutes 3 --most-minutes 9 --folder $$run; \
	$(BIN)/unrolled generate $$run/model.safetensors --prompt "def " --temperature 0.8 --length 400 --seed 1; \
	echo; echo "More of it:       $(BIN)/unrolled generate $$run/model.safetensors --prompt 'class '"; \
	echo "Your own text:    $(BIN)/unrolled train text FILE --minutes 15"

test: install
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

check: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fix: install
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/python -m tests.cells.table

docs: install  ## writes the pages that are made of the code
	$(BIN)/python docs/commands.py
	$(BIN)/python -m benchmarks.figures

site: install  ## build/site: the pages as a site, to be opened as a file; a broken link ends it
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs/site -d build/doctrees . build/site
	@echo "Open $(CURDIR)/build/site/index.html"

bench: install
	$(BIN)/python -m benchmarks
