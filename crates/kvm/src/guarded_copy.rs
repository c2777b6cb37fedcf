//! The one routine that reads and writes guest RAM.
//!
//! A page of guest RAM may be poisoned at any time: a plain load from it then raises `SIGBUS`, and a system call that
//! reads it may crash the host kernel. So all of Seawall copies through a few instructions whose address range the
//! process's `SIGBUS` handler knows: inside them the handler moves the program counter to a fix-up that reports how
//! much was left and why, instead of ending the process.

// UNSAFETY: copies through raw pointers.
#![allow(unsafe_code)]

use core::arch::global_asm;

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .text",
    ".balign 16",
    ".hidden seawall_guarded_copy",
    ".hidden seawall_guarded_copy_end",
    ".hidden seawall_guarded_copy_fixup",
    ".globl seawall_guarded_copy",
    ".globl seawall_guarded_copy_end",
    ".globl seawall_guarded_copy_fixup",
    // x0: destination, x1: source, x2: bytes. Returns the bytes not copied, and why: the handler puts that into x1. Eight bytes
    // are one access.
    "seawall_guarded_copy:",
    "subs x4, x2, #16",
    "b.lo 1f",
    // What is left is counted down once its bytes are there.
    "0: ldp x3, x5, [x1], #16",
    "stp x3, x5, [x0], #16",
    "mov x2, x4",
    "subs x4, x4, #16",
    "b.hs 0b",
    "1: tbz x2, #3, 3f",
    "ldr x3, [x1], #8",
    "str x3, [x0], #8",
    "sub x2, x2, #8",
    "3: cbz x2, 2f",
    "ldrb w3, [x1], #1",
    "strb w3, [x0], #1",
    "sub x2, x2, #1",
    "b 3b",
    "seawall_guarded_copy_end:",
    "2: mov x1, #0",
    "seawall_guarded_copy_fixup:",
    "mov x0, x2",
    "ret",
    ".popsection",
);

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .text",
    ".balign 16",
    ".hidden seawall_guarded_copy",
    ".hidden seawall_guarded_copy_end",
    ".hidden seawall_guarded_copy_fixup",
    ".globl seawall_guarded_copy",
    ".globl seawall_guarded_copy_end",
    ".globl seawall_guarded_copy_fixup",
    // rdi: destination, rsi: source, rdx: bytes. Returns the bytes not copied, and why: the handler puts that into rdx.
    "seawall_guarded_copy:",
    "mov rcx, rdx",
    "rep movsb",
    "seawall_guarded_copy_end:",
    "xor edx, edx",
    "seawall_guarded_copy_fixup:",
    "mov rax, rcx",
    "ret",
    ".popsection",
);

/// How far a copy came.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copied {
    /// How many bytes were not copied: 0 is success.
    pub(crate) left: usize,
    /// What ended it ([`Fault::pack`]); 0 where nothing did.
    fault: u64,
}

/// The `SIGBUS` that ended a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The first byte of the page that could not be accessed, 4 KiB.
    pub(crate) page: u64,
    /// `si_code`.
    pub(crate) code: i32,
}

impl Fault {
    /// The bits below a page's address.
    const LOW_BITS: u64 = 0xfff;

    /// As one word, which a register of the interrupted copy has room for. The codes of `SIGBUS` are small.
    pub(crate) fn pack(address: u64, code: i32) -> u64 {
        (address & !Self::LOW_BITS) | (u64::try_from(code).unwrap_or(0) & Self::LOW_BITS)
    }
}

impl Copied {
    /// Why bytes were left, where some were.
    pub(crate) fn fault(self) -> Option<Fault> {
        (self.left > 0).then(|| Fault {
            page: self.fault & !Fault::LOW_BITS,
            code: i32::try_from(self.fault & Fault::LOW_BITS).unwrap_or(0),
        })
    }
}

unsafe extern "C" {
    // Two words: in x0 and x1 by the AAPCS64, in rax and rdx by the System V ABI.
    fn seawall_guarded_copy(destination: *mut u8, source: *const u8, len: usize) -> Copied;
    fn seawall_guarded_copy_end();
    fn seawall_guarded_copy_fixup();
}

