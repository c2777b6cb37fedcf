//! The thread that a virtual machine lives on.

use std::io;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// The thread `vm-control` of a virtual machine, from before there is one until everything of it is given back: it ends as the
/// last of the machine's threads. Dropped, it is left to itself.
#[derive(Debug)]
pub struct VmThread {
    thread: JoinHandle<()>,
    /// Nothing is ever sent: it is closed when the thread has nothing more to do.
    done: mpsc::Receiver<()>,
}

impl VmThread {
    pub(super) fn spawn(serve: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (open, done) = mpsc::channel();
        let thread = Builder::new().name("vm-control".to_owned()).spawn(move || {
            serve();
            drop(open);
        })?;
        Ok(Self { thread, done })
    }

    /// Whether the thread has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread's end, at most until `deadline`, and says whether it came.
    #[must_use]
    pub fn join(self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.done.recv_timeout(left) {
            Err(mpsc::RecvTimeoutError::Timeout) => false,
            // A panic there has nothing left to damage.
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                drop(self.thread.join());
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_thread_is_waited_for_until_the_deadline() {
        let (release, wait) = mpsc::channel::<()>();
        let thread = VmThread::spawn(move || wait.recv().unwrap_or(())).expect("a thread");
        assert!(!thread.is_finished());
        assert!(!thread.join(Instant::now() + SOON));
        drop(release);
    }

    #[test]
    fn a_thread_that_panics_has_ended() {
        let thread = VmThread::spawn(|| panic!("on purpose")).expect("a thread");
        assert!(thread.join(Instant::now() + LIMIT));
    }
}
