# `make demo` and `make test` set up what they need in .venv and run; nothing else has to be installed first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MPLBACKEND := Agg

.PHONY: demo check test bench fuzz accuracy real ablation contact-sheet example-slides docs pages dist clean

demo: $(VENV)/base.done
	$(BIN)/follicle-stager demo --out demo_study

# What to run before each commit: style, types, and the quick tests (tools/quick_tests.txt leaves out slow ones).
check: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/pytest -q -n 2 --dist loadfile @tools/quick_tests.txt

test: $(VENV)/dev.done xvfb
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/npe2 validate follicle-stager --imports
	$(BIN)/pytest -n 2 --dist loadfile

.PHONY: review-pictures
review-pictures: $(VENV)/dev.done xvfb
	xvfb-run -a -s "-screen 0 1700x1100x24" $(BIN)/python tools/make_review_pictures.py

# BEFORE=db3a7d9 compares with an earlier version. OpenVINO and the network of Cellpose are measured side by side.
bench: $(VENV)/dev.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check openvino
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps cellpose==3.1.1.2
	$(BIN)/pytest tests/benchmarks -s --override-ini addopts=-ra --page $(if $(BEFORE),--before $(BEFORE))

# Damaged and hostile files for ten minutes: SECONDS=3600 for longer, FIRST=5000 for others.
fuzz: $(VENV)/dev.done
	$(BIN)/python tests/fuzz.py --seconds $(or $(SECONDS),600) --first $(or $(FIRST),0)

# Renders the frozen evaluation cohort, runs the detector on it, and writes docs/accuracy.md.
accuracy: $(VENV)/base.done
	$(BIN)/python tools/make_accuracy.py

# Runs the detector on real pictures, where they are at hand, and writes docs/real-sections.md.
real: $(VENV)/base.done
	$(BIN)/python tools/make_real.py

# Trains the coarse scale again without one ingredient after the other, and writes docs/ablation.md.
ablation: $(VENV)/dev.done
	$(BIN)/python tools/make_ablation.py

contact-sheet: $(VENV)/base.done
	$(BIN)/python tools/make_contact_sheet.py

# The documentation site, in docs/_build/html.
docs: $(VENV)/docs.done
	$(BIN)/sphinx-build -b html -W --keep-going docs docs/_build/html

# The pages that are written from the code: run it after a change of commands, parameters or tables.
pages: $(VENV)/base.done
	$(BIN)/python tools/make_cli.py
	$(BIN)/python tools/make_parameters.py
	$(BIN)/python tools/make_tables.py

# Builds the packages, and runs the demo from the wheel in an empty environment.
dist: $(VENV)/dev.done
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tools/try_wheel.py dist

example-slides: $(VENV)/base.done
	rm -rf example_slides
	$(BIN)/follicle-stager phantom example_slides --config tools/example_slides.toml

# The environment is made again when the dependencies change.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/base.done: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/dev.done: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[napari,wsi,train,dev]"
	touch $@ $(VENV)/base.done

$(VENV)/docs.done: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	touch $@ $(VENV)/base.done

# napari's tests need a screen and Qt's system libraries; where they cannot be had, the tests are skipped, and say so.
QT_PACKAGES := xvfb libgl1-mesa-dri libegl1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 \
  libxcb-shape0 libxcb-image0 libxcb-render-util0 libdbus-1-3
.PHONY: xvfb
xvfb:
	@if [ "$$(uname)" != Linux ] || ! command -v dpkg >/dev/null || dpkg -s $(QT_PACKAGES) >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(QT_PACKAGES) >/dev/null; \
	else echo "Not installed, and not root: $(QT_PACKAGES). The napari tests will be skipped."; fi

clean:
	rm -rf $(VENV) demo_study build dist docs/_build