/// Copies `len` bytes, of which the source or the destination may be guest RAM. On arm64 eight bytes at a multiple of
/// eight are one access: a guest sees no half of them.
///
/// # Safety
/// `source` must be mapped for reads and `destination` for writes over `len` bytes, and whatever of the two is not guest
/// RAM must be valid for that access by Rust's rules. A page that raises `SIGBUS` is allowed.
pub(crate) unsafe fn guarded_copy(destination: *mut u8, source: *const u8, len: usize) -> Copied {
    // SAFETY: the caller vouches for the ranges; the routine touches nothing else and follows the C calling convention.
    unsafe { seawall_guarded_copy(destination, source, len) }
}

/// Where a copy that was interrupted at `pc` goes on, if it was one: the handler of `SIGBUS` asks.
pub(crate) fn fixup(pc: usize) -> Option<usize> {
    let routine = seawall_guarded_copy as *const () as usize..seawall_guarded_copy_end as *const () as usize;
    routine
        .contains(&pc)
        .then_some(seawall_guarded_copy_fixup as *const () as usize)
}

#[cfg(test)]
mod tests {
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::sigbus;

    const PAGE: usize = 4096;

    /// Two pages of a file that ends after the first: touching the second raises SIGBUS (BUS_ADRERR).
    fn half_backed() -> *mut u8 {
        sigbus::install().expect("a handler");
        // SAFETY: a file of the test's own.
        let file = unsafe { libc::memfd_create(c"half".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(file >= 0);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::ftruncate(file, 4096) }, 0);
        let (read_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a fresh mapping.
        let address = unsafe { libc::mmap(ptr::null_mut(), 2 * PAGE, read_write, shared, file, 0) };
        assert_ne!(address, libc::MAP_FAILED);
        address.cast()
    }

    #[test]
    fn a_copy_of_any_length_and_alignment_is_exact() {
        let source: Vec<u8> = (0u8..=255).collect();
        for start in 0..9 {
            for len in 0..64 {
                let mut destination = [0xee; 80];
                // SAFETY: both ranges lie inside their buffers.
                let copied = unsafe { guarded_copy(destination.as_mut_ptr(), source[start..].as_ptr(), len) };
                assert_eq!((copied.left, copied.fault()), (0, None));
                assert_eq!(destination[..len], source[start..start + len]);
                assert!(
                    destination[len..].iter().all(|byte| *byte == 0xee),
                    "wrote past {len} bytes"
                );
            }
        }
    }

    #[test]
    fn nobody_sees_half_of_eight_bytes() {
        const PAIR: [u64; 2] = [0, u64::MAX];
        let (guest, done) = (AtomicU64::new(0), AtomicBool::new(false));
        let place = || guest.as_ptr().cast::<u8>();
        std::thread::scope(|scope| {
            // Another vCPU writes and reads what is copied, each as one access.
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for value in PAIR {
                        guest.store(value, Ordering::Relaxed);
                        let found = guest.load(Ordering::Relaxed);
                        assert!(PAIR.contains(&found), "the other sees {found:#x}");
                    }
                }
            });
            let half = (0..200_000).find_map(|round| {
                let mut found = 0u64;
                // SAFETY: eight bytes that other threads access as an atomic, and eight of this one's own.
                unsafe { guarded_copy((&raw mut found).cast(), place(), 8) };
                let value = PAIR[round % 2];
                // SAFETY: as above.
                unsafe { guarded_copy(place(), (&raw const value).cast(), 8) };
                (!PAIR.contains(&found)).then_some(found)
            });
            done.store(true, Ordering::Relaxed);
            assert_eq!(half, None, "this one sees half");
        });
    }

    #[test]
    fn a_read_that_raises_sigbus_returns_what_was_left() {
        let pages = half_backed();
        let mut destination = [0; 64];
        let source = pages.wrapping_add(PAGE - 16);
        // SAFETY: 64 mapped bytes, of which the last 48 have no memory behind them.
        let copied = unsafe { guarded_copy(destination.as_mut_ptr(), source, 64) };
        assert_eq!(copied.left, 48);
        let page = (pages.expose_provenance() + PAGE) as u64;
        let code = libc::BUS_ADRERR;
        assert_eq!(copied.fault(), Some(Fault { page, code }));
    }

    #[test]
    fn a_write_that_raises_sigbus_returns_what_was_left() {
        let pages = half_backed();
        let destination = pages.wrapping_add(PAGE - 3);
        // SAFETY: as above, in the other direction.
        let Copied { left, .. } = unsafe { guarded_copy(destination, [7; 8].as_ptr(), 8) };
        assert!(left == 5 || left == 8, "{left} bytes left");
    }
}
