# Short names for what CMake does; see CMakePresets.json. Every target first installs the packages that are missing.
export CTEST_OUTPUT_ON_FAILURE = 1
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 60
PARE = build/release/src/cli/pare
SMOLLM2 = models/SmolLM2-135M-Instruct.Q4_1.gguf

.PHONY: all bootstrap check demo smollm2 asan tsan fuzz bench cuda check-gpu bench-gpu install clean

all: bootstrap
	@cmake --preset release --log-level=WARNING
	@cmake --build --preset release

bootstrap:
	@scripts/bootstrap.sh

check: all
	@ctest --preset release

demo: all
	@$(PARE) demo

# The same on a published model.
smollm2: all
	@scripts/fetch-smollm2.sh
	@$(PARE) demo $(SMOLLM2)

# All tests under AddressSanitizer and UndefinedBehaviorSanitizer; those with threads under ThreadSanitizer.
asan tsan: bootstrap
	@cmake --preset $@ --log-level=WARNING
	@cmake --build --preset $@
	@ctest --preset $@

# FUZZ_SECONDS of each fuzz target, from the seeds in tests/fuzz/corpus. Findings are left in build/fuzz.
fuzz:
	@scripts/bootstrap.sh clang libclang-rt-dev
	@cmake --preset fuzz --log-level=WARNING
	@cmake --build --preset fuzz
	@scripts/fuzz.sh build/fuzz $(FUZZ_SECONDS)

bench: all
	@$(PARE) bench models/ref-llama-11m

# The GPU plug-in (needs nvcc), its tests and its speed (need a GPU).
cuda: bootstrap
	@cmake --preset cuda --log-level=WARNING
	@cmake --build --preset cuda

check-gpu: cuda
	@scripts/gpu.sh check

bench-gpu: cuda
	@scripts/gpu.sh bench build/cuda/bench-gpu.jsonl

install: all
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"

clean:
	rm -rf build
