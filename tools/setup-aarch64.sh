#!/bin/bash
# Sets up a compiler, a linker and an emulator for the tests of the neon level on an x86-64 machine with Debian 12.
#
#   tools/setup-aarch64.sh PREFIX      then, in a shell that has read `. PREFIX/env`:
#   cargo test --release --no-default-features --lib --test kernels
#   cargo test --release --test golden -- --nocapture
#
# `env` sets the target and a target directory of its own, so every cargo command in that shell builds for aarch64 and runs
# what it built under qemu (a CPU with every extension; QEMU_CPU=cortex-a72 is one without).
#
# Where rustup can add a target, `rustup target add aarch64-unknown-linux-gnu` makes rustc-web unnecessary. It is Debian's
# modern Rust for building browsers, and the only one of its packages whose standard library is new enough. The C compiler
# links, and compiles one dependency of the benches (alloca).
#
# Needs apt-get and dpkg-deb, but not root. Nothing is written outside PREFIX, which takes 1.1 GB.
set -euo pipefail
prefix=$(mkdir -p "$1" && cd "$1" && pwd)
repo=$(cd "$(dirname "$0")/.." && pwd)
state=$prefix/apt root=$prefix/root bin=$prefix/bin
mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$prefix/debs" "$root" "$bin"

# Package lists of its own: the machine's lists know one architecture.
get() {
    apt-get -qq -o APT::Architecture=amd64 -o APT::Architectures=amd64,arm64 -o APT::Sandbox::User=root \
        -o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache" -o Dir::State::status=/dev/null "$@"
}
get update
(cd "$prefix/debs" && get download \
    rustc-web libstd-rust-web-1.96 libstd-rust-web-dev:{amd64,arm64} libllvm22:amd64 libz3-4:amd64 libedit2:amd64 \
    qemu-user-static {gcc,cpp}-12-aarch64-linux-gnu binutils-aarch64-linux-gnu libgcc-12-dev-arm64-cross \
    libgcc-s1-arm64-cross libc6{,-dev}-arm64-cross linux-libc-dev-arm64-cross)
for deb in "$prefix"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done

# Programs that find their libraries and each other under PREFIX.
wrap() { # name, command
    printf '#!/bin/sh\nexport LD_LIBRARY_PATH=%s PATH=%s:$PATH\nexec %s "$@"\n' \
        "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin" "$2" >"$bin/$1"
    chmod +x "$bin/$1"
}
cross=$root/usr/aarch64-linux-gnu
for tool in rustc rustdoc; do wrap $tool-web "$root/usr/bin/$tool"; done
wrap aarch64-ar "$root/usr/bin/aarch64-linux-gnu-ar"
wrap aarch64-cc "$root/usr/bin/aarch64-linux-gnu-gcc-12 --sysroot=$root \
-B$cross/lib -B$root/usr/lib/gcc-cross/aarch64-linux-gnu/12 -L$cross/lib"

cat >"$prefix/env" <<END
export RUSTC=$bin/rustc-web RUSTDOC=$bin/rustdoc-web
export CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu CARGO_TARGET_DIR=$repo/target/aarch64
export CC_aarch64_unknown_linux_gnu=$bin/aarch64-cc AR_aarch64_unknown_linux_gnu=$bin/aarch64-ar
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$bin/aarch64-cc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$root/usr/bin/qemu-aarch64-static -L $cross"
END
echo "ready: . $prefix/env"
