//! The process's `SIGBUS` handler: one, installed once, never removed.
//!
//! Four things raise the signal here. A copy to or from guest RAM: its fix-up is taken. A guest's access to a page the
//! host has lost, which KVM signals to the vCPU's own thread while it is in `KVM_RUN` (`BUS_MCEERR_AR`): it is noted in that
//! thread's slot, and the run that returns `EINTR` finds it. An error that the host found in guest RAM before anybody needs
//! it (`BUS_MCEERR_AO`): it is left for the thread of `action_optional`. Anything else belongs to whoever handled the signal
//! before.

// UNSAFETY: installs a signal handler and works in it.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering, compiler_fence};

use crate::action_optional;
use crate::error::KvmError;
use crate::exit::{MemoryErrorSignal, SignalCode};
use crate::guarded_copy::{self, Fault};

/// What handled `SIGBUS` before us; null until installed. Leaked once, because a signal may arrive at any later time.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
/// Every slot there ever was. Slots are used again and never freed: the handler may look at one at any time.
static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

/// Where the handler notes what it saw for one thread, or a mapping of guest RAM that it has to know.
#[derive(Debug)]
struct Slot {
    /// The thread; [`FREE`], [`CLAIMED`] or [`GUEST_RAM`] where there is none.
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

    /// Says that `KVM_RUN` is over.
    pub(crate) fn leave(&self) {
        compiler_fence(Ordering::SeqCst);
        self.0.in_run.store(false, Ordering::Relaxed);
    }

    /// What was seen during the last `KVM_RUN`, which is over.
    pub(crate) fn seen(&self) -> Option<MemoryErrorSignal> {
        let seen = self.0.seen.load(Ordering::Relaxed);
        if seen == 0 {
            return None;
        }
        let offset = (seen & !LOW_BITS) - self.0.start.load(Ordering::Relaxed);
        Some(MemoryErrorSignal {
            code: SignalCode::ActionRequired,
            offset,
            lsb: u8::try_from(seen & LOW_BITS).unwrap_or(0),
        })
    }
}

impl Drop for RunSlot {
    fn drop(&mut self) {
        self.0.thread.store(FREE, Ordering::Release);
    }
}

/// A mapping of guest RAM whose errors are to be told, until dropped.
#[derive(Debug)]
pub(crate) struct KnownMemory(&'static Slot);

impl KnownMemory {
    pub(crate) fn new(start: u64, len: u64) -> Self {
        let slot = free_slot();
        slot.start.store(start, Ordering::Relaxed);
        slot.end.store(start + len, Ordering::Relaxed);
        slot.thread.store(GUEST_RAM, Ordering::Release);
        Self(slot)
    }
}

impl Drop for KnownMemory {
    fn drop(&mut self) {
        self.0.thread.store(FREE, Ordering::Release);
    }
}

/// The bits below a page's address, where `lsb` is kept.
pub(crate) const LOW_BITS: u64 = 0xfff;
/// Of a slot that nobody uses.
const FREE: i32 = 0;
/// Of a slot that is taken and not yet in use.
const CLAIMED: i32 = -1;
/// Of a slot that is a mapping of guest RAM.
const GUEST_RAM: i32 = -2;

/// Takes a free slot, or makes one.
fn free_slot() -> &'static Slot {
    let mut next = SLOTS.load(Ordering::Acquire);
    // SAFETY: slots are leaked, so a pointer that was ever published stays valid.
    while let Some(slot) = unsafe { next.as_ref() } {
        if slot
            .thread
            .compare_exchange(FREE, CLAIMED, Ordering::AcqRel, Ordering::Relaxed)
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

/// Whether our handler still gets its signals: it is the process's, or one of another copy of Seawall that hands on to it.
/// Somebody else who replaced it would get them, and the access that raised one would raise it again for ever.
pub(crate) fn check() -> Result<(), KvmError> {
    let ours: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    let ours = ours as *const () as usize;
    let current = current_action()?.sa_sigaction;
    if current == ours || copies::hands_on(current, ours) {
        Ok(())
    } else {
        Err(KvmError::SignalHandler)
    }
}

fn current_action() -> Result<libc::sigaction, KvmError> {
    // SAFETY: a sigaction of zeroes is valid: default action, empty mask, no flags.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: reading the current action writes only to `action`.
    match unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut action) } {
        0 => Ok(action),
        _ => Err(KvmError::last("sigaction")),
    }
}

/// Keeps the code of the handler in memory for as long as the process: Node unloads an addon with the worker that loaded it.
fn pin_image(code: *const ()) {
    // SAFETY: a Dl_info of zeroes is valid: null pointers.
    let mut image: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: the call writes only to `image`.
    let found = unsafe { libc::dladdr(code.cast(), &raw mut image) };
    if found != 0 && !image.dli_fname.is_null() {
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: the name is the loader's own; nothing is loaded, and the handle is not needed. A program is no library:
        // the loader refuses it, and never unloads it either.
        unsafe { libc::dlopen(image.dli_fname, flags) };
    }
}

