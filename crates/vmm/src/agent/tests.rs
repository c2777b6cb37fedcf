use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PAGE: u64 = 0x8028_6000;

fn gpa(gpa: u64) -> Gpa {
    Gpa::from_bits(gpa)
}

/// The addresses that it asks to retire.
fn requests(saying: &Saying) -> Vec<u64> {
    let address = |line: &str| {
        let digits = line.strip_prefix("retire 0x").expect("a request");
        u64::from_str_radix(digits, 16).expect("an address")
    };
    let lines = saying.lines.strip_prefix('\n').unwrap_or(&saying.lines);
    lines.lines().map(address).collect()
}

/// An agent that has said hello, and was told nothing.
fn there(now: Instant) -> Agent {
    let mut agent = Agent::default();
    assert!(agent.on_line(b"hello 1"));
    let saying = agent.advance(now);
    assert_eq!(
        (saying.is_new, saying.lines.as_str(), saying.again),
        (true, "\n", None)
    );
    agent
}

fn answer(agent: &mut Agent, page: u64, errno: u32) -> bool {
    agent.on_line(format!("retired {page:#x} {errno}").as_bytes())
}

#[test]
fn a_page_is_asked_for_once_and_is_retired_when_the_agent_says_so() {
    let now = Instant::now();
    let mut agent = there(now);
    agent.lose(gpa(PAGE), 4096);
    assert_eq!(agent.told_of(gpa(PAGE)), None);
    let saying = agent.advance(now);
    assert_eq!(saying.lines, "retire 0x80286000\n");
    assert_eq!((saying.is_new, saying.again), (false, Some(SILENCE)));
    assert_eq!(agent.told_of(gpa(PAGE + 0xabc)), Some(None));
    agent.lose(gpa(PAGE), 4096);
    assert_eq!(agent.advance(now).lines, "");
    assert!(!agent.take_has_retired() && !agent.is_retired(gpa(PAGE), 4096));
    assert!(answer(&mut agent, PAGE, 0));
    assert_eq!(agent.told_of(gpa(PAGE)), Some(Some(true)));
    assert!(agent.is_retired(gpa(PAGE), 4096) && !agent.is_retired(gpa(PAGE), 4097));
    assert!(agent.take_has_retired() && !agent.take_has_retired());
    assert_eq!(agent.advance(now), Saying::default());
}

#[test]
fn a_page_that_the_guests_kernel_keeps_is_not_retired() {
    let now = Instant::now();
    let mut agent = there(now);
    agent.lose(gpa(PAGE), 4096);
    agent.advance(now);
    assert!(answer(&mut agent, PAGE, 16));
    assert_eq!(agent.told_of(gpa(PAGE)), Some(Some(false)));
    assert!(!agent.is_retired(gpa(PAGE), 4096) && !agent.take_has_retired());
    assert_eq!(agent.state(), SourceState::Usable);
}

#[test]
fn what_is_lost_before_the_agent_starts_is_told_when_it_does() {
    let now = Instant::now();
    let mut agent = Agent::default();
    agent.lose(gpa(PAGE), 2 * 4096);
    agent.hurry(gpa(PAGE + 4096));
    assert_eq!(agent.state(), SourceState::Silent);
    assert_eq!(agent.advance(now), Saying::default());
    assert_eq!(agent.told_of(gpa(PAGE)), None);
    assert!(agent.on_line(b"hello 1"));
    assert_eq!(agent.state(), SourceState::Usable);
    assert_eq!(requests(&agent.advance(now)), [PAGE + 4096, PAGE]);
}

#[test]
fn few_requests_are_out_at_a_time_and_who_waits_comes_next() {
    let now = Instant::now();
    let mut agent = there(now);
    agent.lose(gpa(PAGE), 16 * 4096);
    let page = |index: u64| PAGE + index * 4096;
    assert_eq!(requests(&agent.advance(now)), [0, 1, 2, 3].map(page));
    agent.hurry(gpa(page(9)));
    assert_eq!(requests(&agent.advance(now)), []);
    assert!(answer(&mut agent, page(2), 0));
    assert_eq!(requests(&agent.advance(now)), [page(9)]);
}

