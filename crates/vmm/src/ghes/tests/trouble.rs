//! Guests that do not answer, and regions that are lost themselves.

use super::*;

const SEA_BLOCK: u64 = REGION + 0x2000;
const GSIV_BLOCK: u64 = REGION + 0x1000;

#[test]
fn a_guest_that_reads_nothing_is_silent_after_five_seconds() {
    let mut machine = Machine::boot();
    machine.lose(page(1), 4096);
    assert!(machine.advance().raise);
    assert_eq!(machine.by_exception((page(2), 4096), page(2)), Telling::Written);
    machine.lose(page(3), 4096);
    machine.pass(4999);
    let progress = machine.advance();
    assert_eq!(progress.again, Some(Duration::from_millis(1)));
    assert_eq!(machine.by_exception((page(3), 4096), page(3)), Telling::Busy);
    machine.pass(1);
    let progress = machine.advance();
    assert_eq!(
        (progress.raise, progress.again),
        (false, Some(Duration::from_secs(1)))
    );
    let mut silent = Vec::new();
    while let Some(FailedSource { source, reason }) = machine.ghes.take_failed() {
        assert_eq!(reason, FailedReason::Unread);
        silent.push(source);
    }
    assert_eq!(silent, Source::ALL);
    for source in Source::ALL {
        assert_eq!(machine.ghes.state(source), SourceState::Silent);
    }
    assert_eq!(machine.by_exception((page(3), 4096), page(3)), Telling::Refused);
    let told = |source| {
        Some(Notification {
            source,
            acked: Some(false),
        })
    };
    assert_eq!(machine.notification(page(1)), told(Source::Gsiv));
    assert_eq!(machine.notification(page(2)), told(Source::Sea));
}

#[test]
fn a_guest_that_was_silent_and_wakes_up_is_told_the_rest() {
    let mut machine = Machine::boot();
    for number in 0..20 {
        machine.lose(page(number), 4096);
    }
    machine.by_exception((page(50), 4096), page(50));
    machine.advance();
    machine.pass(60_000);
    machine.advance();
    assert_eq!(machine.ghes.state(Source::Gsiv), SourceState::Silent);
    assert_eq!(machine.guest.interrupt(&machine.ram).len(), 16);
    machine.guest.abort(&machine.ram);
    assert_eq!(
        machine.run_interrupts(9),
        [(16..20).chain([50]).map(page).collect::<Vec<u64>>()],
        "that of the abort was given up, and told twice"
    );
    for source in Source::ALL {
        assert_eq!(machine.ghes.state(source), SourceState::Usable, "{source:?}");
    }
    assert_eq!(machine.by_exception((page(51), 4096), page(51)), Telling::Written);
}

#[test]
fn a_silent_source_whose_page_was_replaced_recovers() {
    let mut machine = Machine::boot();
    machine.by_exception((page(2), 4096), page(2));
    machine.pass(5000);
    machine.advance();
    assert_eq!(machine.ghes.state(Source::Sea), SourceState::Silent);
    machine.ghes.replaced(Gpa::from_bits(page(2)), 4096);
    machine.guest.abort(&machine.ram);
    machine.advance();
    assert_eq!(machine.ghes.state(Source::Sea), SourceState::Usable);
}

#[test]
fn a_source_on_a_lost_page_is_disabled_and_says_so_once() {
    for (lost, source, other) in [
        (SEA_BLOCK, Source::Sea, Source::Gsiv),
        (GSIV_BLOCK, Source::Gsiv, Source::Sea),
    ] {
        let mut machine = Machine::boot();
        machine.ram.lose_page(lost);
        for number in 0..3 {
            machine.lose(page(number), 4096);
            machine.advance();
            machine.by_exception((page(10 + number), 4096), page(10 + number));
            machine.guest.interrupt(&machine.ram);
            machine.guest.abort(&machine.ram);
            machine.pass(1000);
        }
        let reason = FailedReason::Lost;
        assert_eq!(machine.ghes.take_failed(), Some(FailedSource { source, reason }));
        assert_eq!(machine.ghes.take_failed(), None);
        assert_eq!(machine.ghes.state(source), SourceState::Disabled);
        assert_eq!(machine.ghes.state(other), SourceState::Usable);
        let told = |source| {
            Some(Notification {
                source,
                acked: Some(true),
            })
        };
        match source {
            Source::Sea => assert_eq!(machine.notification(page(0)), told(Source::Gsiv)),
            Source::Gsiv => {
                assert_eq!(machine.notification(page(0)), None);
                assert_eq!(machine.advance().again, None, "there is nothing to wait for");
            }
        }
    }
}

