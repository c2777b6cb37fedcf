//! Errors that the host finds in guest RAM before anybody needs it (`BUS_MCEERR_AO`).
//!
//! The kernel tells a process of them only if one of its threads asks to (`PR_MCE_KILL_EARLY`), by a signal to that thread.
//! Ours does nothing else: the handler leaves each error in a place of its own and wakes the thread, which tells whoever
//! uses the memory. A process has one such thread, from its first guest on.
//!
//! ```text
//! SIGBUS handler, on any thread ── leave() ──> LEFT ── eventfd ──> memory-errors ──> the listener of that guest RAM
//! ```

// UNSAFETY: prctl, and a write in a signal handler.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EventFd};

use crate::error::{Errno, KvmError};
use crate::exit::{MemoryErrorSignal, SignalCode};
use crate::guest_memory::GuestMemory;
use crate::kick::mask_signals;
use crate::sigbus::{KnownMemory, LOW_BITS};

/// How many errors may wait for the thread. More than the kernel can tell before it runs: a signal waits at most once.
const CAPACITY: usize = 64;

/// The errors that the handler has left: 0 for none, else the page's address with `lsb` in its low bits.
static LEFT: [AtomicU64; CAPACITY] = [const { AtomicU64::new(0) }; CAPACITY];
/// What the handler wakes the thread by; -1 until there is one.
static WAKE: AtomicI32 = AtomicI32::new(-1);
/// Who is told of errors in which memory.
static LISTENERS: Mutex<Vec<Listener>> = Mutex::new(Vec::new());

/// Called with each error; must not block.
type Tell = Arc<dyn Fn(MemoryErrorSignal) + Send + Sync>;

struct Listener {
    start: u64,
    len: u64,
    tell: Tell,
}

/// Guest RAM whose errors are told before anybody needs the page, until dropped.
#[derive(Debug)]
pub struct MemoryErrorWatch {
    start: u64,
    _known: KnownMemory,
}

impl MemoryErrorWatch {
    /// Lets `tell` know of each error that the host finds in `memory` by itself. It is called on a thread of its own, and
    /// must not block.
    ///
    /// # Errors
    /// [`KvmError::Syscall`] where there is no thread or descriptor left for it.
    pub fn new(
        memory: &GuestMemory,
        tell: impl Fn(MemoryErrorSignal) + Send + Sync + 'static,
    ) -> Result<Self, KvmError> {
        start_thread()?;
        let (start, len) = (memory.host_address(), memory.len() as u64);
        listeners().push(Listener {
            start,
            len,
            tell: Arc::new(tell),
        });
        Ok(Self {
            start,
            _known: KnownMemory::new(start, len),
        })
    }
}

impl Drop for MemoryErrorWatch {
    fn drop(&mut self) {
        listeners().retain(|listener| listener.start != self.start);
    }
}

/// Leaves an error for the thread. Async-signal-safe: called by the handler of `SIGBUS` alone.
pub(crate) fn leave(error: u64) {
    let free = |place: &&AtomicU64| {
        place
            .compare_exchange(0, error, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    // Where none is free the error is not told. It is still no danger: an access to the page raises a signal of its own.
    if LEFT.iter().any(|place| free(&place)) {
        let one = 1u64;
        let wake = WAKE.load(Ordering::Acquire);
        // SAFETY: the call gives the place of this thread's errno.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: the place is valid for as long as the thread.
        let interrupted = unsafe { errno.read() };
        // SAFETY: write is async-signal-safe and reads eight bytes of `one`.
        unsafe { libc::write(wake, (&raw const one).cast(), size_of::<u64>()) };
        // The interrupted code may be about to look at it.
        // SAFETY: as above.
        unsafe { errno.write(interrupted) };
    }
}

fn listeners() -> MutexGuard<'static, Vec<Listener>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread, once. A host that had no resources for it may have some later.
fn start_thread() -> Result<(), KvmError> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*started {
        start()?;
        *started = true;
    }
    Ok(())
}

fn start() -> Result<(), KvmError> {
    let failed = |syscall, error: &std::io::Error| KvmError::Syscall {
        syscall,
        errno: Errno::of(error),
    };
    let wake = EventFd::new(EFD_CLOEXEC).map_err(|error| failed("eventfd", &error))?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&wake);
    std::thread::Builder::new()
        .name("memory-errors".to_owned())
        .spawn(move || serve(&wake))
        .map_err(|error| failed("clone", &error))?;
    // Not before: the handler must not write to a descriptor that is closed again. Nobody has told of an error yet.
    WAKE.store(descriptor, Ordering::Release);
    Ok(())
}

