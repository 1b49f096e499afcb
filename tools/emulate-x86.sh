#!/bin/bash
# Runs tests on an emulated x86 processor: by default one with AVX-512 (VNNI, BF16, FP16), AVX-VNNI and AMX (int8, bf16).
#
#   tools/emulate-x86.sh                      tests/kernels, and the unit tests of the kernels with pulp
#   tools/emulate-x86.sh --test golden     these tests (options of `cargo test --no-run`)
#   tools/emulate-x86.sh --program PATH [ARGUMENTS]       a program that is built already, statically linked
#   ARGS='--skip any_shape' tools/emulate-x86.sh ...    arguments for the test programs
#   CPU=arrow_lake tools/emulate-x86.sh ...    another processor: CPU=help lists them
#   WORK=DIRECTORY tools/emulate-x86.sh ...    downloads and files of the run elsewhere than in target/emulate
#
# QEMU knows neither AVX-512 nor AMX; Bochs does, but is a whole PC. So statically linked test programs are put into an
# initramfs and booted under a Debian kernel; what they print comes back over the serial port. Every level that the processor
# has runs, since that is what `Level::available` finds there. Bochs executes 50 to 100 million instructions per second, on
# one core: 10 seconds for the boot, and many minutes for the default tests.
#
# Needs Debian 12, cargo, g++, make, patch; not root, and nothing is installed. Everything goes to target/emulate: the
# first run downloads 30 MB of packages, 4 MB of Bochs' source and the list of the source packages of Debian 13, builds
# Bochs (some minutes on two cores) and keeps 30 MB. After that, simultaneous runs do not disturb each other.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD work=${WORK:-$PWD/target/emulate}
root=$work/root cpu=${CPU:-sapphire_rapids}

# Unpacks the packages of this system that the machine needs: firmware, a kernel, what makes a bootable disk.
unpack() { # to
    local tools=(bochsbios vgabios busybox-static cpio genisoimage isolinux syslinux-common) kernel missing deb
    kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }')
    missing=$(apt-get install -s --no-install-recommends "${tools[@]}" | awk '/^Inst/ { print $2 }')
    mkdir -p "$work/debs"
    (cd "$work/debs" && printf '%s\n' "${tools[@]}" "$kernel" $missing | sort -u | xargs apt-get download -qq)
    for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$1"; done
    rm -r "$work/debs" "$1/lib/modules"
}

