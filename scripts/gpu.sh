#!/bin/sh
# scripts/gpu.sh check | bench [OUT.jsonl]: the GPU's tests, or its speed, with what `make cuda` built.
set -eu
cd "$(dirname "$0")/.."
build=build/cuda
export PARE_PLUGINS="$PWD/$build/src/cli"
case "$1" in
check)
    nvidia-smi -L
    $build/tests/gpu/test_gpu_kernels
    $build/tests/gpu/test_gpu_few
    $build/tests/gpu/test_gpu_calibrate
    $build/tests/gpu/test_gpu_session
    $build/tests/gpu/test_gpu_wide
    $build/tests/gpu/test_gpu_quantize
    $build/tests/gpu/test_gpu_divergence
    PARE_TEST_DEVICE=cuda $build/tests/golden/test_golden_models
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck initcheck; do
            for test in kernels few calibrate; do
                PARE_TEST_BRIEF=1 compute-sanitizer --tool $tool --error-exitcode 1 $build/tests/gpu/test_gpu_$test
            done
        done
    fi
    ;;
bench)
    card=$(nvidia-smi --query-gpu=name --format=csv,noheader -i 0)
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader -i 0)
    read=$($build/tests/gpu/bench_gpu --read)
    echo "{\"card\":\"$card\",\"driver\":\"$driver\",\"read_bytes_per_s\":$read,\"activations\":\"fast\",\"n_prompt\":512,\"n_gen\":128,\"repetitions\":5}" |
        tee "${2:-/dev/null}"
    $build/tests/gpu/bench_gpu -r 5 distilgpt2 f16 q8_0 q4_0 dialogpt-small f16 llama-3.2-1b bf16 q8_0 q4_0 q4_k nf4 i8_ch \
        tinyllama-1.1b f16 q8_0 q4_0 q4_k llama-2-7b f16 q8_0 q4_0 q4_k nf4 i8_ch | tee -a "${2:-/dev/null}"
    $build/tests/gpu/bench_gpu -r 5 -i llm_int8 llama-3.2-1b i8_ch | tee -a "${2:-/dev/null}"
    for cache in f16 q8_0; do
        for depth in 8192 32000; do
            $build/tests/gpu/bench_gpu -r 5 -p 0 -k $cache -d $depth llama-3.2-1b q8_0 | tee -a "${2:-/dev/null}"
        done
    done
    ;;
*)
    echo "scripts/gpu.sh check | bench [OUT.jsonl]" >&2
    exit 2
    ;;
esac
