#!/usr/bin/env bash
# Every check of the C interface: the Rust tests, then the library as it is installed, linked by the programs of examples/c (shared and
# static), under valgrind and AddressSanitizer where they are installed. What a machine lacks is skipped and named.
#
#   tools/check-capi.sh [--no-tests]      --no-tests: without the Rust tests, which build the most
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { printf 'SKIPPED: %s\n' "$1"; }
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }

if [ "${1:-}" != --no-tests ]; then
    cargo test --release -p diffulex-capi
fi
# Itself and the engine.
[ "$(cargo tree -p diffulex-capi --no-default-features -e normal | wc -l)" -eq 2 ] || fail "the C interface has dependencies"

prefix=$PWD/target/capi/prefix
tools/install-capi.sh --prefix "$prefix"
model=tests/golden/sdar-f32
prompt='159 189 224 95 202 125 79 251 134 236'
# Recorded there as eval_threshold; the Rust tests compare more.
expected='237 237 258 258 258 258 157 157 157 210 250 237 173 43 56 22'

# A question of the demo model's kind.
question='What is 27 + 45?' answer='27 + 45 = 72.'

# Runs the program that needs text, after the words that are given.
run_chat() {
    local found
    found=$("$@" target/capi/chat demo/sdar "$question" 2>target/capi/chat.log) || { cat target/capi/chat.log >&2; fail "chat"; }
    [ "$found" = "$answer" ] || fail "chat printed: $found"
}

# Runs the programs that need no text, each after the words that are given.
run_programs() {
    local found
    found=$("$@" target/capi/memory "$model")
    [ "$found" = "$expected" ] || fail "memory printed: $found"
    # shellcheck disable=SC2086
    found=$("$@" target/capi/generate "$model" 16 'sdar-dynamic temperature=0 threshold=0.2' $prompt 2>target/capi/generate.log) ||
        { cat target/capi/generate.log >&2; fail "generate"; }
    [ "$found" = "$expected" ] || fail "generate printed: $found"
    printf 'the programs: %s\n' "${*:-alone}"
}

if have cc && have pkg-config && have make; then
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    build() { make -s -B -C examples/c BUILD="$PWD/target/capi" "$@"; }
    build LIBS="$prefix/lib/libdiffulex.a $(pkg-config --static --libs-only-l diffulex | sed 's/-ldiffulex//')"
    run_programs env
    run_chat env
    build
    run_programs env
    run_chat env
    if have valgrind; then
        # At the levels that valgrind's CPU has; leaks of any kind except "still reachable" are errors.
        run_programs valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect,possible
        # The tokenizers crate has tables that live as long as the process, with pointers into the middle of their memory.
        run_chat valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect
    else
        skip "valgrind is not installed"
    fi
    empty='int main(void) { return 0; }'
    if [ "$(uname -sm)" = 'Linux x86_64' ] && cc -fsanitize=address -x c - -o target/capi/asan <<<"$empty" 2>/dev/null; then
        # The library's own code is also instrumented, and uses the C compiler's runtime. Less optimized: instrumented kernels that
        # are inlined as in a release take a quarter of an hour to compile.
        CARGO_PROFILE_RELEASE_OPT_LEVEL=1 RUSTC_BOOTSTRAP=1 \
            RUSTFLAGS='-Zsanitizer=address -Zexternal-clangrt' CARGO_BUILD_TARGET=x86_64-unknown-linux-gnu \
            tools/install-capi.sh --prefix "$prefix-asan" --target-dir target/capi-asan --features mmap
        PKG_CONFIG_PATH=$prefix-asan/lib/pkgconfig build CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover'
        run_programs env ASAN_OPTIONS=detect_leaks=1
        # A library without text has the functions, and says what it lacks.
        target/capi/chat demo/sdar "$question" 2>target/capi/chat.log && fail "chat without a tokenizer"
        grep -q 'DIFFULEX_UNSUPPORTED.*built without' target/capi/chat.log || fail "chat said: $(cat target/capi/chat.log)"
    else
        skip "AddressSanitizer: no C compiler that has it, or not Linux on x86-64"
    fi
else
    skip "C programs: cc, pkg-config and make are needed"
fi

printf 'the C interface passed\n'
