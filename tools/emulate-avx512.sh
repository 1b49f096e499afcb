#!/bin/bash
# Runs tests at the avx512 level on a machine without AVX-512.
#
#   tools/emulate-avx512.sh                      tests/kernels, and the unit tests of the kernels with pulp
#   tools/emulate-avx512.sh --features cli --test golden     these tests (options of `cargo test --no-run`)
#   ARGS='--skip any_shape' tools/emulate-avx512.sh ...    other arguments for the test programs
#   CPU=corei7_haswell_4770 tools/emulate-avx512.sh ...    another processor: `bochs --help cpu` lists them
#
# QEMU does not know AVX-512; Bochs does, but is a whole PC. So statically linked test programs are put into an initramfs and
# booted under a Debian kernel; what they print comes back over the serial port. All three levels run, since they are what
# `Level::available` finds there. Bochs executes 50 to 100 million instructions per second, on one core: 30 seconds for the
# boot, and minutes for the default tests.
#
# The VCVTPS2PH of Bochs 2.7 rounds ties away from zero, not to even, with 256 bits and with 512. Real processors pass
# `narrowing_is_exact_at_every_level`; it is skipped here.
#
# Needs Debian 12, cargo, a C toolchain; not root, and nothing is installed. Downloads 40 MB of packages or more (Bochs
# depends on GTK) into target/emulate and unpacks them there: 160 MB.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD work=${WORK:-$PWD/target/emulate}
root=$work/root cpu=${CPU:-corei7_skylake_x}
mkdir -p "$work/debs"

if [ ! -e "$root/complete" ]; then
    tools=(bochs bochsbios vgabios busybox-static cpio genisoimage isolinux syslinux-common)
    kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }')
    missing=$(apt-get install -s --no-install-recommends "${tools[@]}" | awk '/^Inst/ { print $2 }')
    (cd "$work/debs" && printf '%s\n' "${tools[@]}" "$kernel" $missing | sort -u | xargs apt-get download -qq)
    for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$root"; done
    touch "$root/complete"
fi
lib=$root/usr/lib/x86_64-linux-gnu
export LTDL_LIBRARY_PATH=$lib/bochs/plugins
with_libraries() { LD_LIBRARY_PATH=$lib:$root/lib/x86_64-linux-gnu "$@"; }

# Prints the paths of the test programs.
build() {
    RUSTFLAGS='-C target-feature=+crt-static' CARGO_PROFILE_RELEASE_STRIP=symbols cargo test --release --no-run \
        --target x86_64-unknown-linux-gnu --no-default-features "$@" 2>&1 | tee /dev/stderr |
        sed -n 's/^ *Executable .*(\(.*\))$/\1/p'
}

disk=$work/disk files=$work/initramfs
rm -rf "$disk" "$files"
mkdir -p "$disk" "$files"/{bin,dev,proc,tmp,tests}
add() { # prefix, program, arguments
    local name=$1-$(basename "${2%-*}")
    cp "$2" "$files/tests/$name"
    echo "run $name $3" >>"$work/list"
}
: >"$work/list"
default='--skip narrowing_is_exact'
if [ $# -gt 0 ]; then
    programs=$(build "$@")
    for program in $programs; do add given "$program" "${ARGS-$default}"; done
else
    programs=$(build --test kernels)
    add own "$programs" "${ARGS-$default}"
    programs=$(build --lib --features pulp)
    add pulp "$programs" "${ARGS-kernels::}"
fi

# Tests find their files at the place where they were compiled.
mkdir -p "$files$repo/tests" && cp -r tests/golden "$files$repo/tests/"
cp "$root/bin/busybox" "$files/bin/"
cat >"$files/init" <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>&1 </dev/null
cd $repo
run() { echo "== \$*"; name=\$1; shift; /tests/\$name --test-threads=1 "\$@"; echo "== \$name: exit status \$?"; }
echo "== cpu: \$(/bin/busybox grep -o -w 'avx[^ ]*' /proc/cpuinfo | /bin/busybox tr '\n' ' ')"
$(cat "$work/list")
/bin/busybox sleep 1
/bin/busybox poweroff -f
END
chmod +x "$files/init"
(cd "$files" && find . | "$root/bin/cpio" -o -H newc --quiet | gzip -1) >"$disk/initrd"
cp "$root"/boot/vmlinuz-* "$disk/vmlinuz"
cp "$root/usr/lib/ISOLINUX/isolinux.bin" "$lib/../syslinux/modules/bios/ldlinux.c32" "$disk/"
# The kernel finds Bochs' compacted XSAVE areas inconsistent and would turn AVX off; bits 321 and 323 are XSAVEC and XSAVES.
cat >"$disk/isolinux.cfg" <<'END'
DEFAULT tests
LABEL tests
  KERNEL /vmlinuz
  INITRD /initrd
  APPEND console=ttyS0,115200 clearcpuid=321,323 mitigations=off nosmp quiet loglevel=3 panic=-1
END
with_libraries "$root/usr/bin/genisoimage" -quiet -o "$work/boot.iso" -b isolinux.bin -c boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$disk"

cat >"$work/bochsrc" <<END
cpu: model=$cpu, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=$root/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=$root/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial.txt
display_library: rfb, options="timeout=0"
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
clock: sync=none
END
echo continue >"$work/debugger"
rm -f "$work/serial.txt" && touch "$work/serial.txt"
echo "booting; progress is in $work/serial.txt"
# It ends with an error when the machine powers off.
with_libraries timeout 3h "$root/usr/bin/bochs-bin" -q -f "$work/bochsrc" -rc "$work/debugger" \
    </dev/null >"$work/screen.txt" 2>&1 || true
tr -d '\r' <"$work/serial.txt" | sed -n '/^== cpu/,$p'
passed=$(grep -c '^== .*: exit status 0' "$work/serial.txt" || true)
echo "$passed of $(wc -l <"$work/list") programs passed on $cpu"
[ "$passed" = "$(wc -l <"$work/list")" ]
