#!/usr/bin/env bash
# Packs the programs for this machine's target: binaries without symbols, manual pages, completions, licences.
#
#   tools/dist.sh [OUT]        OUT (default target/dist-packages) gets diffulex-VERSION-TARGET.tar.gz and its .sha256
#
# The archive depends on the commit and the compiler alone: names are sorted, times are those of the commit. With cargo-cyclonedx
# installed it has a bill of materials (sbom.cdx.json), too.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-target/dist-packages}
mkdir -p "$out"
out=$(cd "$out" && pwd)
version=$(cargo pkgid | sed 's/.*[#@]//')
target=$(rustc -vV | sed -n 's/^host: //p')
name=diffulex-$version-$target
packages=(diffulex diffulex-bench diffulex-pull diffulex-server diffulex-verify)
programs=(diffulex diffulex-run diffulex-quantize diffulex-bench diffulex-synth diffulex-pull diffulex-server diffulex-verify)

cargo build --profile dist --locked $(printf -- '-p %s ' "${packages[@]}")

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root=$stage/$name
mkdir -p "$root"/bin "$root"/share/man/man1 "$root"/share/{bash,zsh,fish}
for program in "${programs[@]}"; do
    binary=target/dist/$program
    install -m 755 "$binary" "$root/bin/$program"
    "$binary" --version >/dev/null
    [ "$program" != diffulex ] || continue
    "$binary" --man >"$root/share/man/man1/$program.1"
    "$binary" --completions bash >"$root/share/bash/$program"
    "$binary" --completions zsh >"$root/share/zsh/_$program"
    "$binary" --completions fish >"$root/share/fish/$program.fish"
done
cp README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$root"
{
    echo "What the programs are linked from, and the licence of each:"
    echo
    cargo tree --locked --workspace --edges normal --prefix none --format '{p}: {l}' |
        sed -e 's/ (\*)$//' -e 's/ (proc-macro)//' -e 's/ ([^)]*)//' | grep -v '^diffulex' | grep . | sort -u
} >"$root/THIRD-PARTY.txt"
if cargo cyclonedx --version >/dev/null 2>&1; then
    cargo cyclonedx --format json --override-filename sbom.cdx --quiet --manifest-path crates/server/Cargo.toml
    mv crates/server/sbom.cdx.json "$root/sbom.cdx.json"
    find . -name sbom.cdx.json -not -path './target/*' -delete
else
    echo "skipped: the bill of materials (cargo install cargo-cyclonedx)" >&2
fi

time=$(git log -1 --format=%ct 2>/dev/null || echo 0)
tar -C "$stage" --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -n >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
ls -l "$out/$name.tar.gz"
