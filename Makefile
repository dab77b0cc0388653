# `make demo` and `make test`, each alone on a fresh machine, make .venv, install and run.
# With another Python beside it: `make test PYTHON=python3.13 VENV=.venv-3.13`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests run side by side, each file in one process; torch leaves the cores to the processes.
JOBS ?= 2
# Tests start many processes, of which each would otherwise compile dvis anew.
TESTED := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
INSTALLED := $(VENV)/.installed
RUN := demo/resnet18_checkpoints/1
STORE := demo/stores/resnet18.zarr
PAGE := demo/page
SAMPLED := $(foreach step,0 9 28 48 83 250,$(RUN)/*_train_$(step).pth.tar)
LAYERS := layer1 layer2 layer4
READER := test_reader_never_sees_a_wrong_image_while_the_store_grows
# What newer packages change first: reading, stores, pictures, docstrings, and a reader beside a writer.
QUICK := tests/store/test_store.py tests/store/test_steady.py tests/kinds/llc/test_llc_reading.py \
	tests/plots/test_plots.py tests/kinds/features/test_concurrent_imports.py::$(READER)

.PHONY: demo test test-quick test-slow lint format clean

demo: $(INSTALLED) $(RUN)/.trained
	$(BIN)/python scripts/visualize.py --model resnet18 --checkpoint-path $(RUN) \
		--layers $(LAYERS) --channels 0 1 2 3 4 5 6 7 --max-iterations 128 --store $(STORE)
	$(BIN)/python scripts/respond.py --model resnet18 --checkpoint-path $(RUN) \
		--layers $(LAYERS) --feature-images all --store $(STORE)
	$(BIN)/python scripts/llc.py estimate --model resnet18 --checkpoint-path $(SAMPLED) \
		--n-images 300 --epsilon 1.5e-5 --gamma 1e4 3e4 --nbeta n --batch-size 12 \
		--draws 16 --burn-in 8 --diagnostics-every 12 --n-curvature-iterations 0 --store $(STORE)
	$(BIN)/python scripts/gallery.py $(STORE) --out demo/gallery
	$(BIN)/dvis page $(STORE) $(PAGE) --overwrite
	@echo
	@echo "Pictures: demo/gallery"
	@echo "Page:     $(PAGE)/index.html; or, live: $(BIN)/dvis view $(STORE)"
	@echo "Store:    $(STORE) (dvis.open reads it)"

$(RUN)/.trained: $(INSTALLED)
	rm -rf $(RUN) $(STORE)
	$(BIN)/python scripts/train.py --model resnet18 --dataset shapes --steps 250 --batch-size 32 \
		--n-checkpoints 12 --no-epoch-ends --n-val 200 --optimizer adamw \
		--learning-rate 0.001 --lr-warmup-steps 25 --out $(RUN)
	touch $@

test: $(INSTALLED)
	$(TESTED) -m "not slow"

test-quick: $(INSTALLED)
	$(TESTED) -m "not slow" $(QUICK)

test-slow: $(INSTALLED)
	$(TESTED) -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[torch,timm,open-clip,slurm,remote,page]" --group dev
	touch $@

clean:
	rm -rf .venv .venv-* demo
