//! The one routine that reads and writes guest RAM.
//!
//! A page of guest RAM may be poisoned at any time: a plain load from it then raises `SIGBUS`, and a system call that
//! reads it may crash the host kernel. So all of Seawall copies through a few instructions whose address range the
//! process's `SIGBUS` handler knows: inside them the handler moves the program counter to a fix-up that reports how
//! much was left, instead of ending the process.

// UNSAFETY: copies through raw pointers, and installs a signal handler.
#![allow(unsafe_code)]

use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, Ordering};
use std::ptr;
use std::sync::OnceLock;

use crate::error::KvmError;

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
    // x0: destination, x1: source, x2: bytes. Returns the bytes not copied.
    "seawall_guarded_copy:",
    "0: cmp x2, #8",
    "b.lo 1f",
    "ldr x3, [x1]",
    "str x3, [x0]",
    "add x1, x1, #8",
    "add x0, x0, #8",
    "sub x2, x2, #8",
    "b 0b",
    "1: cbz x2, 2f",
    "ldrb w3, [x1]",
    "strb w3, [x0]",
    "add x1, x1, #1",
    "add x0, x0, #1",
    "sub x2, x2, #1",
    "b 1b",
    "seawall_guarded_copy_end:",
    "2:",
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
    // rdi: destination, rsi: source, rdx: bytes. Returns the bytes not copied.
    "seawall_guarded_copy:",
    "mov rcx, rdx",
    "rep movsb",
    "seawall_guarded_copy_end:",
    "seawall_guarded_copy_fixup:",
    "mov rax, rcx",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn seawall_guarded_copy(destination: *mut u8, source: *const u8, len: usize) -> usize;
    fn seawall_guarded_copy_end();
    fn seawall_guarded_copy_fixup();
}

/// Copies `len` bytes, of which the source or the destination may be guest RAM.
///
/// Returns how many bytes were not copied because a page could not be accessed: 0 is success.
///
/// # Safety
/// `source` must be mapped for reads and `destination` for writes over `len` bytes, and whatever of the two is not guest
/// RAM must be valid for that access by Rust's rules. A page that raises `SIGBUS` is allowed.
pub(crate) unsafe fn guarded_copy(destination: *mut u8, source: *const u8, len: usize) -> usize {
    // SAFETY: the caller vouches for the ranges; the routine touches nothing else and follows the C calling convention.
    unsafe { seawall_guarded_copy(destination, source, len) }
}

/// What handled `SIGBUS` before us; null until installed. Leaked once, because a signal may arrive at any later time.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// Installs the process's `SIGBUS` handler, once; later calls return what the first one found.
///
/// The handler is never removed. What it does not know it hands to the handler that was there before.
///
/// # Errors
/// [`KvmError::Syscall`] where `sigaction` fails.
pub(crate) fn install_sigbus_handler() -> Result<(), KvmError> {
    static INSTALLED: OnceLock<Result<(), KvmError>> = OnceLock::new();
    INSTALLED.get_or_init(install).clone()
}

fn install() -> Result<(), KvmError> {
    // SAFETY: a sigaction of zeroes is valid: default action, empty mask, no flags.
    let mut previous: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: reading the current action writes only to `previous`.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) } != 0 {
        return Err(KvmError::last("sigaction"));
    }
    // Published before the handler is, because the first signal may come at once.
    PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::SeqCst);
    let mut action = previous;
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    action.sa_sigaction = handler as usize;
    // On an alternative stack where the thread has one: the fault may be a stack overflow of somebody else's thread.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `on_sigbus` is async-signal-safe: it reads two statics, edits the interrupted context, and calls only
    // async-signal-safe functions; `action` is fully initialised.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } != 0 {
        return Err(KvmError::last("sigaction"));
    }
    Ok(())
}

extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid ucontext_t to a handler installed with SA_SIGINFO.
    let pc = unsafe { program_counter(context.cast()) };
    let routine = seawall_guarded_copy as *const () as usize..seawall_guarded_copy_end as *const () as usize;
    // SAFETY: `pc` points into that context, which the kernel restores when the handler returns.
    if routine.contains(&unsafe { pc.read() }) {
        // SAFETY: as above; the fix-up expects exactly the registers of the interrupted copy.
        unsafe { pc.write(seawall_guarded_copy_fixup as *const () as usize) };
        return;
    }
    chain(signal, info, context);
}

/// Hands a signal that is none of ours to the handler that was installed before.
fn chain(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.load(Ordering::SeqCst);
    // SAFETY: stored once by `install` before the handler could run, and never freed.
    let previous = unsafe { &*previous };
    match previous.sa_sigaction {
        libc::SIG_IGN => {}
        libc::SIG_DFL => {
            // The signal is blocked while its handler runs, so this one ends the process on return, as without us.
            // SAFETY: both calls are async-signal-safe.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            // SAFETY: as above.
            unsafe { libc::raise(signal) };
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with SA_SIGINFO the address is that of a function of this type.
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { core::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the address is that of a function of this type.
            let handler: extern "C" fn(i32) = unsafe { core::mem::transmute(handler) };
            handler(signal);
        }
    }
}

/// The place of the interrupted program counter.
///
/// # Safety
/// `context` must be the one the kernel passed to the running signal handler.
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
unsafe fn program_counter(context: *mut libc::ucontext_t) -> *mut usize {
    // SAFETY: the caller vouches for the context; the field exists in the kernel's ABI.
    unsafe { (&raw mut (*context).uc_mcontext.pc).cast() }
}

/// The place of the interrupted program counter.
///
/// # Safety
/// `context` must be the one the kernel passed to the running signal handler.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
unsafe fn program_counter(context: *mut libc::ucontext_t) -> *mut usize {
    const RIP: usize = libc::REG_RIP as usize;
    // SAFETY: the caller vouches for the context; the field exists in the kernel's ABI.
    unsafe { (&raw mut (*context).uc_mcontext.gregs[RIP]).cast() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    /// Two pages of a file that ends after the first: touching the second raises SIGBUS (BUS_ADRERR).
    fn half_backed() -> *mut u8 {
        install_sigbus_handler().expect("a handler");
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
                let left = unsafe { guarded_copy(destination.as_mut_ptr(), source[start..].as_ptr(), len) };
                assert_eq!(left, 0);
                assert_eq!(destination[..len], source[start..start + len]);
                assert!(
                    destination[len..].iter().all(|byte| *byte == 0xee),
                    "wrote past {len} bytes"
                );
            }
        }
    }

    #[test]
    fn a_read_that_raises_sigbus_returns_what_was_left() {
        let pages = half_backed();
        let mut destination = [0; 64];
        let source = pages.wrapping_add(PAGE - 16);
        // SAFETY: 64 mapped bytes, of which the last 48 have no memory behind them.
        let left = unsafe { guarded_copy(destination.as_mut_ptr(), source, 64) };
        assert_eq!(left, 48);
    }

    #[test]
    fn a_write_that_raises_sigbus_returns_what_was_left() {
        let pages = half_backed();
        let destination = pages.wrapping_add(PAGE - 3);
        // SAFETY: as above, in the other direction.
        let left = unsafe { guarded_copy(destination, [7; 8].as_ptr(), 8) };
        assert!(left == 5 || left == 8, "{left} bytes left");
    }
}