fn install_once() -> Result<(), KvmError> {
    let previous = current_action()?;
    // Published before the handler is, because the first signal may come at once.
    PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::SeqCst);
    let mut action = previous;
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    action.sa_sigaction = handler as *const () as usize;
    pin_image(handler as *const ());
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
    let registers = unsafe { Registers::of(context.cast()) };
    // SAFETY: the kernel passes a valid siginfo_t.
    let code = unsafe { (*info).si_code };
    // The interrupted instruction raised the signal: not another process, and not an error somewhere else.
    let synchronous = code > 0 && code != libc::BUS_MCEERR_AO;
    // SAFETY: `registers` point into that context, which the kernel restores when the handler returns.
    if let Some(fixup) = guarded_copy::fixup(unsafe { registers.pc.read() }).filter(|_| synchronous) {
        // SAFETY: the kernel passes a valid siginfo_t.
        let address = unsafe { address(info) };
        // SAFETY: as above; the fix-up expects exactly the registers of the interrupted copy, and the fault in one of them.
        unsafe { registers.fault.write(Fault::pack(address, code)) };
        // SAFETY: as above.
        unsafe { registers.pc.write(fixup) };
        return;
    }
    let ours = match code {
        // SAFETY: the kernel passes a valid siginfo_t, and the code says which.
        libc::BUS_MCEERR_AR => unsafe { note(info) },
        // SAFETY: as above.
        libc::BUS_MCEERR_AO => unsafe { leave_for_later(info) },
        _ => false,
    };
    if !ours {
        chain(signal, info, context, synchronous);
    }
}

/// Leaves an error in guest RAM that nobody needs yet to the thread that deals with it. Says whether it was in guest RAM.
///
/// # Safety
/// `info` must describe a `BUS_MCEERR_AO`.
unsafe fn leave_for_later(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the caller vouches for the information.
    let address = unsafe { address(info) };
    // SAFETY: as above.
    let lsb = unsafe { address_lsb(info) };
    let of_guest =
        find_slot(|slot| slot.thread.load(Ordering::Acquire) == GUEST_RAM && slot.contains(address))
            .is_some();
    if of_guest {
        action_optional::leave((address & !LOW_BITS) | u64::from(lsb));
    }
    of_guest
}

/// The first slot of a kind. Async-signal-safe.
fn find_slot(wanted: impl Fn(&Slot) -> bool) -> Option<&'static Slot> {
    let mut next = SLOTS.load(Ordering::Acquire);
    // SAFETY: slots are leaked, so a pointer that was ever published stays valid.
    while let Some(slot) = unsafe { next.as_ref() } {
        if wanted(slot) {
            return Some(slot);
        }
        next = slot.next.load(Ordering::Acquire);
    }
    None
}

impl Slot {
    fn contains(&self, address: u64) -> bool {
        (self.start.load(Ordering::Relaxed)..self.end.load(Ordering::Relaxed)).contains(&address)
    }
}

/// Notes an error that a guest's access raised on this thread. Says whether it was one.
///
/// # Safety
/// `info` must describe a `BUS_MCEERR_AR`.
unsafe fn note(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the caller vouches for the information.
    let address = unsafe { address(info) };
    // SAFETY: as above.
    let lsb = unsafe { address_lsb(info) };
    // SAFETY: gettid always succeeds and is async-signal-safe.
    let thread = unsafe { libc::gettid() };
    let slot = find_slot(|slot| slot.thread.load(Ordering::Acquire) == thread);
    let slot = slot.filter(|slot| slot.in_run.load(Ordering::Relaxed) && slot.contains(address));
    if let Some(slot) = slot {
        // A second one before the first was taken is not lost: the access raises it again.
        slot.seen
            .store((address & !LOW_BITS) | u64::from(lsb), Ordering::Relaxed);
    }
    slot.is_some()
}

/// `si_addr`.
///
/// # Safety
/// `info` must describe a `SIGBUS` of the kernel.
unsafe fn address(info: *const libc::siginfo_t) -> u64 {
    // SAFETY: the caller vouches for the information.
    let information = unsafe { &*info };
    // SAFETY: `si_addr` is valid for every SIGBUS of the kernel.
    unsafe { information.si_addr() }.addr() as u64
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
        // An error that nobody needs yet is told because we asked for it; whoever did not ask goes on as before.
        // SAFETY: the kernel passes a valid siginfo_t.
        libc::SIG_DFL if unsafe { (*info).si_code } == libc::BUS_MCEERR_AO => {}
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

/// The places of the interrupted registers that a copy's fix-up needs.
struct Registers {
    pc: *mut usize,
    /// The one that hands over why a copy ended.
    fault: *mut u64,
}

impl Registers {
    /// Those of a context.
    ///
    /// # Safety
    /// `context` must be the one the kernel passed to the running signal handler.
    #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
    unsafe fn of(context: *mut libc::ucontext_t) -> Self {
        Self {
            // SAFETY: the caller vouches for the context; the field exists in the kernel's ABI.
            pc: unsafe { (&raw mut (*context).uc_mcontext.pc).cast() },
            // SAFETY: as above.
            fault: unsafe { (&raw mut (*context).uc_mcontext.regs[1]).cast() },
        }
    }

    /// Those of a context.
    ///
    /// # Safety
    /// `context` must be the one the kernel passed to the running signal handler.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    unsafe fn of(context: *mut libc::ucontext_t) -> Self {
        const RIP: usize = libc::REG_RIP as usize;
        const RDX: usize = libc::REG_RDX as usize;
        Self {
            // SAFETY: the caller vouches for the context; the field exists in the kernel's ABI.
            pc: unsafe { (&raw mut (*context).uc_mcontext.gregs[RIP]).cast() },
            // SAFETY: as above.
            fault: unsafe { (&raw mut (*context).uc_mcontext.gregs[RDX]).cast() },
        }
    }
}

mod copies;
#[cfg(test)]
pub(crate) mod forged;
#[cfg(test)]
mod tests;
