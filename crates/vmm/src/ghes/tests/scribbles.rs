//! A guest that writes anything anywhere in the region, at any moment, can hurt itself alone.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::ram::Access;
use super::*;

/// What the monitor is asked to do.
#[derive(Debug, Clone)]
enum Step {
    Lose(u64, u64),
    Hurry(u64),
    ByException(u64, u64, u64),
    Advance,
    Pass(u64),
    Replaced(u64, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let page = 0..400_u64;
    let step = prop_oneof![
        (page.clone(), 1..40_u64).prop_map(|(page, pages)| Step::Lose(page, pages)),
        page.clone().prop_map(Step::Hurry),
        (page.clone(), 1..400_u64, page.clone())
            .prop_map(|(page, pages, needed)| Step::ByException(page, pages, needed)),
        Just(Step::Advance),
        (0..7000_u64).prop_map(Step::Pass),
        (page, 1..40_u64).prop_map(|(page, pages)| Step::Replaced(page, pages)),
    ];
    prop::collection::vec(step, 1..40)
}

/// Writes of the guest: where in the region, and what. The words of the protocol are hit often.
fn scribbles() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    let words = prop::sample::select(vec![0, 8, 0x100, 0x108, 0x1000, 0x100c, 0x2000, 0x200c]);
    let place = prop_oneof![words, 0..REGION_SIZE - 16];
    let value = prop_oneof![
        Just(vec![0; 8]),
        Just(vec![1, 0, 0, 0, 0, 0, 0, 0]),
        prop::collection::vec(any::<u8>(), 1..16),
    ];
    prop::collection::vec((place, value), 1..64)
}

/// The pages of a record, from the bytes that the monitor wrote.
fn record(accesses: &[Access], number: usize) -> Option<Vec<u64>> {
    let Access::Write(_, body) = &accesses[number] else {
        return None;
    };
    let is_body = body.len() >= 164;
    is_body.then(|| {
        body[12..]
            .chunks(152)
            .map(|section| crate::little_endian::field(section, 88, 8))
            .collect()
    })
}

proptest! {
    #[test]
    fn a_guest_that_scribbles_over_the_region_hurts_itself_alone(
        steps in steps(),
        scribbles in scribbles(),
    ) {
        let mut machine = Machine::boot();
        let mut next = scribbles.into_iter().cycle();
        machine.ram.other_vcpu(move |ram| {
            if let Some((offset, bytes)) = next.next() {
                ram.poke(REGION + offset, &bytes);
            }
        });
        let mut lost = BTreeSet::new();
        for step in steps {
            machine.ram.forget_accesses();
            match step {
                Step::Lose(first, pages) => {
                    machine.lose(page(first), pages * PAGE_SIZE);
                    lost.extend((first..first + pages).map(page));
                }
                Step::Hurry(number) => machine.ghes.hurry(Gpa::from_bits(page(number))),
                Step::ByException(first, pages, needed) => {
                    let told = machine.by_exception((page(first), pages * PAGE_SIZE), page(needed));
                    prop_assert!(told != Telling::Refused || machine.ghes.state(Source::Sea) == SourceState::Silent);
                    lost.extend((first..first + pages).map(page));
                    lost.insert(page(needed));
                }
                Step::Advance => {
                    let progress = machine.advance();
                    prop_assert!(progress.again.is_none_or(|again| again >= ACK_PAUSE));
                }
                Step::Pass(ms) => machine.pass(ms),
                Step::Replaced(first, pages) => {
                    machine.ghes.replaced(Gpa::from_bits(page(first)), pages * PAGE_SIZE);
                }
            }
            let accesses = machine.ram.accesses();
            // Two looks and one record at most, whatever the guest does.
            prop_assert!(accesses.len() <= 7, "{:?}", accesses);
            for access in &accesses {
                match access {
                    Access::Read(gpa, len) => prop_assert!(
                        [0x100, 0x108, 0x1000, 0x2000].contains(&(gpa - REGION)) && *len == 8,
                        "{:#x}", gpa
                    ),
                    Access::Write(gpa, bytes) => {
                        let source = if *gpa >= REGION + 0x2000 { Source::Sea } else { Source::Gsiv };
                        let mut parts = source.parts(REGION).into_iter().chain(Source::Sea.parts(REGION));
                        let end = gpa + bytes.len() as u64;
                        prop_assert!(parts.any(|(start, len)| start <= *gpa && end <= start + len));
                    }
                }
            }
            for number in 0..accesses.len() {
                if let Some(pages) = record(&accesses, number) {
                    prop_assert!(pages.iter().all(|page| lost.contains(page)), "{:x?}", pages);
                }
            }
        }
        while let Some(FailedSource { reason, .. }) = machine.ghes.take_failed() {
            prop_assert_eq!(reason, FailedReason::Unread);
        }
    }

    #[test]
    fn a_guest_that_mends_its_ways_is_told_everything(
        ranges in prop::collection::vec((0..400_u64, 1..40_u64), 1..12),
        scribbles in scribbles(),
    ) {
        let mut machine = Machine::boot();
        for (offset, bytes) in scribbles {
            machine.ram.poke(REGION + offset, &bytes);
        }
        let mut lost = BTreeSet::new();
        for (first, pages) in ranges {
            machine.lose(page(first), pages * PAGE_SIZE);
            lost.extend((first..first + pages).map(page));
        }
        // Nothing was written before: what it wrote itself made the source busy or not.
        let first = machine.advance();
        let mut told = Vec::new();
        machine.ram.poke(REGION + 8, &(REGION + 0x1000).to_le_bytes());
        if first.raise {
            told.extend(machine.guest.interrupt(&machine.ram));
        }
        machine.ram.poke(REGION, &(REGION + 0x2000).to_le_bytes());
        machine.guest.free_all(&machine.ram);
        told.extend(machine.run_interrupts(usize::MAX).concat());
        prop_assert_eq!(told.len(), lost.len());
        prop_assert_eq!(told.into_iter().collect::<BTreeSet<u64>>(), lost);
    }
}
