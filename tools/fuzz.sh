#!/usr/bin/env bash
# tools/fuzz.sh [seconds] [target...]: runs the fuzz targets one after another, each for this many seconds (60; 0 only builds and
# runs the seeds). Prints executions and coverage of each; exits with 1 if one found something, with 2 if it cannot run.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
if [[ ${1:-} =~ ^[0-9]+$ ]]; then seconds=$1; shift; fi
if ! command -v cargo-fuzz >/dev/null; then
    echo "cargo-fuzz is not installed; this installs it: cargo install cargo-fuzz --locked" >&2
    exit 2
fi
# The sanitizers and their flags are unstable; a stable compiler accepts them with this variable.
if cargo +nightly --version >/dev/null 2>&1; then cargo=(cargo +nightly); else cargo=(cargo); export RUSTC_BOOTSTRAP=1; fi

# In functions with many memory accesses (the tiles of the kernels) the address sanitizer checks them by calls: its inline checks make
# those functions so large that the compiler takes half an hour for them.
export RUSTFLAGS="${RUSTFLAGS:-} -Cllvm-args=-asan-instrumentation-with-call-threshold=200"

known=$(cd fuzz && "${cargo[@]}" fuzz list)
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets <<<"$known"
for target in "${targets[@]}"; do
    grep -qx -- "$target" <<<"$known" || { echo "no target $target; there are" $known >&2; exit 2; }
done

# Seeds that are already elsewhere in the repository.
gather() {
    local file name
    for file in tests/golden/*/config.json tests/golden/*/generation_config.json tests/golden/*/tokenizer.json \
        tests/golden/*/*.index.json tests/golden/*/chat_template.jinja tests/chat/*.jinja; do
        case $file in
            *config.json) name=config ;;
            *tokenizer.json) name=tokenizer ;;
            *.jinja) name=chat ;;
            *) name=index ;;
        esac
        mkdir -p "fuzz/corpus/$name"
        cp "$file" "fuzz/corpus/$name/$(tr / - <<<"$file")"
    done
}

# Longest inputs, in bytes: what the target can use.
length() {
    case $1 in
        json | config | index) echo 4096 ;;
        tokenizer) echo 8192 ;;
        quant) echo 16384 ;;
        *) echo 2048 ;;
    esac
}

gather
# Many units instead of one: built in minutes, and hardly slower.
"${cargo[@]}" fuzz build --codegen-units 32
failed=()
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    log=$(mktemp)
    limit=(-max_total_time="$seconds")
    [ "$seconds" -gt 0 ] || limit=(-runs=0)
    if "${cargo[@]}" fuzz run --codegen-units 32 "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- "${limit[@]}" \
        -rss_limit_mb=2048 -timeout=30 -max_len="$(length "$target")" -print_final_stats=1 >"$log" 2>&1; then
        result=ok
    else
        result=FAILED
        failed+=("$target")
        # What was found, and the command that repeats it.
        grep -vE '^#[0-9]+|NEW|REDUCE' "$log" | tail -n 60
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 || true)
    printf '%-12s %-7s %12s executions  %s\n' "$target" "$result" "${runs:-?}" "$coverage"
    rm -f "$log"
done
[ ${#failed[@]} -eq 0 ] || { echo "found by: ${failed[*]}; the inputs are in fuzz/artifacts" >&2; exit 1; }
