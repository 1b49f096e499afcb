#!/bin/bash
# Measures the engine on an x86 machine that has nothing but this folder of built programs.
#
#   tools/measure-x86.sh --pack DIR    builds, and copies what the other machine needs into DIR (under 60 MB)
#   DIR/measure-x86.sh OUT             runs there, and writes OUT.json, OUT.txt (table) and OUT.log
#   BUDGET=540 THREADS="1 2 16"        seconds for everything; numbers of threads
#
# In order of importance: the machine (lscpu), the kernel tests at every level and unit of the CPU, sdar-1.7b in int4, int8 and
# bf16 at 1 to 512 rows, the same over 2048 cached positions, a mixture of experts (8 of the 48 layers of sdar-30b-a3b), other
# numbers of threads, lower levels, dream-7b; PyTorch in bf16 on the shape of sdar-1.7b where Python can import torch. What
# does not fit into the budget or the memory is skipped, and the table says so. "share" is the limit of the roofline, measured
# in the same run, divided by the median time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1-}" = --pack ]; then
    to=${2:?a directory}
    cd "$here/.."
    mkdir -p "$to"
    cargo build --release -p diffulex-bench --bin diffulex-bench
    test=$(cargo test --release --no-default-features --test kernels --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
    strip -o "$to/diffulex-bench" "$(find target/release -maxdepth 1 -name diffulex-bench)"
    strip -o "$to/kernels-test" "$test"
    cp tools/measure-x86.sh "$to/"
    du -sh "$to"
    exit
fi

out=${1:?where to put the results}
mkdir -p "$(dirname "$out")"
budget=${BUDGET:-540} parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
: >"$out.log"
left() { echo $((budget - SECONDS)); }
note() { echo "$*" | tee -a "$out.txt"; }
skip() {
    note "skipped: $*"
    echo "\"$*\"" >>"$parts/skipped"
}

# From one report of diffulex-bench: a line for every case.
table() {
    awk -v name="$1" -F'[:,]' '
        { key = $1; gsub(/[ "]/, "", key); value = $2; gsub(/^ +/, "", value) }
        key == "cases" { inside = 1 }
        inside && key == "rows" { rows = value }
        inside && key == "context" { context = value }
        inside && key == "median_ms" { median = value }
        inside && key == "best_ms" { best = value }
        inside && key == "limit_ms" { limit = value }
        inside && key == "limited_by" { gsub(/"/, "", value); by = value }
        inside && key == "share" {
            printf "%-34s %5d %8d %10.2f %10.2f %10.2f %-8s %5.0f %%\n", name, rows, context, median, best, limit, by, 100 * value
        }
        key == "generation" { inside = 0 }' "$2" | tee -a "$out.txt"
}

# Runs diffulex-bench, unless too little time is left for it: name, the least seconds that it takes, options.
bench() {
    local name=$1 needs=$2 report=$parts/$1.json
    shift 2
    if [ "$(left)" -lt "$needs" ]; then
        skip "$name: no time left"
        return
    fi
    if timeout "$(left)" "$here/diffulex-bench" "$@" --json >"$report" 2>>"$out.log"; then
        { printf '{ "name": "%s", "report": ' "$name" && cat "$report" && echo '}'; } >"$parts/run.$(date +%s%N)"
        table "$name" "$report"
    else
        skip "$name: exit status $? ($(tail -n 1 "$out.log" | tr -d '"\\' | cut -c 1-120))"
    fi
}

: >"$out.txt"
note "$(date -u +%F)  $(lscpu | sed -n 's/^Model name: *//p' | head -n 1), family $(lscpu | sed -n 's/^CPU family: *//p'), model $(lscpu | sed -n 's/^Model: *//p'), $(nproc) CPUs, $(awk '/MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo)"
note "$(grep -o -w -E '(avx|amx|fma|f16c)[^ ]*' /proc/cpuinfo | sort -u | tr '\n' ' ')"

if timeout 150 "$here/kernels-test" --nocapture >"$parts/tests" 2>&1; then
    note "kernel tests: passed at every level and unit; $(grep -c 'not on this machine' "$parts/tests" || true) lines name what this CPU lacks"
    tests=passed
elif [ $? = 124 ]; then
    skip "kernel tests: not done after 150 s"
    tests=unfinished
else
    note "kernel tests: FAILED"
    tests=failed
fi
cat "$parts/tests" >>"$out.log"

cores=$(lscpu -p=Core,Socket | grep -v '^#' | sort -u | wc -l)
threads=${THREADS:-$(for n in 1 2 4 8 16 32 64; do if [ "$n" -le "$cores" ]; then echo "$n"; fi; done)}
most=$(echo $threads | awk '{ print $NF }') rows=1,2,4,8,16,32,64,128,256,512
note "$(printf '%-34s %5s %8s %10s %10s %10s %-8s %7s' run rows context 'median ms' 'best ms' 'limit ms' by share)"
sdar="--preset sdar-1.7b"
bench "sdar-1.7b int4 t$most" 30 $sdar --format int4 --threads "$most" --rows $rows --seconds 0.6
bench "sdar-1.7b int8 t$most" 30 $sdar --format int8 --threads "$most" --rows $rows --seconds 0.4
bench "sdar-1.7b bf16 t$most" 40 $sdar --format bf16 --threads "$most" --rows $rows --seconds 0.4
bench "sdar-1.7b int4 t$most ctx" 30 $sdar --format int4 --threads "$most" --rows 1,4,32,128 --context 2048 --seconds 0.4
moe="--preset sdar-30b-a3b --layers 8"
for format in int4 int8; do
    bench "sdar-30b-a3b 8 layers $format t$most" 40 $moe --format $format --threads "$most" --rows 1,4,8,32,128 --context 0,2048 --seconds 0.3
done
for n in $threads; do
    [ "$n" = "$most" ] || bench "sdar-1.7b int4 t$n" 30 $sdar --format int4 --threads "$n" --rows 1,4,32,128 --seconds 0.4
done
for level in avx512 avx2; do
    bench "sdar-1.7b int4 $level t$most" 30 $sdar --format int4 --threads "$most" --level $level --rows 1,4,8,16,32,64,128 --seconds 0.4
done
bench "sdar-1.7b int4 x f32 t$most" 30 $sdar --format int4 --activations f32 --threads "$most" --rows 1,4,16,32,128 --seconds 0.4
bench "dream-7b int4 t$most" 60 --preset dream-7b --format int4 --threads "$most" --rows 1,4,32,128 --seconds 0.4
bench "dream-7b int8 t$most" 60 --preset dream-7b --format int8 --threads "$most" --rows 1,4,32,128 --seconds 0.4
bench "dream-7b bf16 t$most" 120 --preset dream-7b --format bf16 --threads "$most" --rows 1,4,32,128 --seconds 0.4

# A forward of the shape of sdar-1.7b: the matrices of 28 layers and the output matrix, without attention and norms.
torch() {
    python3 - "$most" <<'END'
import sys, time, torch
torch.set_num_threads(int(sys.argv[1])); torch.manual_seed(0)
shapes = [(4096, 2048), (2048, 2048), (12288, 2048), (2048, 6144)] * 28 + [(151936, 2048)]
weights = [torch.randn(n, k, dtype=torch.bfloat16) for n, k in shapes]
for rows in (1, 4, 32, 128, 512):
    x = {k: torch.randn(rows, k, dtype=torch.bfloat16) for k in (2048, 6144)}
    times = []
    with torch.inference_mode():
        for _ in range(4):
            start = time.perf_counter()
            for w in weights: torch.nn.functional.linear(x[w.shape[1]], w)
            times.append(1e3 * (time.perf_counter() - start))
    print(rows, sorted(times[1:])[1], flush=True)
END
}
if ! python3 -c 'import torch' 2>/dev/null; then
    skip "PyTorch: python3 cannot import torch here"
elif [ "$(left)" -lt 60 ]; then
    skip "PyTorch: no time left"
else
    export -f torch; export most
    timeout "$(left)" bash -c torch >"$parts/torch" 2>>"$out.log" || skip "PyTorch: exit status $?"
    while read -r m ms; do
        note "$(printf '%-34s %5d %8d %10.2f' "PyTorch bf16, matrices only" "$m" 0 "$ms")"
        echo "{ \"rows\": $m, \"median_ms\": $ms }" >>"$parts/peer"
    done <"$parts/torch"
fi

list() { [ ! -e "$1" ] || paste -s -d, "$1"; }
{
    echo "{ \"date\": \"$(date -u +%F)\", \"seconds\": $SECONDS, \"kernel_tests\": \"$tests\","
    echo "\"lscpu\": $(lscpu -J),"
    echo "\"pytorch_bf16\": [$(list "$parts/peer")],"
    echo "\"skipped\": [$(list "$parts/skipped")],"
    echo "\"runs\": ["
    first=1
    for run in "$parts"/run.*; do
        [ -e "$run" ] || continue
        [ $first = 1 ] || echo ,
        cat "$run"
        first=0
    done
    echo "] }"
} >"$out.json"
note "took $SECONDS s"
