//! The process's `SIGBUS` handler: one, installed once, never removed.
//!
//! Three things raise the signal here. A copy to or from guest RAM: its fix-up is taken. A guest's access to a page the
//! host has lost, which KVM signals to the vCPU's own thread while it is in `KVM_RUN` (`BUS_MCEERR_AR`): it is noted in that
//! thread's slot, and the run that returns `EINTR` finds it. Anything else belongs to whoever handled the signal before.

// UNSAFETY: installs a signal handler and works in it.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering, compiler_fence};

use crate::error::KvmError;
use crate::exit::MemoryErrorSignal;
use crate::guarded_copy;

/// What handled `SIGBUS` before us; null until installed. Leaked once, because a signal may arrive at any later time.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
/// Every slot there ever was. Slots are used again and never freed: the handler may look at one at any time.
static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

/// Where the handler notes what it saw for one thread.
#[derive(Debug)]
struct Slot {
    /// The thread, 0 while the slot is free.
    thread: AtomicI32,
    /// Whether that thread is in `KVM_RUN`: then an error is the guest's.
    in_run: AtomicBool,
    /// The mapping of its guest's RAM.
    start: AtomicU64,
    end: AtomicU64,
    /// What was seen: 0 for nothing, else the address with `lsb` in its low bits, which are 0 in an address of a page.
    seen: AtomicU64,
    next: AtomicPtr<Self>,
}

/// One thread's slot, until dropped.
#[derive(Debug)]
pub(crate) struct RunSlot(&'static Slot);

impl RunSlot {
    /// Makes the current thread one whose `KVM_RUN` may be hit, for guest RAM mapped at `start`, `len` bytes.
    pub(crate) fn claim(start: u64, len: u64) -> Self {
        // SAFETY: gettid always succeeds.
        let thread = unsafe { libc::gettid() };
        let slot = free_slot();
        slot.start.store(start, Ordering::Relaxed);
        slot.end.store(start + len, Ordering::Relaxed);
        slot.seen.store(0, Ordering::Relaxed);
        slot.in_run.store(false, Ordering::Relaxed);
        slot.thread.store(thread, Ordering::Release);
        Self(slot)
    }

    /// Says that what follows is `KVM_RUN`.
    pub(crate) fn enter(&self) {
        // What came after the last run was over is told again by the access itself.
        self.0.seen.store(0, Ordering::Relaxed);
        self.0.in_run.store(true, Ordering::Relaxed);
        // The handler runs on this very thread, so the compiler's order is all that matters.
        compiler_fence(Ordering::SeqCst);
    }

    /// Says that `KVM_RUN` is over, and takes what was seen meanwhile.
    pub(crate) fn leave(&self) -> Option<MemoryErrorSignal> {
        compiler_fence(Ordering::SeqCst);
        self.0.in_run.store(false, Ordering::Relaxed);
        let seen = self.0.seen.load(Ordering::Relaxed);
        if seen == 0 {
            return None;
        }
        let offset = (seen & !LOW_BITS) - self.0.start.load(Ordering::Relaxed);
        Some(MemoryErrorSignal {
            offset,
            lsb: u8::try_from(seen & LOW_BITS).unwrap_or(0),
        })
    }
}

impl Drop for RunSlot {
    fn drop(&mut self) {
        self.0.thread.store(0, Ordering::Release);
    }
}

/// The bits below a page's address, where `lsb` is kept.
const LOW_BITS: u64 = 0xfff;
/// Of a slot that is taken and not yet in use.
const CLAIMED: i32 = -1;

/// Takes a free slot, or makes one.
fn free_slot() -> &'static Slot {
    let mut next = SLOTS.load(Ordering::Acquire);
    // SAFETY: slots are leaked, so a pointer that was ever published stays valid.
    while let Some(slot) = unsafe { next.as_ref() } {
        if slot
            .thread
            .compare_exchange(0, CLAIMED, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            return slot;
        }
        next = slot.next.load(Ordering::Acquire);
    }
    let slot: &'static Slot = Box::leak(Box::new(Slot {
        thread: AtomicI32::new(CLAIMED),
        in_run: AtomicBool::new(false),
        start: AtomicU64::new(0),
        end: AtomicU64::new(0),
        seen: AtomicU64::new(0),
        next: AtomicPtr::new(ptr::null_mut()),
    }));
    let mut head = SLOTS.load(Ordering::Acquire);
    loop {
        slot.next.store(head, Ordering::Release);
        let new = ptr::from_ref(slot).cast_mut();
        match SLOTS.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return slot,
            Err(changed) => head = changed,
        }
    }
}

