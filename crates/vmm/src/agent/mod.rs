//! Telling a guest that boots without ACPI which of its pages are lost: by an agent, a program of root's in the guest.
//!
//! ```text
//!   lost pages ──> LostPages, each once ──> `retire 0x…` ──> the agent's UART ──> the agent
//!                                                                                    │ hard_offline_page
//!   what becomes of the page <── `retired 0x… 0` <── the agent's UART <───────────────┘ of the guest's kernel
//! ```
//!
//! It is the second best: the kernel that takes an abort does not wait for a program. So nobody is told by exception; whoever
//! needs the page gets time, as the guest's kernel does with ACPI.
//!
//! What comes from the guest is not trusted. The monitor takes nothing from a line but which of its own requests it answers.

mod channel;
mod line;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use seawall_arm64::Gpa;

use crate::ghes::{LostPages, PageSet, SILENCE, SourceState, pages};
use crate::memory_layout::PAGE_SIZE;
use line::{Line, retire};

pub(crate) use channel::AgentChannel;

/// How many requests the agent has before it at most. The UART has room for them, and one that somebody waits for does not
/// wait for many others.
const OUTSTANDING: usize = 4;

/// What the agent of one guest was asked, and what it has to be asked. Every operation is quick and waits for nothing.
#[derive(Debug, Default)]
pub(super) struct Agent {
    /// It has said that it is there.
    is_there: bool,
    /// It has not answered for too long.
    is_silent: bool,
    /// It was started since it was last asked something: it knows nothing of what was asked before.
    is_new: bool,
    lost: LostPages,
    /// What it was asked and has not answered.
    requests: VecDeque<Request>,
    /// Since when it owes the next answer.
    waiting_since: Option<Instant>,
    retired: PageSet,
    /// The pages that the guest's kernel did not retire.
    refused: PageSet,
    /// A page was retired since somebody asked.
    has_retired: bool,
    /// It became silent since somebody asked.
    has_failed: bool,
}

#[derive(Debug)]
struct Request {
    page: u64,
    is_sent: bool,
}

/// What to say to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Saying {
    /// What it was sent before and has not read is for nobody.
    pub(super) is_new: bool,
    pub(super) lines: String,
    /// In what time to look again; absent where there is nothing to wait for.
    pub(super) again: Option<Duration>,
}

impl Agent {
    /// Forgets the guest that was there: another one boots.
    pub(super) fn place(&mut self) {
        *self = Self::default();
    }

    /// Whether the guest can be told, as of the last look. An agent that has not said hello yet is silent: it may still come.
    pub(super) const fn state(&self) -> SourceState {
        if self.is_there && !self.is_silent {
            SourceState::Usable
        } else {
            SourceState::Silent
        }
    }

    /// Notes that memory is lost, of which the guest is to be told once. [`Agent::advance`] says how.
    pub(super) fn lose(&mut self, gpa: Gpa, len: u64) {
        self.lost.add(pages(gpa.bits(), len));
    }

    /// Puts a page that waits to be told of before those that nobody waits for.
    pub(super) fn hurry(&mut self, gpa: Gpa) {
        self.lost.hurry(gpa.bits() / PAGE_SIZE);
    }

    /// Forgets pages that were replaced: lost again, they are told of again.
    pub(super) fn replaced(&mut self, gpa: Gpa, len: u64) {
        let good = pages(gpa.bits(), len);
        self.lost.forget(&good);
        self.requests.retain(|request| !good.contains(&request.page));
        self.retired.remove(&good);
        self.refused.remove(&good);
    }

    /// Leaves out of the guest's time what has passed: it did not run, and could answer nothing.
    pub(super) const fn resumed(&mut self) {
        self.waiting_since = None;
    }

    /// Whether the guest was told of a page, and then whether it has retired it: not known while it still may.
    pub(super) fn told_of(&self, gpa: Gpa) -> Option<Option<bool>> {
        let page = gpa.bits() / PAGE_SIZE;
        if self.requests.iter().any(|request| request.page == page) {
            return Some(self.is_silent.then_some(false));
        }
        match (self.retired.contains(page), self.refused.contains(page)) {
            (true, _) => Some(Some(true)),
            (false, true) => Some(Some(false)),
            (false, false) => None,
        }
    }

    /// Whether the guest has retired all of this memory.
    pub(super) fn is_retired(&self, gpa: Gpa, len: u64) -> bool {
        self.retired.missing(pages(gpa.bits(), len)).is_empty()
    }

    /// Whether the guest has retired a page; each is said once.
    pub(super) const fn take_has_retired(&mut self) -> bool {
        std::mem::replace(&mut self.has_retired, false)
    }

    /// Whether the agent has stopped to answer; each time is said once.
    pub(super) const fn take_has_failed(&mut self) -> bool {
        std::mem::replace(&mut self.has_failed, false)
    }

    /// Takes a line of the guest's. Returns whether there is something to look after now.
    pub(super) fn on_line(&mut self, line: &[u8]) -> bool {
        match Line::parse(line) {
            Some(Line::Hello) => {
                self.is_there = true;
                self.is_new = true;
                for request in &mut self.requests {
                    request.is_sent = false;
                }
            }
            Some(Line::Retired { gpa, errno }) => {
                let is_of = |request: &Request| request.page * PAGE_SIZE == gpa;
                let Some(index) = self.requests.iter().position(is_of) else {
                    return false;
                };
                self.requests.remove(index);
                let page = gpa / PAGE_SIZE;
                if errno == 0 {
                    self.retired.insert(page..page + 1);
                    self.has_retired = true;
                } else {
                    self.refused.insert(page..page + 1);
                }
            }
            None => return false,
        }
        self.is_silent = false;
        self.waiting_since = None;
        true
    }

    /// Looks whether the agent still answers, and says what to say to it now. To be called after [`Agent::lose`], after
    /// [`Agent::on_line`], and whenever [`Saying::again`] has passed.
    pub(super) fn advance(&mut self, now: Instant) -> Saying {
        if !self.is_there {
            return Saying::default();
        }
        let is_new = std::mem::replace(&mut self.is_new, false);
        if !self.is_silent {
            let room = OUTSTANDING.saturating_sub(self.requests.len());
            let next = self.lost.take(room).into_iter();
            self.requests
                .extend(next.map(|page| Request { page, is_sent: false }));
        }
        // A part of a line may lie before it in the guest.
        let mut lines = String::from(if is_new { "\n" } else { "" });
        for request in self.requests.iter_mut().filter(|request| !request.is_sent) {
            request.is_sent = true;
            lines.push_str(&retire(request.page * PAGE_SIZE));
        }
        Saying {
            is_new,
            lines,
            again: self.wait(now),
        }
    }

    /// Waits for the next answer; returns for how long.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        if self.requests.is_empty() {
            return None;
        }
        let since = *self.waiting_since.get_or_insert(now);
        let left = SILENCE.checked_sub(now.saturating_duration_since(since));
        let left = left.filter(|left| !left.is_zero());
        if left.is_none() {
            self.has_failed |= !self.is_silent;
            self.is_silent = true;
        }
        left
    }
}

#[cfg(test)]
mod tests;
