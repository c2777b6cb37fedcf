//! In which order a guest is told of a lost page and gets its abort: a function from data to data.

use std::time::Duration;

use seawall_arm64::{AbortKind, Pstate};

use super::error_source::SourceState;

/// How often an access runs again without an abort at most. Where no quarantine protects the page, each time consumes the error
/// again.
pub const RETRIES: u32 = 100;

/// An access that needs a lost page, as far as the order depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumption {
    /// The state that the access was made in.
    pub pstate: Pstate,
    /// What the access was for; data where nobody knows.
    pub kind: AbortKind,
}

/// Whether the guest can be told by each source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceStates {
    /// By exception.
    pub sea: SourceState,
    /// By interrupt.
    pub gsiv: SourceState,
}

/// What was tried already about this access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tried {
    /// The source by exception was not free in time, or refused.
    pub sea_refused: bool,
    /// How often the access ran again.
    pub retries: u32,
    /// For how long, without the time in which the guest did not run.
    pub time: Duration,
}

/// What to do next about an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationStep {
    /// Tell by exception, and inject the abort when that is done: the guest's kernel looks for the record first.
    TellSyncThenAbort,
    /// Tell by interrupt, if the guest was not told yet, and run the access again after a moment: when the page is retired it
    /// ends in an error that the guest's kernel can handle.
    TellAsyncAndRetry,
    /// Tell by interrupt, if the guest was not told yet, and inject the abort.
    TellAsyncThenAbort,
    /// Inject the abort.
    AbortOnly,
}

