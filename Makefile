# `make demo` is all a new user needs: it makes .venv, builds the engine and runs the demonstration.
# Needs Python 3.11 or newer and a C++20 compiler; CMake and Ninja come from the package index.

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell \
  $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(p))))
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
CMAKE := $(BIN)/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja
NATIVE := CMakeLists.txt $(shell find native -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name CMakeLists.txt)

.PHONY: setup demo test lint test-native check-all fuzz bench lock clean distclean

setup: .venv/.built

demo: setup
	$(BIN)/cipherformer demo

test: lint test-native
	$(BIN)/python -m pytest -q -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-native: setup
	$(CMAKE) -S . -B build/tests -DCIPHERFORMER_NATIVE_TESTS=ON >/dev/null
	$(BIN)/cmake --build build/tests
	$(BIN)/ctest --test-dir build/tests/native --no-tests=error --output-on-failure

# Everything: the slow tests, the C++ tests under the address and undefined-behaviour sanitizers, a short fuzz run.
check-all: test
	$(BIN)/python -m pytest -q -m slow
	$(CMAKE) -S fuzz -B build/sanitize -DCIPHERFORMER_NATIVE_TESTS=ON >/dev/null
	$(BIN)/cmake --build build/sanitize
	UBSAN_OPTIONS=halt_on_error=1 $(BIN)/ctest --test-dir build/sanitize/native --no-tests=error --output-on-failure
	UBSAN_OPTIONS=halt_on_error=1 build/sanitize/fuzz_native 60
	$(BIN)/python -m fuzz --seconds 30
	$(MAKE) fuzz

# Every reader of untrusted bytes under coverage guidance, FUZZ_SECONDS each: Python with atheris, native with libFuzzer
# where clang is found (CLANG=clang++-14 names another one).
FUZZ_SECONDS ?= 30
CLANG ?= clang++
fuzz: setup
	mkdir -p build/corpus/native
	$(PIP) atheris
	for target in frame manifest signature plan; do mkdir -p build/corpus/$$target; \
	  $(BIN)/python -m fuzz.guided $$target -max_total_time=$(FUZZ_SECONDS) -max_len=20000 -verbosity=0 build/corpus/$$target || exit 1; done
	@if command -v $(CLANG) >/dev/null; then \
	  CXX=$(CLANG) $(CMAKE) -S fuzz -B build/guided >/dev/null && $(BIN)/cmake --build build/guided && \
	  build/guided/guided_native -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -verbosity=0 build/corpus/native fuzz/corpus/native; \
	else echo "no $(CLANG): the native readers were fuzzed without guidance only"; fi

bench: setup
	mkdir -p out
	$(BIN)/python -m benchmarks.engine --peers --json out/engine.json

# Rewrites constraints.txt from what .venv holds now.
lock: setup
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf build out dist .pytest_cache .hypothesis .ruff_cache .mypy_cache .venv/.built

distclean: clean
	rm -rf .venv .venv-peers .venv-peers-two-party

# --- how .venv comes to be; each file is a stamp ---

.venv/.made:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed and none was found; set PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/.dependencies: pyproject.toml constraints.txt | .venv/.made
	$(PIP) scikit-build-core nanobind cmake ninja
	$(PIP) --no-build-isolation -e '.[test]'
	touch $@

.venv/.built: $(NATIVE) .venv/.dependencies
	$(PIP) --no-build-isolation --no-deps -e .
	touch $@