#[test]
fn a_record_that_meets_a_lost_page_half_way_is_never_shown() {
    let mut machine = Machine::boot();
    // The second page of the block.
    machine.ram.lose_page(SEA_BLOCK + 4096);
    assert_eq!(machine.by_exception((page(1), 4096), page(1)), Telling::Written);
    machine.guest.abort(&machine.ram);
    assert_eq!(
        machine.by_exception((page(64), 64 * 4096), page(64)),
        Telling::Refused
    );
    assert_eq!(machine.ghes.state(Source::Sea), SourceState::Disabled);
    assert_eq!(machine.guest.abort(&machine.ram), [0; 0]);
    machine.ram.forget_accesses();
    assert_eq!(machine.by_exception((page(1), 4096), page(1)), Telling::Refused);
    assert!(machine.ram.accesses().is_empty(), "nothing is tried again");
    assert_eq!(machine.notification(page(64)), None);
    let told: usize = machine.run_interrupts(9).iter().map(Vec::len).sum();
    assert_eq!(told, 64, "by interrupt");
}

#[test]
fn a_region_that_is_known_to_be_lost_is_not_touched() {
    for (lost, len, disabled) in [
        (REGION, 4096, vec![Source::Sea, Source::Gsiv]),
        (GSIV_BLOCK + 8, 1, vec![Source::Gsiv]),
        (SEA_BLOCK + 0xd000, 4096, vec![Source::Sea]),
        (REGION & !0x1f_ffff, 2 << 20, vec![Source::Sea, Source::Gsiv]),
        (REGION - 4096, 4096, vec![]),
        (REGION + REGION_SIZE, 4096, vec![]),
    ] {
        let mut machine = Machine::boot();
        machine.lose(lost, len);
        let mut told = Vec::new();
        while let Some(FailedSource { source, reason }) = machine.ghes.take_failed() {
            assert_eq!(reason, FailedReason::Lost);
            told.push(source);
        }
        assert_eq!(told, disabled);
        let touched = |machine: &Machine| machine.ram.accesses().len();
        if disabled.len() == 2 {
            machine.advance();
            assert_eq!(machine.by_exception((page(1), 4096), page(1)), Telling::Refused);
            assert_eq!(touched(&machine), 0);
        }
        // What lies in the region is not the guest's to retire.
        let told = machine.run_interrupts(usize::MAX).concat();
        assert!(
            told.iter()
                .all(|page| !(REGION..REGION + REGION_SIZE).contains(page))
        );
    }
}

#[test]
fn a_guest_that_boots_again_starts_anew() {
    let mut machine = Machine::boot();
    machine.lose(page(0), 64 * 4096);
    machine.advance();
    machine.by_exception((page(99), 4096), page(99));
    machine.ram.lose_page(SEA_BLOCK);
    machine.by_exception((page(98), 4096), page(98));
    assert_eq!(machine.ghes.state(Source::Sea), SourceState::Disabled);
    // It works off one record, and there is another one.
    machine.guest.interrupt(&machine.ram);
    machine.advance();
    machine.ghes.hurry(Gpa::from_bits(page(60)));
    machine.pass(5);
    assert!(machine.advance().raise);

    machine.ram.replace_pages();
    machine.ghes.place(&machine.ram);
    assert_eq!(machine.ghes.take_failed(), None);
    assert_eq!(
        machine.advance(),
        Progress {
            raise: false,
            again: None
        }
    );
    for source in Source::ALL {
        assert_eq!(machine.ghes.state(source), SourceState::Usable);
    }
    assert_eq!(machine.notification(page(0)), None);
    machine.lose(page(0), 16 * 4096);
    assert!(
        machine.advance().raise,
        "there is nothing that it has to work off"
    );
    assert_eq!(machine.guest.interrupt(&machine.ram).len(), 16);
    assert_eq!(machine.by_exception((page(99), 4096), page(99)), Telling::Written);
    assert_eq!(machine.guest.abort(&machine.ram), [page(99)]);
}

#[test]
fn a_region_that_cannot_be_written_at_boot_is_disabled() {
    let mut machine = Machine::boot();
    machine.ram.lose_page(REGION);
    machine.ghes.place(&machine.ram);
    let mut disabled = Vec::new();
    while let Some(source) = machine.ghes.take_failed() {
        disabled.push(source.source);
    }
    assert_eq!(disabled, Source::ALL);
    machine.lose(page(1), 4096);
    assert_eq!(
        machine.advance(),
        Progress {
            raise: false,
            again: None
        }
    );
    assert_eq!(machine.by_exception((page(1), 4096), page(1)), Telling::Refused);
}

#[test]
fn nothing_is_told_before_the_region_was_written() {
    let ram = Ram::new(REGION, REGION_SIZE);
    let mut ghes = Ghes::new(REGION);
    ghes.lose(Gpa::from_bits(page(1)), 4096);
    let now = Instant::now();
    assert_eq!(
        ghes.advance(&ram, now),
        Progress {
            raise: false,
            again: None
        }
    );
    let lost = Gpa::from_bits(page(1));
    assert_eq!(
        ghes.tell_by_exception(&ram, (lost, 4096), lost, now),
        Telling::Refused
    );
    assert!(ram.accesses().is_empty());
}

