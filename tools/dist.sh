#!/usr/bin/env bash
# Packs the programs: binaries without symbols, manual pages, completions, licences with their texts, a bill of materials, checksums.
#
#   tools/dist.sh [OUT [TARGET]]    OUT (default target/dist-packages) gets diffulex-VERSION-TARGET.tar.gz and its .sha256
#   tools/dist.sh --check           checks what would be published on crates.io, and packs nothing
#
# TARGET (default: this machine) must be one whose programs run here, such as x86_64-unknown-linux-musl. The archive depends only on the commit
# and the compiler: names are sorted, times are those of the commit. Only what Cargo.lock names is downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }

# What is published is the package `diffulex`. The others belong to this repository: `publish = false` says so in each, and nothing that
# is published depends on them.
check_published() {
    step "what would be published"
    local left
    left=$(cargo metadata --locked --no-deps --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["publish"] == []:
        continue
    if package["name"] != "diffulex":
        print(package["name"], "lacks publish = false")
    for key in ("description", "license", "readme", "documentation", "categories", "keywords", "rust_version"):
        if not package[key]:
            print(package["name"], "lacks", key)
    for dependency in package["dependencies"]:
        if dependency.get("path") and dependency["kind"] != "dev":
            print(package["name"], "depends on the unpublished", dependency["name"])
')
    [ -z "$left" ] || fail "$left"
    local log
    log=$(mktemp)
    if cargo publish --dry-run --locked --no-verify --allow-dirty -p diffulex >"$log" 2>&1; then
        grep Packaged "$log"
    elif grep -qE 'registry|network|resolve host|download' "$log"; then
        tail -3 "$log"
        echo "skipped: cargo publish --dry-run: the registry does not answer; the package is made without it" >&2
        cargo package --offline --locked --no-verify --allow-dirty -p diffulex 2>&1 | { grep Packaged || fail "cargo package"; }
    else
        cat "$log"
        fail "cargo publish --dry-run"
    fi
    rm -f "$log"
}

version=$(cargo pkgid | sed 's/.*[#@]//')
if [ "${1:-}" = --check ]; then
    check_published
    exit
fi

out=${1:-target/dist-packages}
mkdir -p "$out"
out=$(cd "$out" && pwd)
host=$(rustc -vV | sed -n 's/^host: //p')
target=${2:-$host}
name=diffulex-$version-$target
packages=(diffulex diffulex-bench diffulex-pull diffulex-server diffulex-verify)
programs=(diffulex diffulex-run diffulex-quantize diffulex-bench diffulex-synth diffulex-pull diffulex-server diffulex-verify)

check_published

step "programs for $target"
cross=()
built=${CARGO_TARGET_DIR:-target}/dist
if [ "$target" != "$host" ]; then
    cross=(--target "$target")
    built=${CARGO_TARGET_DIR:-target}/$target/dist
    # The C code of one dependency calls no C library: this machine's compiler suffices where there is none for musl.
    compiler=CC_${target//-/_}
    if [[ $target == *-musl && -z ${!compiler:-} ]] && ! command -v "${target/-unknown/}-gcc" >/dev/null; then
        export "$compiler=cc"
    fi
fi
cargo build --profile dist --locked "${cross[@]}" $(printf -- '-p %s ' "${packages[@]}")

step "archive"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root=$stage/$name
mkdir -p "$root"/bin "$root"/share/man/man1 "$root"/share/{bash,zsh,fish}
for program in "${programs[@]}"; do
    binary=$built/$program
    install -m 755 "$binary" "$root/bin/$program"
    "$binary" --man >"$root/share/man/man1/$program.1"
    "$binary" --completions bash >"$root/share/bash/$program"
    "$binary" --completions zsh >"$root/share/zsh/_$program"
    "$binary" --completions fish >"$root/share/fish/$program.fish"
done
cp README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$root"
tools/bill.py "$root" "${packages[@]}"
(cd "$root" && find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum >"$stage/SHA256SUMS" && mv "$stage/SHA256SUMS" .)

time=$(git log -1 --format=%ct 2>/dev/null || echo 0)
tar -C "$stage" --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -n >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")

step "what was packed works"
rm -rf "$root"
(cd "$out" && sha256sum --check --quiet "$name.tar.gz.sha256")
tar -xzf "$out/$name.tar.gz" -C "$stage"
(cd "$root" && sha256sum --check --quiet SHA256SUMS)
for program in "${programs[@]}"; do
    "$root/bin/$program" --version >/dev/null || fail "$program --version"
    ! readelf -S "$root/bin/$program" 2>/dev/null | grep -qE '\.(symtab|debug_info)' || fail "$program has symbols"
    [ -s "$root/share/man/man1/$program.1" ] || fail "$program has no manual page"
done
answer=$("$root/bin/diffulex" run --quiet --prompt "What is 2 + 2?") || fail "the packed program gives no answer"
printf 'What is 2 + 2? %s\n' "$answer"
for file in THIRD-PARTY.txt sbom.cdx.json; do
    [ -s "$root/$file" ] || fail "$file is empty"
done

step "sizes"
(cd "$root" && du -ab --apparent-size bin THIRD-PARTY.txt sbom.cdx.json | sort -k 2)
ls -l "$out/$name.tar.gz"
cat "$out/$name.tar.gz.sha256"
