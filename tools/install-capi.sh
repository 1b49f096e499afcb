#!/usr/bin/env bash
# Builds the C library and installs it: header, shared and static library, pkg-config file. docs/c.md is the guide.
#
#   tools/install-capi.sh [--prefix DIR] [--features LIST] [--target-dir DIR]
#
# Default: /usr/local, `mmap,text` (an empty list has no dependencies), target/capi. RUSTFLAGS and CARGO_BUILD_TARGET are respected.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=/usr/local features=mmap,text target=target/capi
while [ $# -gt 0 ]; do
    case "$1" in
        --prefix | --features | --target-dir)
            [ $# -ge 2 ] || { printf 'error: %s: a value is expected\n' "$1" >&2; exit 2; } ;;
        *) printf 'error: %s: expected --prefix DIR, --features LIST or --target-dir DIR\n' "$1" >&2; exit 2 ;;
    esac
    case "$1" in
        --prefix) mkdir -p "$2" && prefix=$(cd "$2" && pwd) ;;
        --features) features=$2 ;;
        --target-dir) target=$2 ;;
    esac
    shift 2
done

abi=$(sed -n 's/^#define DIFFULEX_ABI_VERSION //p' include/diffulex.h)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The name that programs record, so that an incompatible library is not loaded instead.
case "$(uname -s)" in
    Darwin)
        shared=libdiffulex.dylib soname=libdiffulex.$abi.dylib private=-lm
        name=-Wl,-install_name,$prefix/lib/$soname ;;
    *)
        shared=libdiffulex.so soname=libdiffulex.so.$abi private='-lgcc_s -lpthread -ldl -lm'
        name=-Wl,-soname,$soname ;;
esac

cargo rustc --release -p diffulex-capi --lib --no-default-features --features "$features" --target-dir "$target" \
    --config 'profile.release.debug=false' -- -C link-arg="$name"
built=$target/${CARGO_BUILD_TARGET:-}/release

install -d "$prefix/include" "$prefix/lib/pkgconfig"
install -m 644 include/diffulex.h "$prefix/include/"
install -m 755 "$built/${shared/diffulex/diffulex_capi}" "$prefix/lib/$soname"
ln -sf "$soname" "$prefix/lib/$shared"
install -m 644 "$built/libdiffulex_capi.a" "$prefix/lib/libdiffulex.a"
if command -v strip >/dev/null; then
    strip -S "$prefix/lib/$soname" "$prefix/lib/libdiffulex.a"
fi
sed -e "s|@prefix@|$prefix|" -e "s|@version@|$version|" -e "s|@private@|$private|" tools/diffulex.pc.in \
    >"$prefix/lib/pkgconfig/diffulex.pc"
printf 'installed diffulex %s (features %s) in %s\n' "$version" "$features" "$prefix"