/// Decides. No clock, no lock, no log: the same arguments always give the same step.
///
/// An application's abort goes with its record, unless the guest has not read the one before. The guest's kernel does not look
/// for records when it takes an abort itself: it is told by interrupt and gets time instead of an abort, up to `defer`. That
/// needs an interrupt that it can take, and an access that can fail: with interrupts masked, and where the code of the kernel
/// is lost, the abort comes at once.
#[must_use]
pub const fn next_step(
    consumption: Consumption,
    sources: SourceStates,
    defer: Duration,
    tried: Tried,
) -> NotificationStep {
    let user = consumption.pstate.is_user();
    if user && !tried.sea_refused && matches!(sources.sea, SourceState::Usable) {
        return NotificationStep::TellSyncThenAbort;
    }
    let kernel_can_be_spared =
        matches!(consumption.kind, AbortKind::Data) && !consumption.pstate.irq_masked();
    let time_is_left = tried.retries < RETRIES && tried.time.as_nanos() < defer.as_nanos();
    match sources.gsiv {
        SourceState::Disabled => NotificationStep::AbortOnly,
        SourceState::Usable if (user || kernel_can_be_spared) && time_is_left => {
            NotificationStep::TellAsyncAndRetry
        }
        // Nobody reads the record now; perhaps later, before the page is used again.
        SourceState::Usable | SourceState::Silent => NotificationStep::TellAsyncThenAbort,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EL0: u64 = 0x0;
    const EL0_32: u64 = 0x10;
    const EL1: u64 = 0x5;
    /// I, bit 7.
    const MASKED: u64 = 1 << 7;
    const DEFER: Duration = Duration::from_millis(200);
    const USABLE: SourceStates = SourceStates {
        sea: SourceState::Usable,
        gsiv: SourceState::Usable,
    };

    fn access(pstate: u64, kind: AbortKind) -> Consumption {
        Consumption {
            pstate: Pstate::from_bits(pstate),
            kind,
        }
    }

    fn step(consumption: Consumption, sources: SourceStates, tried: Tried) -> NotificationStep {
        next_step(consumption, sources, DEFER, tried)
    }

    #[test]
    fn an_application_gets_its_abort_with_the_record() {
        for pstate in [EL0, EL0_32, 0x6000_0000] {
            for kind in [AbortKind::Data, AbortKind::Instruction] {
                assert_eq!(
                    step(access(pstate, kind), USABLE, Tried::default()),
                    NotificationStep::TellSyncThenAbort
                );
            }
        }
    }

    #[test]
    fn the_guests_kernel_is_told_and_gets_time() {
        for pstate in [EL1, 0x4, EL1 | 1 << 6 | 1 << 8 | 1 << 9] {
            assert_eq!(
                step(access(pstate, AbortKind::Data), USABLE, Tried::default()),
                NotificationStep::TellAsyncAndRetry
            );
        }
    }

    #[test]
    fn a_kernel_that_cannot_be_spared_gets_its_abort_at_once() {
        for consumption in [
            access(EL1 | MASKED, AbortKind::Data),
            access(EL1, AbortKind::Instruction),
            access(EL1 | MASKED, AbortKind::Instruction),
        ] {
            assert_eq!(
                step(consumption, USABLE, Tried::default()),
                NotificationStep::TellAsyncThenAbort
            );
        }
    }

    #[test]
    fn the_time_ends_by_the_clock_and_by_the_count() {
        let tried = |retries, ms| Tried {
            retries,
            time: Duration::from_millis(ms),
            ..Tried::default()
        };
        for (tried, expected) in [
            (tried(99, 199), NotificationStep::TellAsyncAndRetry),
            (tried(100, 0), NotificationStep::TellAsyncThenAbort),
            (tried(0, 200), NotificationStep::TellAsyncThenAbort),
        ] {
            assert_eq!(
                step(access(EL1, AbortKind::Data), USABLE, tried),
                expected,
                "{tried:?}"
            );
        }
        let never = next_step(
            access(EL1, AbortKind::Data),
            USABLE,
            Duration::ZERO,
            Tried::default(),
        );
        assert_eq!(never, NotificationStep::TellAsyncThenAbort);
    }

    #[test]
    fn an_application_whose_source_is_not_free_is_treated_as_the_kernel() {
        let refused = Tried {
            sea_refused: true,
            ..Tried::default()
        };
        let over = Tried {
            retries: RETRIES,
            ..refused
        };
        for kind in [AbortKind::Data, AbortKind::Instruction] {
            let access = access(EL0, kind);
            assert_eq!(step(access, USABLE, refused), NotificationStep::TellAsyncAndRetry);
            assert_eq!(step(access, USABLE, over), NotificationStep::TellAsyncThenAbort);
            for sea in [SourceState::Silent, SourceState::Disabled] {
                let sources = SourceStates { sea, ..USABLE };
                assert_eq!(
                    step(access, sources, Tried::default()),
                    NotificationStep::TellAsyncAndRetry
                );
            }
        }
    }

    #[test]
    fn nobody_waits_for_a_guest_that_reads_nothing() {
        let sources = SourceStates {
            sea: SourceState::Silent,
            gsiv: SourceState::Silent,
        };
        for pstate in [EL0, EL1] {
            assert_eq!(
                step(access(pstate, AbortKind::Data), sources, Tried::default()),
                NotificationStep::TellAsyncThenAbort
            );
        }
    }

    /// Every combination there is.
    fn all() -> impl Iterator<Item = (Consumption, SourceStates, Duration, Tried)> {
        let states = [SourceState::Usable, SourceState::Silent, SourceState::Disabled];
        let numbers = 0..3 * 2 * 9 * 2 * 2 * 3;
        numbers.map(move |number: usize| {
            let mut rest = number;
            let mut choice = |of: usize| {
                let chosen = rest % of;
                rest /= of;
                chosen
            };
            let consumption = Consumption {
                pstate: Pstate::from_bits([EL0, EL1, EL1 | MASKED][choice(3)]),
                kind: [AbortKind::Data, AbortKind::Instruction][choice(2)],
            };
            let sources = SourceStates {
                sea: states[choice(3)],
                gsiv: states[choice(3)],
            };
            let defer = [Duration::ZERO, DEFER][choice(2)];
            let tried = Tried {
                sea_refused: choice(2) == 1,
                retries: [0, 99, 100][choice(3)],
                time: Duration::ZERO,
            };
            (consumption, sources, defer, tried)
        })
    }

    #[test]
    fn what_must_never_happen_does_not() {
        let mut steps = std::collections::HashMap::new();
        for (consumption, sources, defer, tried) in all() {
            let step = next_step(consumption, sources, defer, tried);
            *steps.entry(format!("{step:?}")).or_insert(0) += 1;
            let tells = step != NotificationStep::AbortOnly;
            if step == NotificationStep::TellSyncThenAbort {
                // A record by exception for an abort at EL1 is never read, and blocks the source.
                assert!(consumption.pstate.is_user() && sources.sea == SourceState::Usable);
                assert!(!tried.sea_refused);
            } else if tells {
                assert_ne!(sources.gsiv, SourceState::Disabled);
            }
            if step == NotificationStep::TellAsyncAndRetry {
                assert!(!defer.is_zero() && tried.retries < RETRIES);
                assert_eq!(sources.gsiv, SourceState::Usable);
            }
        }
        assert_eq!(steps.len(), 4, "{steps:?}");
    }
}