# Builds the Bochs of Debian 13 with correct AMX that Linux accepts. Its source comes through apt, with lists separate
# from the system's.
build_bochs() { # to
    local apt=$work/apt source=$work/bochs-source
    rm -rf "$apt" "$source"
    mkdir -p "$apt"/{lists,cache/archives}/partial "$source"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${MIRROR:-http://deb.debian.org/debian} trixie main" \
        >"$apt/sources.list"
    cat >"$apt/apt.conf" <<END
Dir::State::Lists "$apt/lists";
Dir::Cache "$apt/cache";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Acquire::Languages "none";
END
    APT_CONFIG=$apt/apt.conf apt-get update -qq
    (cd "$apt" && APT_CONFIG=$apt/apt.conf apt-get source -qq --download-only --tar-only bochs)
    tar -xf "$apt"/bochs_*.orig.tar.* -C "$source" --strip-components=1
    patch -s -d "$source" -p1 <tools/bochs-amx.patch
    echo "building Bochs; the log is $work/build.log"
    (cd "$source" && ./configure --enable-cpu-level=6 --enable-x86-64 --enable-avx --enable-evex --enable-amx \
        --enable-all-optimizations --disable-debugger --disable-docbook --disable-vmx --disable-svm --with-nogui --without-x \
        CXXFLAGS=-O2 CFLAGS=-O2 && make -j"$(nproc)") \
        >"$work/build.log" 2>&1
    cp "$source/bochs" "$1"
    rm -r "$apt" "$source"
}
# Runs a program of the unpacked packages.
unpacked() { LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu "$root/$@"; }

mkdir -p "$work"
if [ ! -d "$root" ]; then
    unpack "$root.new"
    mv "$root.new" "$root"
fi
[ -x "$work/bochs" ] || build_bochs "$work/bochs"
if [ "$cpu" = help ]; then
    "$work/bochs" --help cpu 2>&1 | grep '^[a-z]'
    exit
fi

# Prints the paths of the test programs.
build() {
    RUSTFLAGS='-C target-feature=+crt-static' CARGO_PROFILE_RELEASE_STRIP=symbols cargo test --release --no-run \
        --target x86_64-unknown-linux-gnu --no-default-features "$@" 2>&1 | tee /dev/stderr |
        sed -n 's/^ *Executable .*(\(.*\))$/\1/p'
}

run=$(mktemp -d "$work/run.XXXXXX")
trap 'rm -r "$run"' EXIT
disk=$run/disk files=$run/initramfs
mkdir -p "$disk" "$files"/{bin,dev,proc,tmp,tests}
: >"$run/list"
add() { # name, program, arguments
    cp "$2" "$files/tests/$1"
    echo "run $1 ${*:3}" >>"$run/list"
}
add_test() { # prefix, program, arguments
    add "$1-$(basename "${2%-*}")" "$2" --test-threads=1 "$3"
}
if [ "${1-}" = --program ]; then
    program=$2
    shift 2
    add "$(basename "$program")" "$program" "${@@Q}"
elif [ $# -gt 0 ]; then
    programs=$(build "$@")
    for program in $programs; do add_test given "$program" "${ARGS-}"; done
else
    programs=$(build --test kernels)
    add_test own "$programs" "${ARGS-}"
    programs=$(build --lib --features pulp)
    add_test pulp "$programs" "${ARGS-kernels::}"
fi

# Tests look for their files where they were compiled.
mkdir -p "$files$repo/tests" && cp -r tests/golden "$files$repo/tests/"
cp "$root/bin/busybox" "$files/bin/"
cat >"$files/init" <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>&1 </dev/null
cd $repo
run() { echo "== \$*"; name=\$1; shift; /tests/\$name "\$@"; echo "== \$name: exit status \$?"; }
echo "== cpu: \$(/bin/busybox grep -o -w -E '(avx|amx)[^ ]*' /proc/cpuinfo | /bin/busybox tr '\n' ' ')"
$(cat "$run/list")
/bin/busybox sleep 1
/bin/busybox poweroff -f
END
chmod +x "$files/init"
(cd "$files" && find . | unpacked bin/cpio -o -H newc --quiet | gzip -1) >"$disk/initrd"
cp "$root"/boot/vmlinuz-* "$disk/vmlinuz"
cp "$root/usr/lib/ISOLINUX/isolinux.bin" "$root/usr/lib/syslinux/modules/bios/ldlinux.c32" "$disk/"
# With fast short rep mov, Linux 6.1 faults forever after it has patched itself; with 5-level paging, Bochs refuses to return
# from system management mode.
cat >"$disk/isolinux.cfg" <<END
DEFAULT tests
LABEL tests
  KERNEL /vmlinuz
  INITRD /initrd
  APPEND console=ttyS0,115200 mitigations=off nosmp clearcpuid=fsrm no5lvl quiet loglevel=3 panic=-1 ${KERNEL_OPTIONS-}
END
unpacked usr/bin/genisoimage -quiet -o "$run/boot.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
    -boot-info-table "$disk"

cat >"$run/bochsrc" <<END
cpu: model=$cpu, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=$root/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=$root/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=$run/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$run/serial.txt
display_library: nogui
log: $run/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
clock: sync=none
END
rm -f "$run/serial.txt" && touch "$run/serial.txt"
echo "booting; progress is in $run/serial.txt"
# It ends with an error when the machine powers off.
timeout --foreground 3h "$work/bochs" -q -f "$run/bochsrc" </dev/null >"$run/screen.txt" 2>&1 || true
if ! grep -q '^== cpu' "$run/serial.txt"; then
    echo "it did not boot; the last output of Bochs and Linux:" >&2
    tail -n 20 "$run/screen.txt" "$run/serial.txt" >&2
fi
tr -d '\r' <"$run/serial.txt" | sed -n '/^== cpu/,$p'
passed=$(grep -c '^== .*: exit status 0' "$run/serial.txt" || true)
echo "$passed of $(wc -l <"$run/list") programs passed on $cpu"
[ "$passed" = "$(wc -l <"$run/list")" ]