#[test]
fn an_agent_that_starts_again_is_asked_again_behind_a_new_line() {
    let now = Instant::now();
    let mut agent = there(now);
    agent.lose(gpa(PAGE), 2 * 4096);
    agent.advance(now);
    assert!(answer(&mut agent, PAGE, 0));
    assert!(agent.on_line(b"hello 1"));
    let saying = agent.advance(now);
    assert!(saying.is_new);
    assert_eq!(saying.lines, "\nretire 0x80287000\n");
    assert_eq!(agent.advance(now).lines, "");
}

#[test]
fn an_agent_that_does_not_answer_is_silent_until_it_does() {
    let start = Instant::now();
    let mut agent = there(start);
    agent.lose(gpa(PAGE), 5 * 4096);
    agent.advance(start);
    let later = start + SILENCE - Duration::from_millis(1);
    assert_eq!(agent.advance(later).again, Some(Duration::from_millis(1)));
    assert_eq!(agent.state(), SourceState::Usable);
    assert_eq!(agent.advance(start + SILENCE).again, None, "its answer wakes");
    assert_eq!(agent.state(), SourceState::Silent);
    assert_eq!(agent.told_of(gpa(PAGE)), Some(Some(false)));
    agent.advance(start + 2 * SILENCE);
    assert!(agent.take_has_failed() && !agent.take_has_failed());
    for (line, asked) in [("retired 0x80286000 0", 1), ("hello 1", 5)] {
        let mut agent = there(start);
        agent.lose(gpa(PAGE), 5 * 4096);
        agent.advance(start);
        agent.advance(start + SILENCE);
        assert!(agent.on_line(line.as_bytes()));
        assert_eq!(agent.state(), SourceState::Usable, "{line}");
        assert!(agent.take_has_failed());
        let saying = agent.advance(start + SILENCE);
        assert_eq!(
            (requests(&saying).len(), saying.again),
            (asked.min(OUTSTANDING), Some(SILENCE))
        );
    }
}

#[test]
fn an_answer_gives_time_for_the_next_and_so_does_a_pause() {
    let start = Instant::now();
    let almost = SILENCE - Duration::from_millis(1);
    let mut agent = there(start);
    agent.lose(gpa(PAGE), 2 * 4096);
    agent.advance(start);
    assert!(answer(&mut agent, PAGE, 0));
    assert_eq!(agent.advance(start + almost).again, Some(SILENCE));
    agent.resumed();
    assert_eq!(agent.advance(start + 9 * SILENCE).again, Some(SILENCE));
    assert_eq!(agent.state(), SourceState::Usable);
}

#[test]
fn what_answers_no_request_changes_nothing() {
    let now = Instant::now();
    let mut agent = there(now);
    agent.lose(gpa(PAGE), 4096);
    for address in [PAGE, PAGE + 1] {
        assert!(!answer(&mut agent, address, 0), "nothing was asked");
    }
    agent.advance(now);
    for line in [
        "",
        "retired 0x80286001 0",
        "retired 0x80287000 0",
        "retired 0x0 0",
        "hello 2",
    ] {
        assert!(!agent.on_line(line.as_bytes()), "{line:?}");
        assert_eq!(agent.told_of(gpa(PAGE)), Some(None));
    }
    assert!(answer(&mut agent, PAGE, 0));
    assert!(!answer(&mut agent, PAGE, 16), "it was answered");
    assert_eq!(agent.told_of(gpa(PAGE)), Some(Some(true)));
    assert_eq!(agent.told_of(gpa(PAGE + 4096)), None);
}

#[test]
fn a_page_that_was_replaced_is_told_of_again_when_it_is_lost_again() {
    let now = Instant::now();
    for is_answered in [true, false] {
        let mut agent = there(now);
        agent.lose(gpa(PAGE), 4096);
        agent.advance(now);
        if is_answered {
            assert!(answer(&mut agent, PAGE, 0));
        }
        agent.replaced(gpa(PAGE), 4096);
        assert_eq!(agent.told_of(gpa(PAGE)), None);
        assert_eq!(agent.advance(now), Saying::default());
        agent.lose(gpa(PAGE), 4096);
        assert_eq!(requests(&agent.advance(now)), [PAGE]);
    }
}

#[test]
fn the_next_guest_knows_nothing() {
    let now = Instant::now();
    let mut agent = there(now);
    agent.lose(gpa(PAGE), 2 * 4096);
    agent.advance(now);
    assert!(answer(&mut agent, PAGE, 0));
    agent.place();
    assert_eq!(
        (agent.state(), agent.told_of(gpa(PAGE))),
        (SourceState::Silent, None)
    );
    assert!(agent.on_line(b"hello 1"));
    assert_eq!(agent.advance(now).lines, "\n");
}