/// Installs the handler, once; later calls answer as the first one did.
pub(crate) fn install() -> Result<(), KvmError> {
    static INSTALLED: OnceLock<Result<(), KvmError>> = OnceLock::new();
    INSTALLED.get_or_init(install_once).clone()
}

fn install_once() -> Result<(), KvmError> {
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
    action.sa_sigaction = handler as *const () as usize;
    // On an alternative stack where the thread has one: the fault may be a stack overflow of somebody else's thread.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `on_sigbus` is async-signal-safe: it reads statics and leaked slots, edits the interrupted context, and calls
    // only async-signal-safe functions; `action` is fully initialised.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } != 0 {
        return Err(KvmError::last("sigaction"));
    }
    Ok(())
}

extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid ucontext_t to a handler installed with SA_SIGINFO.
    let pc = unsafe { program_counter(context.cast()) };
    // SAFETY: the kernel passes a valid siginfo_t.
    let synchronous = unsafe { is_synchronous(info) };
    // SAFETY: `pc` points into that context, which the kernel restores when the handler returns.
    if let Some(fixup) = guarded_copy::fixup(unsafe { pc.read() }).filter(|_| synchronous) {
        // SAFETY: as above; the fix-up expects exactly the registers of the interrupted copy.
        unsafe { pc.write(fixup) };
        return;
    }
    // SAFETY: the kernel passes a valid siginfo_t.
    if !unsafe { note(info) } {
        chain(signal, info, context, synchronous);
    }
}

/// Whether the interrupted instruction raised the signal: not another process, and not an error somewhere else.
///
/// # Safety
/// `info` must be the one the kernel passed to the running signal handler.
unsafe fn is_synchronous(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the caller vouches for the information.
    let code = unsafe { (*info).si_code };
    code > 0 && code != libc::BUS_MCEERR_AO
}

/// Notes an error that a guest's access raised on this thread. Says whether it was one.
///
/// # Safety
/// `info` must be the one the kernel passed to the running signal handler.
unsafe fn note(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the caller vouches for the information.
    let information = unsafe { &*info };
    if information.si_code != libc::BUS_MCEERR_AR {
        return false;
    }
    // SAFETY: `si_addr` is valid for every SIGBUS of the kernel.
    let address = unsafe { information.si_addr() }.addr() as u64;
    // SAFETY: `si_addr_lsb` is valid for BUS_MCEERR_AR (sigaction(2)).
    let lsb = unsafe { address_lsb(info) };
    // SAFETY: gettid always succeeds and is async-signal-safe.
    let thread = unsafe { libc::gettid() };
    let mut next = SLOTS.load(Ordering::Acquire);
    // SAFETY: slots are leaked, so a pointer that was ever published stays valid.
    while let Some(slot) = unsafe { next.as_ref() } {
        if slot.thread.load(Ordering::Acquire) == thread {
            let mapping = slot.start.load(Ordering::Relaxed)..slot.end.load(Ordering::Relaxed);
            let of_guest = slot.in_run.load(Ordering::Relaxed) && mapping.contains(&address);
            if of_guest {
                // A second one before the first was taken is not lost: the access raises it again.
                slot.seen
                    .store((address & !LOW_BITS) | u64::from(lsb), Ordering::Relaxed);
            }
            return of_guest;
        }
        next = slot.next.load(Ordering::Acquire);
    }
    false
}

/// `si_addr_lsb`, which the libc crate has no accessor for: the 16 bits after the address (asm-generic/siginfo.h).
///
/// # Safety
/// `info` must describe a `BUS_MCEERR_*`.
unsafe fn address_lsb(info: *const libc::siginfo_t) -> u8 {
    const OFFSET: usize = 24;
    let place = info.cast::<u8>().wrapping_add(OFFSET).cast::<i16>();
    // SAFETY: the caller vouches for the information; the field lies inside it, aligned.
    let lsb = unsafe { place.read() };
    u8::try_from(lsb).unwrap_or(0)
}

