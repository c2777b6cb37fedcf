//! Getting a vCPU out of the guest from another thread, without losing the request.
//!
//! The order is what makes it safe: the caller records its request, then [`Kick::kick`] sets `immediate_exit` and sends
//! the signal. Whether the vCPU's thread is before, in or after `KVM_RUN`, the next return to it is `EINTR`; it clears
//! `immediate_exit` first and looks at the requests second. No signal handler touches anything (rust-vmm/kvm#373).

// UNSAFETY: pthread_kill and pthread_sigmask.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Errno, KvmError};
use crate::run_page::RunPage;

/// Kicks one vCPU out of the guest. Cloned freely and used from any thread.
#[derive(Debug, Clone)]
pub struct Kick {
    page: Arc<RunPage>,
    thread: Arc<Mutex<Option<libc::pthread_t>>>,
}

/// Says that the current thread runs the vCPU, until dropped.
#[derive(Debug)]
#[must_use = "the thread can be kicked only while this value lives"]
pub struct KickTarget {
    thread: Arc<Mutex<Option<libc::pthread_t>>>,
    /// It speaks of the thread that made it, and must end there.
    _not_send: PhantomData<*const ()>,
}

impl Kick {
    /// Makes the kick of the vCPU whose run page this is.
    #[must_use]
    pub fn new(page: Arc<RunPage>) -> Self {
        Self {
            page,
            thread: Arc::default(),
        }
    }

    /// Makes the current thread the one to kick, and prepares it: the kick signal and `SIGBUS` are let through, all other
    /// asynchronous signals stay with the threads of the process's own.
    ///
    /// # Errors
    /// [`KvmError::Syscall`] where the handler or the mask cannot be set.
    pub fn target_current_thread(&self) -> Result<KickTarget, KvmError> {
        install_handler()?;
        mask_signals()?;
        // SAFETY: pthread_self always succeeds.
        *lock(&self.thread) = Some(unsafe { libc::pthread_self() });
        Ok(KickTarget {
            thread: Arc::clone(&self.thread),
            _not_send: PhantomData,
        })
    }

    /// Makes the vCPU's current or next run end with [`crate::VcpuExit::Interrupted`].
    ///
    /// The request that the vCPU is to find must be visible before this call.
    ///
    /// # Errors
    /// [`KvmError::Syscall`] where the signal cannot be sent; `immediate_exit` is set all the same.
    pub fn kick(&self) -> Result<(), KvmError> {
        self.page.set_immediate_exit();
        // The lock keeps the thread from ending, and its id from being used again, before the signal is sent.
        let thread = lock(&self.thread);
        let Some(id) = *thread else { return Ok(()) };
        // SAFETY: the thread has not ended: its `KickTarget` clears the id first, under this lock.
        match unsafe { libc::pthread_kill(id, kick_signal()) } {
            0 => Ok(()),
            // vmm-sys-util tests for a negative result, which pthread_kill never gives, so we look ourselves.
            errno => Err(KvmError::Syscall {
                syscall: "pthread_kill",
                errno: Errno(errno),
            }),
        }
    }
}

impl Drop for KickTarget {
    fn drop(&mut self) {
        *lock(&self.thread) = None;
    }
}

fn lock(thread: &Mutex<Option<libc::pthread_t>>) -> MutexGuard<'_, Option<libc::pthread_t>> {
    thread.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first real-time signal that the C library does not use itself (34 with glibc, 35 with musl).
#[cfg(target_os = "linux")]
fn kick_signal() -> i32 {
    vmm_sys_util::signal::SIGRTMIN()
}

#[cfg(not(target_os = "linux"))]
fn kick_signal() -> i32 {
    libc::SIGURG
}

#[cfg(target_os = "linux")]
fn install_handler() -> Result<(), KvmError> {
    use std::sync::OnceLock;

    extern "C" fn on_kick(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    // The result is kept: without a handler, a kick would end the process.
    static INSTALLED: OnceLock<Result<(), KvmError>> = OnceLock::new();
    let install = || {
        vmm_sys_util::signal::register_signal_handler(kick_signal(), on_kick).map_err(|error| {
            KvmError::Syscall {
                syscall: "sigaction",
                errno: Errno(error.errno()),
            }
        })
    };
    INSTALLED.get_or_init(install).clone()
}

#[cfg(not(target_os = "linux"))]
fn install_handler() -> Result<(), KvmError> {
    Ok(())
}

pub(crate) fn mask_signals() -> Result<(), KvmError> {
    // SAFETY: a signal set of zeroes is valid memory; sigfillset initialises it.
    let mut blocked: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigfillset(&raw mut blocked) };
    // The synchronous signals must not be blocked: a blocked one that occurs ends the process.
    for signal in [
        kick_signal(),
        libc::SIGBUS,
        libc::SIGSEGV,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
    ] {
        // SAFETY: the set is ours and the signal numbers are valid.
        unsafe { libc::sigdelset(&raw mut blocked, signal) };
    }
    // SAFETY: the set is initialised; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const blocked, std::ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(KvmError::Syscall {
            syscall: "pthread_sigmask",
            errno: Errno(errno),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kick_interrupts_a_blocked_thread() {
        let kick = Kick::new(Arc::new(RunPage::anonymous().expect("a page")));
        let (ready, wait) = std::sync::mpsc::channel();
        let kicked = kick.clone();
        let thread = std::thread::spawn(move || {
            let _target = kicked.target_current_thread().expect("a target");
            ready.send(()).expect("the test waits");
            // SAFETY: waiting for nothing, for at most a minute.
            unsafe { libc::poll(std::ptr::null_mut(), 0, 60_000) }
        });
        wait.recv().expect("the thread starts");
        // The thread may not have reached poll yet; immediate_exit covers that for KVM_RUN, here we kick again.
        while !thread.is_finished() {
            kick.kick().expect("the thread lives");
            // Real-time signals queue up, and the queue has a limit.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(thread.join().expect("no panic"), -1);
    }

    #[test]
    fn a_kick_of_an_ended_thread_is_harmless() {
        let kick = Kick::new(Arc::new(RunPage::anonymous().expect("a page")));
        let kicked = kick.clone();
        std::thread::spawn(move || drop(kicked.target_current_thread().expect("a target")))
            .join()
            .expect("no panic");
        kick.kick().expect("nothing to signal");
    }
}