fn serve(wake: &EventFd) {
    // A kernel without memory failure handling refuses, and then has no errors to tell either.
    // SAFETY: the call takes numbers and concerns this thread alone.
    unsafe {
        libc::prctl(
            libc::PR_MCE_KILL,
            libc::PR_MCE_KILL_SET,
            libc::PR_MCE_KILL_EARLY,
            0,
            0,
        )
    };
    // All other signals stay with the process's own threads. Where that fails this one takes them like any other.
    drop(mask_signals());
    loop {
        for error in LEFT.iter().map(|place| place.swap(0, Ordering::AcqRel)) {
            if error != 0 {
                tell(error & !LOW_BITS, u8::try_from(error & LOW_BITS).unwrap_or(0));
            }
        }
        // Interrupted by the very signal, mostly, and woken by the handler's write then.
        drop(wake.read());
    }
}

fn tell(address: u64, lsb: u8) {
    let found = listeners().iter().find_map(|listener| {
        let offset = address.checked_sub(listener.start)?;
        (offset < listener.len).then(|| (Arc::clone(&listener.tell), offset))
    });
    if let Some((tell, offset)) = found {
        tell(MemoryErrorSignal {
            code: SignalCode::ActionOptional,
            offset,
            lsb,
        });
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::sigbus::forged;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn an_error_is_told_to_whoever_uses_the_memory_and_to_nobody_else() {
        // The lower one is asked first, and must not take what lies behind its end.
        let mut memories = [memory(), memory()];
        memories.sort_by_key(GuestMemory::host_address);
        let [memory, other] = memories;
        let (sender, told) = mpsc::channel();
        let (others_sender, others) = mpsc::channel();
        let watch =
            MemoryErrorWatch::new(&memory, move |error| sender.send(error).unwrap_or(())).expect("a thread");
        let _other = MemoryErrorWatch::new(&other, move |error| others_sender.send(error).unwrap_or(()));
        for (page, lsb) in [(3, 12), (0, 21)] {
            forged::raise(libc::BUS_MCEERR_AO, memory.host_address() + page * 4096, lsb);
            let expected = MemoryErrorSignal {
                code: SignalCode::ActionOptional,
                offset: page * 4096,
                lsb: u8::try_from(lsb).expect("small"),
            };
            assert_eq!(told.recv_timeout(LIMIT), Ok(expected));
        }
        forged::raise(libc::BUS_MCEERR_AO, other.host_address(), 12);
        assert_eq!(others.recv_timeout(LIMIT).map(|error| error.offset), Ok(0));
        drop(watch);
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    #[test]
    fn an_error_in_memory_that_nobody_watches_does_not_end_the_process() {
        let test = "action_optional::tests::an_error_in_memory_that_nobody_watches_does_not_end_the_process";
        let status = forged::in_child(test, "", |_| {
            let memory = memory();
            drop(MemoryErrorWatch::new(&memory, |_| unreachable!("nobody watches")).expect("a thread"));
            for address in [memory.host_address(), 0x1000] {
                forged::raise(libc::BUS_MCEERR_AO, address, 12);
            }
        });
        assert!(status.success(), "{status}");
    }

    #[test]
    fn a_process_that_had_no_file_for_the_thread_gets_it_later() {
        let test = "action_optional::tests::a_process_that_had_no_file_for_the_thread_gets_it_later";
        let status = forged::in_child(test, "", |_| {
            let memory = memory();
            let before = limit_files(0);
            let refused = MemoryErrorWatch::new(&memory, |_| ()).expect_err("no file is left");
            assert_eq!(refused.errno(), Some(Errno(libc::EMFILE)));
            limit_files(before);
            drop(MemoryErrorWatch::new(&memory, |_| ()).expect("there are files again"));
        });
        assert!(status.success(), "{status}");
    }

    /// Lets this process open no file from this number on, and says what it was before.
    fn limit_files(limit: u64) -> u64 {
        let mut files = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the call writes to the structure.
        let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files) };
        let before = std::mem::replace(&mut files.rlim_cur, limit);
        // SAFETY: the call reads the structure.
        let written = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const files) };
        assert_eq!((read, written), (0, 0));
        before
    }

    fn memory() -> GuestMemory {
        GuestMemory::create(4 * 4096, None).expect("memory")
    }
}
