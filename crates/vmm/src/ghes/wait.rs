//! Waiting for the guest, with an end.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How long a vCPU waits for its turn at a source at most.
pub const ACK_LIMIT: Duration = Duration::from_millis(100);
/// Between two looks.
pub const ACK_PAUSE: Duration = Duration::from_millis(1);

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited<T> {
    /// With what was waited for.
    Done(T),
    /// The time was over.
    TimedOut,
    /// Whoever paused wants no more of it: the virtual machine ends.
    Interrupted,
}

/// Tries until something comes of it, at least once, and until the deadline. Between two tries it calls `pause` with how long
/// to sleep; nothing is held meanwhile. A `pause` that breaks ends the wait.
pub fn wait<T>(
    deadline: Instant,
    now: impl Fn() -> Instant,
    mut attempt: impl FnMut() -> Option<T>,
    mut pause: impl FnMut(Duration) -> ControlFlow<()>,
) -> Waited<T> {
    loop {
        if let Some(done) = attempt() {
            return Waited::Done(done);
        }
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Waited::TimedOut;
        }
        if pause(left.min(ACK_PAUSE)).is_break() {
            return Waited::Interrupted;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock that goes on in pauses alone.
    struct Clock(Instant, Cell<Duration>);

    impl Clock {
        fn new() -> Self {
            Self(Instant::now(), Cell::default())
        }

        fn pause(&self, time: Duration) -> ControlFlow<()> {
            self.1.set(self.1.get() + time);
            ControlFlow::Continue(())
        }

        fn now(&self) -> Instant {
            self.0 + self.1.get()
        }
    }

    #[test]
    fn it_ends_with_what_was_waited_for() {
        let clock = Clock::new();
        let mut tries = 0;
        let waited = wait(
            clock.now() + ACK_LIMIT,
            || clock.now(),
            || {
                tries += 1;
                (tries == 4).then_some("told")
            },
            |time| clock.pause(time),
        );
        assert_eq!((waited, clock.1.get()), (Waited::Done("told"), 3 * ACK_PAUSE));
    }

    #[test]
    fn it_ends_at_the_deadline_and_no_pause_is_longer_than_what_is_left() {
        let clock = Clock::new();
        let tries = Cell::new(0);
        let waited: Waited<()> = wait(
            clock.now() + Duration::from_micros(2500),
            || clock.now(),
            || {
                tries.set(tries.get() + 1);
                None
            },
            |time| clock.pause(time),
        );
        assert_eq!((waited, tries.get()), (Waited::TimedOut, 4));
        assert_eq!(clock.1.get(), Duration::from_micros(2500));
    }

    #[test]
    fn a_deadline_that_has_passed_is_one_try_and_no_pause() {
        let now = Instant::now();
        let pause = |_| panic!("no time is left");
        assert_eq!(wait(now, || now, || None::<()>, pause), Waited::TimedOut);
        assert_eq!(wait(now, || now, || Some(1), pause), Waited::Done(1));
    }

    #[test]
    fn the_end_of_the_virtual_machine_ends_it() {
        let clock = Clock::new();
        let mut pauses = 0;
        let waited: Waited<()> = wait(
            clock.now() + ACK_LIMIT,
            || clock.now(),
            || None,
            |_| {
                pauses += 1;
                if pauses == 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        assert_eq!((waited, pauses), (Waited::Interrupted, 3));
    }
}
