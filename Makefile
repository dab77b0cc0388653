# `make demo` and `make test`, each alone on a fresh machine, make .venv, install and run.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
SAMPLE := tests/data/feature_images/resnet18
STORE := demo/stores/resnet18.zarr

.PHONY: demo test test-slow lint format clean

demo: $(INSTALLED)
	$(BIN)/python scripts/ingest.py $(SAMPLE) --store $(STORE)
	$(BIN)/dvis plot trajectory $(STORE) --layer layer1 --x step --out demo/trajectory.png
	$(BIN)/dvis plot timeline $(STORE) --layer layer4 --channel 1 --out demo/timeline.png
	$(BIN)/dvis plot grid $(STORE) --layer layer4 --out demo/grid.png
	@echo
	@echo "Pictures: demo/trajectory.png demo/timeline.png demo/grid.png"
	@echo "Store:    $(STORE) (dvis.open reads it)"

test: lint
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[torch,remote]" --group dev
	touch $@

clean:
	rm -rf .venv demo
