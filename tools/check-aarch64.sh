#!/usr/bin/env bash
# Runs the tests of the kernels, the library and the recordings of every family as aarch64 programs under emulation:
#
#   tools/check-aarch64.sh [PREFIX] [SECONDS]
#
# PREFIX (default target/aarch64-kit) has or receives what tools/setup-aarch64.sh fetches. Fetching and building together may take SECONDS
# (default 900); what is not there in that time is skipped with a message. A test that fails is a failure. Two CPUs are emulated: one with every
# extension (SDOT, SMMLA, bf16), which also runs the plain units, and a cortex-a72, which has none: there only what chooses and runs
# an integer unit is repeated.
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=${1:-target/aarch64-kit} limit=${2:-900}

skip() { printf 'skipped: aarch64, %s\n' "$*"; exit 0; }
left() { local rest=$((limit - SECONDS)); echo $((rest > 1 ? rest : 1)); }

if [ ! -f "$prefix/env" ]; then
    command -v apt-get >/dev/null || skip "no apt-get to fetch the kit with"
    timeout "$(left)" tools/setup-aarch64.sh "$prefix" >/dev/null 2>&1 || skip "the kit could not be fetched in $limit s"
fi
. "$prefix/env"
# Incremental builds would only take disk here.
export CARGO_INCREMENTAL=0
tests=(--release --no-default-features --lib --test kernels --test golden)
outcome=0
timeout "$(left)" cargo test "${tests[@]}" --no-run || outcome=$?
[ $outcome -ne 124 ] || skip "building took longer than $limit s"
[ $outcome -eq 0 ] || exit $outcome

PROPTEST_CASES=8 cargo test "${tests[@]}" -- --nocapture
printf 'on a CPU without dot products\n'
QEMU_CPU=cortex-a72 PROPTEST_CASES=8 cargo test --release --no-default-features --test kernels -- integer gemm_of_any_shape
