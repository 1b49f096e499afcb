#!/usr/bin/env bash
# Every check of the Python package: the wheel is built in a fresh environment and installed into another one, where python/tests, the tutorial
# (docs/python.md), mypy and a local Ray cluster (tools/check_ray.py) run. What a machine lacks is skipped and named.
#
#   tools/check-python.sh [PYTHON]      PYTHON: the interpreter to use (default: python3)
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-python3}
skip() { printf 'SKIPPED: %s\n' "$1"; }
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }

if ! command -v "$python" >/dev/null; then
    skip "the Python package: $python is not installed"
    exit 0
fi
place=$PWD/target/python
rm -rf "$place"
mkdir -p "$place/wheels"

# Runs the tests in the environment that the arguments name, away from the source tree.
run_tests() {
    (cd "$place" && env -u DIFFULEX_LIB -u PYTHONPATH "$@" -m unittest discover --buffer -s "$OLDPWD/python/tests")
}

if ! "$python" -m venv "$place/build" >/dev/null 2>&1 || ! "$place/build/bin/pip" install --quiet 'maturin>=1.8,<2' 2>/dev/null; then
    skip "the wheel: no virtual environment with maturin can be made; the extension is tested as cargo builds it"
    cargo build --release -p diffulex-python
    DIFFULEX_LIB=$PWD/target/release PYTHONPATH=$PWD/python PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest discover --buffer -s python/tests
    exit 0
fi

PATH=$place/build/bin:$PATH "$place/build/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$place/wheels" ./python
wheel=$(find "$place/wheels" -name 'diffulex-*-abi3-*.whl')
[ -n "$wheel" ] || fail "no wheel for every Python: $(ls "$place/wheels")"
printf 'the wheel: %s, %s bytes\n' "${wheel##*/}" "$(wc -c <"$wheel")"

"$python" -m venv "$place/installed"
"$place/installed/bin/pip" install --quiet "$wheel"
# Once without numpy, which nothing but arrays needs.
run_tests "$place/installed/bin/python"
if "$place/installed/bin/pip" install --quiet numpy 2>/dev/null; then
    run_tests "$place/installed/bin/python"
else
    skip "arrays: numpy cannot be installed"
fi
if "$place/installed/bin/pip" install --quiet mypy 2>/dev/null; then
    (cd python && "$place/installed/bin/mypy" --cache-dir "$place/mypy" diffulex)
    # The stubs are those of the extension: no function and no argument is missing or has another name.
    (cd "$place" && MYPYPATH='' "$place/installed/bin/stubtest" --ignore-missing-stub diffulex._native)
else
    skip "types: mypy cannot be installed"
fi
# A program and a local cluster: not where the wheels cannot be installed, or not soon.
if ! timeout 300 "$place/installed/bin/pip" install --quiet 'ray[serve,data]' 2>/dev/null; then
    skip "diffulex.ray: ray[serve,data] cannot be installed in five minutes"
else
    cargo build --release -p diffulex-server
    status=0
    (cd "$place" && env -u DIFFULEX_LIB -u PYTHONPATH RAY_USAGE_STATS_ENABLED=0 \
        timeout --signal=INT --kill-after=30 600 "$place/installed/bin/python" "$OLDPWD/tools/check_ray.py" "$OLDPWD/target/release/diffulex-server") || status=$?
    case $status in
        0) ;;
        75) skip "diffulex.ray: no local cluster starts here" ;;
        124) skip "diffulex.ray: not done in ten minutes" ;;
        *) exit "$status" ;;
    esac
fi
printf 'the Python package passed\n'
