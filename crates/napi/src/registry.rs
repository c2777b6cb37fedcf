//! The virtual machines of one JavaScript environment, so that none outlives it.
//!
//! An environment lives on one thread, and so does its list. The hook closes every machine before Node frees what their
//! threads would call; `process.exit()` runs no hook, so the TypeScript side calls [`close_all`] from its `exit` listener.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use napi::Env;
use napi_derive::napi;
use seawall_vmm::{Vm, VmError, VmThread};

/// How long an environment's end waits for its virtual machines. Their threads need microseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// The virtual machines of an environment. One is added by the thread that made it, before anybody is told of it.
#[derive(Default)]
pub(crate) struct Machines(Mutex<State>);

#[derive(Default)]
struct State {
    vms: Vec<Weak<Vm>>,
    /// The environment ends: what is still being made comes too late.
    ending: bool,
}

impl Machines {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a virtual machine to those that the environment's end closes.
    pub(crate) fn add(&self, vm: Vm) -> Result<Arc<Vm>, VmError> {
        let mut state = self.lock();
        if state.ending {
            let operation = "Vm.create()";
            return Err(VmError::Closed { operation });
        }
        let vm = Arc::new(vm);
        state.vms.retain(|vm| vm.strong_count() > 0);
        state.vms.push(Arc::downgrade(&vm));
        Ok(vm)
    }

    fn end(&self) -> Vec<Arc<Vm>> {
        let mut state = self.lock();
        state.ending = true;
        state.vms.drain(..).filter_map(|vm| vm.upgrade()).collect()
    }
}

thread_local! {
    static MACHINES: RefCell<Arc<Machines>> = RefCell::default();
    /// Their threads, also of those that are being made, and of those that nobody holds any more.
    static THREADS: RefCell<Vec<VmThread>> = const { RefCell::new(Vec::new()) };
    static HOOKED: Cell<bool> = const { Cell::new(false) };
}

/// Makes sure that the environment's end closes its virtual machines, and returns where to add them.
pub(crate) fn hook(env: &Env) -> napi::Result<Arc<Machines>> {
    if !HOOKED.get() {
        env.add_env_cleanup_hook((), |()| {
            close_all();
            // Its thread may have another environment afterwards.
            MACHINES.take();
            HOOKED.set(false);
        })?;
        HOOKED.set(true);
    }
    Ok(MACHINES.with_borrow(Arc::clone))
}

/// Keeps the thread of a virtual machine, to wait for it.
pub(crate) fn keep(thread: Option<VmThread>) {
    forget_finished();
    THREADS.with_borrow_mut(|threads| threads.extend(thread));
}

/// Forgets the threads that have ended, and with them what the system keeps for whoever waits for one.
pub(crate) fn forget_finished() {
    THREADS.with_borrow_mut(|threads| threads.retain(|thread| !thread.is_finished()));
}

/// Closes every virtual machine of this environment and waits for their threads, a few seconds at most.
#[napi(catch_unwind)]
pub fn close_all() {
    for vm in MACHINES.with_borrow(|machines| machines.end()) {
        vm.close(Box::new(|_| {}));
    }
    let deadline = Instant::now() + LIMIT;
    for thread in THREADS.take() {
        // One that is stuck in the kernel is left to itself.
        let _ended: bool = thread.join(deadline);
    }
}