#[test]
fn a_source_that_a_guest_makes_busy_itself_is_waited_for_as_long_as_any_other() {
    let mut machine = Machine::boot();
    machine.lose(page(1), 4096);
    assert_eq!(machine.run_interrupts(9), [vec![page(1)]]);
    machine.pass(60_000);
    machine.ram.poke(REGION + 0x108, &[0; 8]);
    machine.lose(page(2), 4096);
    for (ms, state) in [
        (0, SourceState::Usable),
        (4999, SourceState::Usable),
        (1, SourceState::Silent),
    ] {
        machine.pass(ms);
        assert!(!machine.advance().raise);
        assert_eq!(machine.ghes.state(Source::Gsiv), state);
    }
}

#[test]
fn a_region_in_fresh_memory_works_as_before_and_tells_again_what_was_not_read() {
    for lost in [SEA_BLOCK, GSIV_BLOCK, REGION] {
        let mut machine = Machine::boot();
        machine.by_exception((page(1), 4096), page(1));
        machine.lose(page(2), 4096);
        machine.advance();
        assert!(machine.ghes.holds(Gpa::from_bits(lost), 4096));
        machine.lose(lost, 4096);
        machine.ram.replace_pages();
        machine.ram.poke(lost, &[0; 4096]);
        machine.ghes.mend(&machine.ram, Gpa::from_bits(lost), 4096);
        assert_eq!(machine.ghes.take_failed(), None, "nothing is left of it");
        for source in Source::ALL {
            assert_eq!(machine.ghes.state(source), SourceState::Usable);
        }
        let mut told = machine.guest.abort(&machine.ram);
        told.extend(machine.guest.interrupt(&machine.ram));
        told.extend(machine.run_interrupts(9).concat());
        told.sort_unstable();
        assert_eq!(told, [page(1), page(2)], "each once, wherever its record was");
        assert_eq!(machine.by_exception((page(3), 4096), page(3)), Telling::Written);
        assert_eq!(machine.guest.abort(&machine.ram), [page(3)]);
    }
}

#[test]
fn memory_that_is_not_of_the_region_alone_is_the_guests() {
    let machine = Machine::boot();
    for (gpa, len) in [
        (REGION - 4096, 8192),
        (REGION - 4096, 4096),
        (REGION & !0x1f_ffff, 2 << 20),
    ] {
        assert!(!machine.ghes.holds(Gpa::from_bits(gpa), len), "{gpa:#x}");
    }
}

#[test]
fn pages_of_a_record_that_cannot_be_written_are_told_of_when_it_can() {
    let mut machine = Machine::boot();
    machine.lose(page(1), 4096);
    let mut reads = 0;
    machine.ram.other_vcpu(move |ram| {
        reads += 1;
        if reads == 2 {
            // The source was looked at; now the memory of its block goes bad.
            ram.lose_page(GSIV_BLOCK);
        }
    });
    assert!(!machine.advance().raise);
    machine.ram.other_vcpu(|_| {});
    assert_eq!(machine.ghes.state(Source::Gsiv), SourceState::Disabled);
    machine.ram.replace_pages();
    machine.ghes.mend(&machine.ram, Gpa::from_bits(GSIV_BLOCK), 4096);
    assert_eq!(machine.ghes.state(Source::Gsiv), SourceState::Usable);
    assert_eq!(machine.run_interrupts(9).concat(), [page(1)]);
}

#[test]
fn a_record_that_the_guest_reads_stays_as_it_is_while_another_source_is_mended() {
    let mut machine = Machine::boot();
    machine.by_exception((page(1), 4096), page(1));
    machine.lose(page(2), 4096);
    assert!(machine.advance().raise);
    // Another CPU of the guest has copied the record by interrupt, and has not said so yet.
    machine.ram.poke(SEA_BLOCK, &[0; 4096]);
    machine.ghes.mend(&machine.ram, Gpa::from_bits(SEA_BLOCK), 4096);
    machine.advance();
    // It says so now, in its order.
    machine.ram.poke(GSIV_BLOCK, &[0; 4]);
    machine.ram.poke(REGION + 0x108, &1_u64.to_le_bytes());
    machine.advance();
    let is_read = |number| machine.ghes.is_read(Gpa::from_bits(page(number)), 4096);
    assert_eq!((is_read(1), is_read(2)), (false, true));
}

#[test]
fn what_was_told_by_exception_and_never_read_is_told_by_interrupt() {
    let mut machine = Machine::boot();
    machine.by_exception((page(1), 4096), page(1));
    machine.pass(5000);
    assert!(machine.advance().raise);
    assert_eq!(machine.ghes.state(Source::Sea), SourceState::Silent);
    assert_eq!(machine.guest.interrupt(&machine.ram), [page(1)]);
}

#[test]
fn a_record_that_nobody_can_look_after_any_more_counts_as_not_read() {
    let mut machine = Machine::boot();
    machine.lose(page(1), 4096);
    assert!(machine.advance().raise);
    machine.lose(REGION & !0x1f_ffff, 2 << 20);
    assert_eq!(machine.ghes.state(Source::Gsiv), SourceState::Disabled);
    let told = machine.notification(page(1)).map(|told| told.acked);
    assert_eq!((machine.advance().again, told), (None, Some(Some(false))));
}
