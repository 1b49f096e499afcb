//! [`Amx`]: the matrix unit of Intel's server CPUs since 2023, and vectors of 512 bits.
//!
//! Stable Rust neither detects the unit nor has intrinsics for it, so both are written in assembly here. Tile registers hold their
//! contents from one block of assembly to the next: the compiler itself uses none of them.

use super::{Avx512, Avx512Vnni};
use crate::kernels::simd::{AmxTiles, Dots, F32s, TILE_ROW, TILE_SIDE, TileConfig};
use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

/// Assembly that touches tiles; all of them count as overwritten.
macro_rules! tile_asm {
    ([$($option:ident),*] $($part:tt)*) => {
        asm!(
            $($part)*
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, preserves_flags $(, $option)*),
        )
    };
}

/// The token of the `amx` level: a proof that this CPU has AMX-TILE, AMX-INT8, AMX-BF16, AVX-512 VNNI and AVX-512 BF16, and
/// what `avx512` needs, and that the operating system lets this process use tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amx(Avx512Vnni);

impl Amx {
    /// The token, if this CPU has the instructions and those of `level`.
    pub fn new(level: Avx512) -> Option<Self> {
        let vnni = Avx512Vnni::new(level)?;
        let found = is_x86_feature_detected!("avx512bf16") && features().iter().all(|&(_, found)| found);
        found.then_some(Self(vnni))
    }

    /// The token of integer vectors.
    #[inline(always)]
    pub(crate) fn dots(self) -> Avx512Vnni {
        self.0
    }

    /// The token of f32 vectors.
    #[inline(always)]
    pub(crate) fn float(self) -> Avx512 {
        self.0.float()
    }

    /// Gives the tiles back: threads that use none are switched faster.
    #[inline(always)]
    pub(super) fn release(self) {
        // SAFETY: the token proves AMX-TILE.
        unsafe { tile_asm!([nomem] "tilerelease",) }
    }
}

/// The extensions of this CPU that are about tiles, by their usual names, and whether this process can use them.
pub(super) fn features() -> [(&'static str, bool); 3] {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    // Leaf 7: EDX bits of bf16, tiles and int8.
    let edx = if __cpuid(0).eax < 7 { 0 } else { __cpuid_count(7, 0).edx };
    let has = |bit: u32| edx >> bit & 1 == 1;
    let usable = has(24) && tiles_are_saved() && *PERMITTED.get_or_init(ask_for_tiles);
    [("amx-tile", usable), ("amx-int8", usable && has(25)), ("amx-bf16", usable && has(22))]
}

/// Whether the operating system saves tiles when it switches threads: bits 17 and 18 of XCR0.
fn tiles_are_saved() -> bool {
    // Leaf 1, ECX bit 27: XGETBV may be used.
    if __cpuid(1).ecx >> 27 & 1 == 0 {
        return false;
    }
    let low: u32;
    // SAFETY: XGETBV is enabled, checked above; it reads XCR0 into EDX:EAX and touches nothing else.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _, options(nomem, nostack, preserves_flags));
    }
    low >> 17 & 3 == 3
}

