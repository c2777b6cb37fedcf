//! Other copies of Seawall in the process, each with a handler of `SIGBUS` that hands on what is not its own.

// UNSAFETY: looks up a function of another library, and calls it.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::PREVIOUS;

/// The handler of another copy that was found to hand on to ours.
static FOUND: AtomicUsize = AtomicUsize::new(0);

/// Whether `handler` is another copy's and hands on to `ours`, over further copies or at once.
pub(super) fn hands_on(handler: usize, ours: usize) -> bool {
    if handler == FOUND.load(Ordering::Relaxed) {
        return true;
    }
    // Each copy installs its handler once, so the way from one to the one before ends.
    let mut next = handler;
    while next != ours {
        match previous_of(next) {
            Some(previous) => next = previous,
            None => return false,
        }
    }
    // A copy's handler stays where it is, like ours.
    FOUND.store(handler, Ordering::Relaxed);
    true
}

/// Which handler ours hands on to. By this name the copies find out about each other.
#[unsafe(no_mangle)]
extern "C" fn seawall_sigbus_previous() -> usize {
    // SAFETY: null, or stored once when the handler was installed, and never freed.
    unsafe { PREVIOUS.load(Ordering::SeqCst).as_ref() }.map_or(0, |action| action.sa_sigaction)
}

/// The handler before another copy's; `None` where `handler` is no copy's.
fn previous_of(handler: usize) -> Option<usize> {
    // SAFETY: a Dl_info of zeroes is valid: null pointers.
    let mut image: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: the call looks the address up, whatever it is, and writes only to `image`.
    let found = unsafe { libc::dladdr(ptr::with_exposed_provenance(handler), &raw mut image) };
    if found == 0 || image.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the name is the loader's own; nothing is loaded that is not there.
    let library = unsafe { libc::dlopen(image.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if library.is_null() {
        return None;
    }
    // SAFETY: the handle is open, and the name ends with zero.
    let symbol = unsafe { libc::dlsym(library, c"seawall_sigbus_previous".as_ptr()) };
    let previous = (!symbol.is_null()).then(|| {
        // SAFETY: every version of Seawall gives this name to a function of this type.
        let previous: extern "C" fn() -> usize = unsafe { core::mem::transmute(symbol) };
        previous()
    });
    // SAFETY: the handle is open, and a copy stays loaded without it.
    unsafe { libc::dlclose(library) };
    previous
}