/// Hands a signal that is none of ours to the handler that was installed before.
fn chain(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void, synchronous: bool) {
    let previous = PREVIOUS.load(Ordering::SeqCst);
    // SAFETY: stored once by `install_once` before the handler could run, and never freed.
    let previous = unsafe { &*previous };
    match previous.sa_sigaction {
        // An instruction whose signal is ignored would raise it again for ever; the kernel ends such a process, too.
        libc::SIG_IGN if !synchronous => {}
        libc::SIG_DFL | libc::SIG_IGN => {
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
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// `siginfo_t` as the kernel fills it for a memory error.
    #[repr(C)]
    struct Forged {
        signo: i32,
        errno: i32,
        code: i32,
        padding: i32,
        address: u64,
        lsb: i16,
        rest: [u8; 102],
    }

    const _: () = assert!(size_of::<Forged>() == size_of::<libc::siginfo_t>());

    /// Raises a forged memory error on this thread, which the kernel lets a thread do to itself alone.
    fn raise(code: i32, address: u64, lsb: i16) {
        let mut info = Forged {
            signo: libc::SIGBUS,
            errno: 0,
            code,
            padding: 0,
            address,
            lsb,
            rest: [0; 102],
        };
        // SAFETY: getpid always succeeds.
        let process = unsafe { libc::getpid() };
        // SAFETY: gettid always succeeds.
        let thread = unsafe { libc::gettid() };
        let (number, signal) = (libc::SYS_rt_tgsigqueueinfo, libc::SIGBUS);
        // SAFETY: the call reads the structure, and the signal goes to this thread.
        let status = unsafe { libc::syscall(number, process, thread, signal, &raw mut info) };
        assert_eq!(status, 0);
    }

    #[test]
    fn an_error_of_the_guest_is_found_by_the_run_it_interrupted() {
        install().expect("a handler");
        let slot = RunSlot::claim(0x10_0000, 0x1_0000);
        slot.enter();
        raise(libc::BUS_MCEERR_AR, 0x10_3000, 12);
        assert_eq!(
            slot.leave(),
            Some(MemoryErrorSignal {
                offset: 0x3000,
                lsb: 12
            })
        );
        slot.enter();
        assert_eq!(slot.leave(), None, "it is told once");
        slot.enter();
        raise(libc::BUS_MCEERR_AR, 0x10_0000, 21);
        assert_eq!(slot.leave(), Some(MemoryErrorSignal { offset: 0, lsb: 21 }));
    }

    #[test]
    fn what_is_not_the_guests_goes_to_the_handler_before_us() {
        const CHILD: &str = "SEAWALL_SIGBUS_CHILD";
        if let Ok(case) = std::env::var(CHILD) {
            // The runtime of a Rust program handles the signal too, and forgives one that does not come again.
            // SAFETY: the default action replaces a handler that this process does not need.
            unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
            install().expect("a handler");
            let slot = RunSlot::claim(0x10_0000, 0x1_0000);
            match case.as_str() {
                "foreign address" => {
                    slot.enter();
                    raise(libc::BUS_MCEERR_AR, 0x20_0000, 12);
                }
                "outside KVM_RUN" => raise(libc::BUS_MCEERR_AR, 0x10_3000, 12),
                "another code" => {
                    slot.enter();
                    raise(libc::BUS_ADRERR, 0x10_3000, 0);
                }
                _ => {
                    drop(slot);
                    raise(libc::BUS_MCEERR_AR, 0x10_3000, 12);
                }
            }
            std::process::exit(0);
        }
        for case in [
            "foreign address",
            "outside KVM_RUN",
            "another code",
            "a thread without a slot",
        ] {
            let test = "sigbus::tests::what_is_not_the_guests_goes_to_the_handler_before_us";
            let status = std::process::Command::new(std::env::current_exe().expect("a path"))
                .args(["--exact", test, "--nocapture"])
                .env(CHILD, case)
                .output()
                .expect("a child")
                .status;
            assert_eq!(
                status.signal(),
                Some(libc::SIGBUS),
                "{case}: the default action ends the process"
            );
        }
    }

    #[test]
    fn a_slot_is_used_again() {
        let first = RunSlot::claim(0, 1);
        let place = ptr::from_ref(first.0);
        drop(first);
        let found = (0..64)
            .map(|_| RunSlot::claim(0, 1))
            .any(|slot| ptr::from_ref(slot.0) == place);
        assert!(found, "slots pile up");
    }
}
