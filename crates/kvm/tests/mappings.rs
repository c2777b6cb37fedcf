//! A process that loses memory without end keeps mappings for everything else. In a process of its own: it uses up all that
//! lost pages may have. Where userfaultfd is refused, or there
//! are more mappings than pages here, one line starting with `SKIPPED` says so.
#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::io::Write;

use seawall_kvm::{Errno, GuestMemory, Quarantine};

const PAGE: usize = 4096;
const MEMORIES: usize = 4;
/// Of each memory every other page is lost, so that each is a mapping of its own: three times as many mappings as pages, and
/// more than the kernel's default of `vm.max_map_count`.
const LOST: usize = 7000;

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    maps.lines().count()
}

fn most_mappings() -> usize {
    let most = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("the limit");
    most.trim().parse().expect("a number")
}

/// Loses as many pages as the process lets it; says how many.
fn lose_pages(memories: &[GuestMemory], quarantine: &Quarantine) -> usize {
    let pages = (0..LOST).flat_map(|page| memories.iter().map(move |memory| (page, memory)));
    let lost = pages.filter(|(page, memory)| {
        let (offset, len) = ((2 * page * PAGE) as u64, PAGE as u64);
        let taken = memory
            .hold(offset, len)
            .and_then(|()| quarantine.take(memory, offset, len));
        if let Err(error) = &taken {
            assert_eq!(error.errno().and_then(Errno::name), Some("ENOMEM"), "{error}");
        }
        taken.is_ok()
    });
    lost.count()
}

#[test]
fn lost_pages_leave_half_of_the_mappings_of_their_process_to_others_and_give_theirs_back() {
    let skipped = if most_mappings() > 65_530 {
        Some(format!("vm.max_map_count is {}", most_mappings()))
    } else {
        Quarantine::open().err().map(|error| error.to_string())
    };
    if let Some(reason) = skipped {
        writeln!(std::io::stdout(), "\nSKIPPED mappings: {reason}").expect("somebody reads");
        return;
    }
    let before = mappings();
    for round in 0..2 {
        let quarantine = Quarantine::open().expect("as before");
        let memories = [(); MEMORIES].map(|()| GuestMemory::create(2 * LOST * PAGE, None).expect("memory"));
        let lost = lose_pages(&memories, &quarantine);
        let more = mappings() - before;
        // A thread of the test's runner may have come or gone.
        assert!(
            more < most_mappings() / 2 + 100,
            "{more} mappings in round {round}"
        );
        assert!(lost > most_mappings() / 6 - 100, "{lost} pages in round {round}");
        let [memory, ..] = &memories;
        memory
            .replace(0, PAGE as u64)
            .expect("a mapping of its own already");
        let last = (2 * LOST - 1) * PAGE;
        let error = memory
            .replace(last as u64, PAGE as u64)
            .expect_err("one more mapping");
        assert_eq!(error.errno().and_then(Errno::name), Some("ENOMEM"), "{error}");
    }
    assert!(mappings() < before + 100, "{} mappings", mappings());
}
