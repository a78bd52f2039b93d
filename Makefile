# Python 3.10 to 3.13 makes the environment, e.g. `make test PYTHON=python3.12`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PAGES := $(wildcard *.md $(foreach type,md png webp ipynb,\
	benchmarks/*.$(type) docs/*.$(type)))
SOURCES := $(wildcard benchmarks configs docs projects tests tools setup.py)

.PHONY: install mmcv test demo docs ablation lint lock

install: $(STAMP)

# The lock is complete, and pip must not add the OpenCV that it leaves out.
$(STAMP): setup.py $(wildcard requirements/*.txt)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c 'import sys; sys.exit( \
		not (3, 10) <= sys.version_info < (3, 14) and \
		"Python 3.10 to 3.13 is needed: make PYTHON=python3.12")' && \
		$(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --no-deps -r requirements/lock.txt
	$(MAKE) mmcv
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	touch $@

# The full mmcv and mmcv-lite share their files, so that only one can be there.
mmcv:
	$(BIN)/python -c 'import importlib.metadata as m; m.version("mmcv")' \
		2>/dev/null || \
		$(BIN)/python -m pip install --no-deps -r requirements/mminstall.txt

test: $(STAMP)
# One worker more than there are processors, as some tests wait.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
		-n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile \
		--no-loadscope-reorder tests

demo: $(STAMP)
	$(BIN)/python tools/demo.py

# The pages keep their places, so that their links hold as they do on GitHub.
docs: $(STAMP)
	rm -rf build/docs
	mkdir -p build/docs
	tar -cf - $(PAGES) | tar -xf - -C build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

ablation: $(STAMP)
	$(BIN)/python benchmarks/ablation.py

lint: $(STAMP)
	$(BIN)/python -m flake8 $(SOURCES)
	$(BIN)/python -m isort --check-only --diff $(SOURCES)
	$(BIN)/python -m yapf --diff --recursive $(SOURCES)

# Needs uv.
lock:
	cd requirements && uv pip compile --universal --python-version 3.10 \
		--override overrides.txt --no-annotate --no-header --upgrade \
		--no-emit-package opencv-python \
		--no-emit-package opencv-contrib-python lock.in -o lock.txt