/// Requests tiles from Linux, which grants them to a process: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
#[cfg(target_os = "linux")]
fn ask_for_tiles() -> bool {
    const ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: this call reads and writes no memory of ours; the instruction overwrites RCX and R11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Elsewhere nothing is known about permission, so there are no tiles.
#[cfg(not(target_os = "linux"))]
fn ask_for_tiles() -> bool {
    false
}

impl AmxTiles for Amx {
    type Float = Avx512;
    type Dots = Avx512Vnni;

    #[inline(always)]
    fn float(self) -> Avx512 {
        self.float()
    }

    #[inline(always)]
    fn dots(self) -> Avx512Vnni {
        self.dots()
    }

    #[inline(always)]
    fn configure(self, config: &TileConfig) {
        // SAFETY: reads 64 bytes, which the structure has; the token proves AMX-TILE.
        unsafe { tile_asm!([readonly] "ldtilecfg [{p}]", p = in(reg) config,) }
    }

    #[inline(always)]
    fn zero<const T: usize>(self) {
        // SAFETY: the token proves AMX-TILE.
        unsafe { tile_asm!([nomem] "tilezero tmm{t}", t = const T,) }
    }

    #[inline(always)]
    unsafe fn load<const T: usize>(self, p: *const u8, stride: usize) {
        // SAFETY: the caller's contract; the token proves AMX-TILE.
        unsafe {
            tile_asm!([readonly] "tileloadd tmm{t}, [{p} + {s}]", t = const T, p = in(reg) p, s = in(reg) stride,);
        }
    }

    #[inline(always)]
    unsafe fn store<const T: usize>(self, p: *mut u8) {
        // SAFETY: the caller's contract; the token proves AMX-TILE.
        unsafe {
            tile_asm!([] "tilestored [{p} + {s}], tmm{t}", t = const T, p = in(reg) p, s = in(reg) TILE_ROW,);
        }
    }

    #[inline(always)]
    fn dot_int8<const C: usize, const A: usize, const B: usize>(self) {
        // SAFETY: the token proves AMX-INT8.
        unsafe {
            tile_asm!([nomem] "tdpbssd tmm{c}, tmm{a}, tmm{b}", c = const C, a = const A, b = const B,);
        }
    }

    #[inline(always)]
    fn dot_bf16<const C: usize, const A: usize, const B: usize>(self) {
        // SAFETY: the token proves AMX-BF16.
        unsafe {
            tile_asm!([nomem] "tdpbf16ps tmm{c}, tmm{a}, tmm{b}", c = const C, a = const A, b = const B,);
        }
    }

    #[inline(always)]
    unsafe fn store_pairs(self, even: <Avx512 as F32s>::V, odd: <Avx512 as F32s>::V, p: *mut u32) {
        // Element 2 i is number i of the 16 of `even`, element 2 i + 1 number i of the 16 of `odd` after them.
        const LANE: i32 = 16 << 16;
        // SAFETY: the caller's contract; the token proves AVX-512 F, BW and BF16.
        unsafe {
            let order = _mm512_add_epi32(
                _mm512_set1_epi32(LANE),
                _mm512_mullo_epi32(_mm512_set1_epi32(0x0001_0001), lane_numbers()),
            );
            let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(odd, even));
            _mm512_storeu_si512(p.cast(), _mm512_permutexvar_epi16(order, both));
        }
    }

    #[inline(always)]
    unsafe fn unpack(self, codes: *const u8, to: *mut u8) {
        let d = self.dots();
        // SAFETY: the caller's contract; unaligned loads and stores; the token proves AVX-512 F.
        unsafe {
            let codes = d.load(codes);
            _mm512_storeu_si512(to.cast(), d.low(codes));
            _mm512_storeu_si512(to.add(TILE_ROW).cast(), d.high(codes));
        }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const u8, stride: usize, to: *mut u32) {
        // SAFETY: the caller's contract; unaligned loads and stores; the token proves AVX-512 F.
        unsafe {
            let mut rows = [_mm512_setzero_si512(); TILE_SIDE];
            for i in 0..TILE_SIDE {
                rows[i] = _mm512_loadu_si512(from.add(i * stride).cast());
            }
            let mut pairs = rows;
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
            }
            // Quarter q of fours[4 i + j] is column 4 q + j of rows 4 i .. 4 i + 4.
            let mut fours = rows;
            for i in 0..4 {
                for j in 0..2 {
                    let (a, b) = (pairs[4 * i + j], pairs[4 * i + 2 + j]);
                    fours[4 * i + 2 * j] = _mm512_unpacklo_epi64(a, b);
                    fours[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(a, b);
                }
            }
            for j in 0..4 {
                let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
                let (even, odd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
                let (even2, odd2) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
                let columns = [
                    _mm512_shuffle_i32x4::<0x88>(even, even2),
                    _mm512_shuffle_i32x4::<0x88>(odd, odd2),
                    _mm512_shuffle_i32x4::<0xdd>(even, even2),
                    _mm512_shuffle_i32x4::<0xdd>(odd, odd2),
                ];
                for q in 0..4 {
                    _mm512_storeu_si512(to.add((4 * q + j) * TILE_SIDE).cast(), columns[q]);
                }
            }
        }
    }
}

/// 0 to 15.
///
/// # Safety
/// The CPU has AVX-512 F.
#[inline(always)]
unsafe fn lane_numbers() -> __m512i {
    // SAFETY: the caller's contract.
    unsafe { _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) }
}
