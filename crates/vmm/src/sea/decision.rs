//! What somebody else may decide, and whether it can be done.

use seawall_arm64::AbortKind;

use crate::sea::poisoned_page::PageState;
use crate::sea::policy::{FailureAction, Severity};

/// What to do with one memory error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Inject the abort: of the kind the processor reported, or of another one.
    Inject(Option<AbortKind>),
    /// Inject an SError, with an ISS (bits 24:0) where the host has FEAT_RAS.
    InjectSError(Option<u32>),
    /// Pause the virtual machine; the abort waits.
    Pause,
    /// Stop the virtual machine.
    Stop,
    /// Let the access run again without an abort, until the policy's time is over; the abort follows then.
    Defer,
    /// Let the access run again: the page was replaced. Only where it was.
    Resume,
}

impl Decision {
    /// What it comes to: the action, and the kind of abort where it names one.
    #[must_use]
    pub const fn action(self) -> (FailureAction, Option<AbortKind>) {
        match self {
            Self::Inject(kind) => (FailureAction::Inject, kind),
            Self::InjectSError(iss) => (FailureAction::InjectSError(iss), None),
            Self::Pause => (FailureAction::Pause, None),
            Self::Stop => (FailureAction::Stop, None),
            Self::Defer => (FailureAction::Defer, None),
            Self::Resume => (FailureAction::Resume, None),
        }
    }

    /// Whether it may be done: what nobody can contain is never handed to the guest, and nothing is read in the place of
    /// what was lost unless somebody replaced it on purpose.
    #[must_use]
    pub const fn allowed(self, severity: Severity, page: Option<PageState>) -> bool {
        match (severity, self) {
            (_, Self::Pause | Self::Stop) | (Severity::Recoverable, Self::Inject(_) | Self::Defer) => true,
            (Severity::Recoverable, Self::Resume) => matches!(page, Some(PageState::Replaced)),
            (Severity::Recoverable, Self::InjectSError(iss)) => match iss {
                Some(iss) => iss <= 0x01ff_ffff,
                None => true,
            },
            (Severity::Fatal, Self::Inject(_) | Self::InjectSError(_) | Self::Defer | Self::Resume) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_contain_is_paused_or_stopped() {
        for (decision, recoverable, fatal) in [
            (Decision::Inject(None), true, false),
            (Decision::Inject(Some(AbortKind::Instruction)), true, false),
            (Decision::InjectSError(None), true, false),
            (Decision::InjectSError(Some(0x01ff_ffff)), true, false),
            (Decision::InjectSError(Some(0x0200_0000)), false, false),
            (Decision::Pause, true, true),
            (Decision::Stop, true, true),
            (Decision::Defer, true, false),
        ] {
            let page = Some(PageState::Quarantined);
            assert_eq!(
                decision.allowed(Severity::Recoverable, page),
                recoverable,
                "{decision:?}"
            );
            assert_eq!(decision.allowed(Severity::Fatal, page), fatal, "{decision:?}");
        }
    }

    #[test]
    fn an_access_goes_on_without_an_abort_only_where_its_page_was_replaced() {
        for (page, allowed) in [
            (None, false),
            (Some(PageState::Poisoned), false),
            (Some(PageState::Quarantined), false),
            (Some(PageState::HostOffline), false),
            (Some(PageState::Replaced), true),
        ] {
            assert_eq!(
                Decision::Resume.allowed(Severity::Recoverable, page),
                allowed,
                "{page:?}"
            );
            assert!(!Decision::Resume.allowed(Severity::Fatal, page));
        }
    }
}
