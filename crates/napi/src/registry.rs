//! The virtual machines of one JavaScript environment, so that none outlives it.
//!
//! An environment lives on one thread, and so does its list. The hook closes every machine before Node frees what their
//! threads would call; `process.exit()` runs no hook, so the TypeScript side calls [`close_all`] from its `exit` listener.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

use napi::Env;
use napi_derive::napi;
use seawall_vmm::Vm;

/// How long an environment's end waits for its virtual machines. Their threads need microseconds.
const LIMIT: Duration = Duration::from_secs(5);

thread_local! {
    static VMS: RefCell<Vec<Weak<Vm>>> = const { RefCell::new(Vec::new()) };
    static HOOKED: Cell<bool> = const { Cell::new(false) };
}

/// Makes sure that the environment's end closes the virtual machines of its thread.
pub(crate) fn hook(env: &Env) -> napi::Result<()> {
    if !HOOKED.get() {
        env.add_env_cleanup_hook((), |()| close_all())?;
        HOOKED.set(true);
    }
    Ok(())
}

/// Adds a virtual machine to those that the environment's end closes.
pub(crate) fn add(vm: &Arc<Vm>) {
    VMS.with_borrow_mut(|vms| {
        vms.retain(|vm| vm.strong_count() > 0);
        vms.push(Arc::downgrade(vm));
    });
}

/// Closes every virtual machine of this environment and waits for them, a few seconds at most.
#[napi(catch_unwind)]
pub fn close_all() {
    let vms: Vec<Arc<Vm>> = VMS.with_borrow_mut(|vms| vms.drain(..).filter_map(|vm| vm.upgrade()).collect());
    let (sender, receiver) = mpsc::channel();
    for vm in &vms {
        let sender = sender.clone();
        vm.close(Box::new(move |_| sender.send(()).unwrap_or(())));
    }
    let deadline = Instant::now() + LIMIT;
    for _ in &vms {
        if receiver
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .is_err()
        {
            break;
        }
    }
}