/// What happens to an agent.
#[derive(Debug, Clone)]
enum Happening {
    Lose(u64, u64),
    Hurry(u64),
    Line(String),
    /// Answers one of the requests that it has read, and is killed before it answers the others, or not.
    Honest {
        which: usize,
        errno: u32,
        restarts: bool,
    },
    Advance(u64),
    Replace(u64, u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let (page, len) = (0..24_u64, 1..6_u64);
    let line = prop_oneof![
        Just("hello 1".to_owned()),
        "[a-z0-9 ]{0,70}",
        (page.clone(), 0..2_u32)
            .prop_map(|(page, errno)| format!("retired {:#x} {errno}", PAGE + page * 4096)),
    ];
    prop_oneof![
        (page.clone(), len.clone()).prop_map(|(page, len)| Happening::Lose(page, len)),
        page.clone().prop_map(Happening::Hurry),
        line.prop_map(Happening::Line),
        (any::<usize>(), 0..2_u32, any::<bool>()).prop_map(|(which, errno, restarts)| Happening::Honest {
            which,
            errno,
            restarts
        }),
        (0..7_u64).prop_map(Happening::Advance),
        (page, len).prop_map(|(page, len)| Happening::Replace(page, len)),
    ]
}

proptest! {
    #[test]
    fn whatever_a_guest_says_only_lost_pages_are_asked_for_and_believed(
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        let mut now = Instant::now();
        let mut agent = Agent::default();
        let (mut lost, mut read) = (BTreeSet::new(), Vec::new());
        for happening in happenings {
            match happening {
                Happening::Lose(page, len) => {
                    agent.lose(gpa(PAGE + page * 4096), len * 4096);
                    lost.extend((page..page + len).map(|page| PAGE + page * 4096));
                }
                Happening::Hurry(page) => agent.hurry(gpa(PAGE + page * 4096)),
                Happening::Line(line) => drop(agent.on_line(line.as_bytes())),
                Happening::Honest { which, errno, restarts } => {
                    if !read.is_empty() {
                        answer(&mut agent, read.swap_remove(which % read.len()), errno);
                    }
                    if restarts {
                        read.clear();
                        agent.on_line(b"hello 1");
                    }
                }
                Happening::Advance(seconds) => {
                    now += Duration::from_secs(seconds);
                    let saying = agent.advance(now);
                    let asked = requests(&saying);
                    prop_assert!(saying.lines.len() <= 1 + OUTSTANDING * 27);
                    prop_assert!(asked.iter().all(|page| lost.contains(page)));
                    read.extend(asked);
                }
                Happening::Replace(page, len) => {
                    agent.replaced(gpa(PAGE + page * 4096), len * 4096);
                    for page in page..page + len {
                        lost.remove(&(PAGE + page * 4096));
                    }
                }
            }
            prop_assert!(agent.requests.len() <= OUTSTANDING);
            for page in (0..40).map(|page| PAGE + page * 4096) {
                prop_assert!(agent.told_of(gpa(page)).is_none() || lost.contains(&page));
            }
        }
        // From here on there is an agent that reads and answers everything.
        agent.on_line(b"hello 1");
        for _ in 0..100 {
            for page in requests(&agent.advance(now)) {
                prop_assert!(answer(&mut agent, page, 0));
            }
        }
        for page in lost {
            prop_assert!(agent.told_of(gpa(page)).flatten().is_some(), "{:#x} is forgotten", page);
        }
    }
}

#[test]
fn a_silent_agent_stays_silent_while_its_guest_is_paused_and_resumed() {
    let mut agent = Agent::default();
    agent.on_line(b"hello 1");
    agent.lose(Gpa::from_bits(0x8000_0000), 4096);
    let start = Instant::now();
    agent.advance(start);
    agent.advance(start + SILENCE);
    assert!(agent.take_has_failed());
    agent.resumed();
    agent.advance(start + SILENCE * 2);
    assert_eq!(agent.state(), SourceState::Silent, "it has not answered");
    agent.advance(start + SILENCE * 4);
    assert!(!agent.take_has_failed(), "it is said once");
}
