//! What happens between a monitor and a guest of good will.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::ram::Access;
use super::*;

const SEA_ACK: u64 = REGION + 0x100;
const SEA_BLOCK: u64 = REGION + 0x2000;
const GSIV_ACK: u64 = REGION + 0x108;
const GSIV_BLOCK: u64 = REGION + 0x1000;

#[test]
fn a_region_is_free_at_boot() {
    let machine = Machine::boot();
    assert_eq!(machine.ram.peek_u64(REGION), SEA_BLOCK);
    assert_eq!(machine.ram.peek_u64(REGION + 8), GSIV_BLOCK);
    for (ack, block) in [(SEA_ACK, SEA_BLOCK), (GSIV_ACK, GSIV_BLOCK)] {
        assert_eq!((machine.ram.peek_u64(ack), machine.ram.peek_u32(block)), (1, 0));
    }
    for source in Source::ALL {
        assert_eq!(machine.ghes.state(source), SourceState::Usable);
    }
}

#[test]
fn an_abort_at_el0_finds_its_record() {
    let mut machine = Machine::boot();
    for number in [7, 8, 7] {
        assert_eq!(
            machine.by_exception((page(number), 4096), page(number) + 0x123),
            Telling::Written
        );
        assert_eq!(machine.guest.abort(&machine.ram), [page(number)]);
    }
    assert_eq!(machine.advance().again, None, "nothing is left to tell");
}

#[test]
fn who_looks_again_in_a_moment_is_not_woken_for_a_record() {
    let mut machine = Machine::boot();
    machine.by_exception((page(1), 4096), page(1));
    assert!(!machine.ghes.is_looked_at_soon(), "nobody has looked yet");
    machine.advance();
    assert!(machine.ghes.is_looked_at_soon());
    machine.guest.abort(&machine.ram);
    machine.by_exception((page(2), 4096), page(2));
    assert!(machine.ghes.is_looked_at_soon(), "as it was said before");
    machine.guest.abort(&machine.ram);
    machine.advance();
    assert!(
        !machine.ghes.is_looked_at_soon(),
        "there was nothing left to read"
    );

    machine.by_exception((page(3), 4096), page(3));
    machine.advance();
    for _source in Source::ALL {
        machine.pass(5000);
        machine.advance();
    }
    assert!(!machine.ghes.is_looked_at_soon(), "at a silent guest it is later");

    machine.ghes.place(&machine.ram);
    machine.by_exception((page(4), 4096), page(4));
    machine.advance();
    machine.ghes.place(&machine.ram);
    assert!(!machine.ghes.is_looked_at_soon(), "it boots again");
}

#[test]
fn memory_counts_as_read_when_the_guest_has_read_of_all_of_it() {
    let mut machine = Machine::boot();
    let is_read = |machine: &Machine| machine.ghes.is_read(Gpa::from_bits(page(1)), 2 * 4096);
    machine.by_exception((page(1), 4096), page(1));
    machine.lose(page(2), 4096);
    machine.advance();
    assert!(!machine.ghes.take_has_read() && !is_read(&machine));
    machine.guest.abort(&machine.ram);
    machine.advance();
    assert!(machine.ghes.take_has_read() && !is_read(&machine), "one of two");
    assert!(!machine.ghes.take_has_read(), "it is said once");
    machine.guest.interrupt(&machine.ram);
    machine.advance();
    assert!(machine.ghes.take_has_read() && is_read(&machine));
    machine.ghes.replaced(Gpa::from_bits(page(2)), 4096);
    assert!(!is_read(&machine), "it is fresh memory");
}

#[test]
fn the_status_is_written_last_and_only_two_words_are_read() {
    let mut machine = Machine::boot();
    machine.by_exception((page(1), 4096), page(1));
    machine.guest.abort(&machine.ram);
    machine.lose(page(2), 4096);
    machine.advance();
    let accesses = machine.ram.accesses();
    let places: Vec<(bool, u64, usize)> = accesses
        .iter()
        .map(|access| match access {
            Access::Read(gpa, len) => (false, *gpa, *len),
            Access::Write(gpa, bytes) => (true, *gpa, bytes.len()),
        })
        .collect();
    let record = |ack, block| {
        [
            (false, ack, 8),
            (false, block, 8),
            (true, ack, 8),
            (true, block + 8, 164),
            (true, block, 8),
        ]
    };
    let look = [(false, SEA_ACK, 8), (false, SEA_BLOCK, 8)];
    assert_eq!(
        places,
        [
            record(SEA_ACK, SEA_BLOCK).as_slice(),
            &look,
            &record(GSIV_ACK, GSIV_BLOCK),
        ]
        .concat()
    );
    assert_eq!(accesses[2], Access::Write(SEA_ACK, vec![0; 8]));
    assert_eq!(
        accesses[4],
        Access::Write(SEA_BLOCK, vec![0x11, 0, 0, 0, 0, 0, 0, 0])
    );
}

#[test]
fn a_vcpu_that_looks_at_any_moment_sees_no_record_or_a_whole_one() {
    let mut machine = Machine::boot();
    let seen: Rc<RefCell<Vec<Vec<u64>>>> = Rc::default();
    let mut other = Guest::boot(&machine.ram, system_table(&machine.ram));
    let found = Rc::clone(&seen);
    machine.ram.other_vcpu(move |ram| {
        let pages = other.abort(ram);
        if !pages.is_empty() {
            found.borrow_mut().push(pages);
        }
    });
    for number in 0..3 {
        assert_eq!(
            machine.by_exception((page(16 * number), 0x1_0000), page(16 * number + 5)),
            Telling::Written
        );
    }
    let seen = seen.borrow();
    assert_eq!(seen.len(), 3);
    for (number, pages) in (0..).zip(seen.iter()) {
        let whole: BTreeSet<u64> = (16 * number..16 * (number + 1)).map(page).collect();
        assert_eq!(pages.iter().copied().collect::<BTreeSet<u64>>(), whole);
    }
}

/// The system table lies behind the tables; the tests that need it again look for its signature.
fn system_table(ram: &Ram) -> u64 {
    let mut places = (TABLES..REGION).step_by(64);
    places
        .find(|place| ram.peek(*place, 8) == b"IBI SYST")
        .expect("a system table")
}

#[test]
fn a_record_that_was_not_read_is_never_overwritten() {
    let mut machine = Machine::boot();
    assert_eq!(machine.by_exception((page(1), 4096), page(1)), Telling::Written);
    assert_eq!(machine.by_exception((page(2), 4096), page(2)), Telling::Busy);
    let block = machine.ram.peek(SEA_BLOCK, 172);
    // The guest has copied it and says so a moment later, or the other way round.
    for (ack, status, expected) in [
        (0, 0, Telling::Busy),
        (1, 0x11, Telling::Busy),
        (1, 0, Telling::Written),
    ] {
        machine.ram.poke(SEA_ACK, &u64::to_le_bytes(ack));
        machine.ram.poke(SEA_BLOCK, &u32::to_le_bytes(status));
        assert_eq!(
            machine.ram.peek(SEA_BLOCK + 8, 164),
            block[8..],
            "{ack} {status:#x}"
        );
        assert_eq!(
            machine.by_exception((page(2), 4096), page(2)),
            expected,
            "{ack} {status:#x}"
        );
    }
    assert_eq!(machine.guest.abort(&machine.ram), [page(2)]);
}

#[test]
fn the_second_of_two_vcpus_waits_for_its_turn() {
    let mut machine = Machine::boot();
    assert_eq!(machine.by_exception((page(1), 4096), page(1)), Telling::Written);
    let clock = std::cell::Cell::new(machine.now);
    let Machine { ram, ghes, guest, .. } = &mut machine;
    let mut read = Vec::new();
    let mut pauses = 0;
    let waited = wait(
        clock.get() + ACK_LIMIT,
        || clock.get(),
        || {
            let lost = Gpa::from_bits(page(2));
            match ghes.tell_by_exception(ram, (lost, 4096), lost, clock.get()) {
                Telling::Busy => None,
                told => Some(told),
            }
        },
        |time| {
            clock.set(clock.get() + time);
            pauses += 1;
            // The first vCPU takes its abort now.
            if pauses == 3 {
                read.extend(guest.abort(ram));
            }
            ControlFlow::Continue(())
        },
    );
    read.extend(guest.abort(ram));
    assert_eq!((waited, pauses), (Waited::Done(Telling::Written), 3));
    assert_eq!(read, [page(1), page(2)]);
}

#[test]
fn a_page_of_64_kib_is_one_record_and_the_needed_page_comes_first() {
    let mut machine = Machine::boot();
    assert_eq!(
        machine.by_exception((page(16), 0x1_0000), page(21)),
        Telling::Written
    );
    let retired = machine.guest.abort(&machine.ram);
    assert_eq!((retired.len(), retired[0]), (16, page(21)));
    let all: BTreeSet<u64> = retired.into_iter().collect();
    assert_eq!(all, (16..32).map(page).collect());
    assert_eq!(machine.advance().again, None);
}

#[test]
fn of_a_huge_page_the_needed_part_is_told_by_exception_and_the_rest_by_interrupt() {
    let mut machine = Machine::boot();
    assert_eq!(
        machine.by_exception((page(512), 2 << 20), page(700)),
        Telling::Written
    );
    assert_eq!(machine.guest.abort(&machine.ram), [page(700)]);
    let start = machine.now;
    let records = machine.run_interrupts(usize::MAX);
    let told: Vec<u64> = records.iter().flatten().copied().collect();
    let expected: Vec<u64> = (512..1024).filter(|number| *number != 700).map(page).collect();
    assert_eq!(told, expected);
    assert_eq!(records.len(), 32, "15 pages are in the last one");
    // The guest's kernel is given the time to work off what its queue holds.
    assert!(machine.now - start >= Duration::from_millis(5 * (511 - 16)));
}

#[test]
fn the_largest_loss_of_one_record_fits_it_and_a_larger_one_is_split() {
    for (pages, first) in [(377, 377), (378, 1)] {
        let mut machine = Machine::boot();
        assert_eq!(
            machine.by_exception((page(0), pages * 4096), page(3)),
            Telling::Written
        );
        let retired = machine.guest.abort(&machine.ram);
        assert_eq!((retired.len(), retired[0]), (first, page(3)));
        let later: usize = machine.run_interrupts(usize::MAX).iter().map(Vec::len).sum();
        assert_eq!((first + later) as u64, pages);
    }
}

#[test]
fn pages_that_nobody_has_touched_are_told_of_at_once_and_once() {
    let mut machine = Machine::boot();
    for number in [9, 3, 9, 5] {
        machine.lose(page(number), 1);
    }
    let progress = machine.advance();
    assert!(progress.raise);
    assert_eq!(machine.guest.interrupt(&machine.ram), [page(9), page(3), page(5)]);
    machine.pass(1);
    assert_eq!(
        machine.advance(),
        Progress {
            raise: false,
            again: None
        }
    );
    machine.lose(page(3), 4096);
    assert!(!machine.advance().raise);
}

#[test]
fn a_hundred_pages_are_seven_records() {
    let mut machine = Machine::boot();
    for number in 0..100 {
        machine.lose(page(number * 7 % 100 * 3), 4096);
    }
    let records = machine.run_interrupts(usize::MAX);
    let lens: Vec<usize> = records.iter().map(Vec::len).collect();
    assert_eq!(lens, [16, 16, 16, 16, 16, 16, 4]);
    let expected: Vec<u64> = (0..100).map(|number| page(number * 7 % 100 * 3)).collect();
    assert_eq!(records.concat(), expected);
}

#[test]
fn a_page_that_a_kernel_waits_for_is_in_the_next_record() {
    let mut machine = Machine::boot();
    machine.lose(page(0), 2 << 20);
    assert_eq!(machine.run_interrupts(1)[0].len(), 16);
    machine.lose(page(900), 4096);
    machine.ghes.hurry(Gpa::from_bits(page(900) + 8));
    let before = machine.now;
    let record = &machine.run_interrupts(1)[0];
    assert_eq!(record[0], page(900));
    assert!(
        machine.now - before <= Duration::from_millis(8),
        "{:?}",
        machine.now - before
    );
}

#[test]
fn it_is_known_how_a_guest_was_told_of_a_page() {
    let mut machine = Machine::boot();
    let told = |source, acked| Some(Notification { source, acked });
    machine.lose(page(1), 4096);
    assert_eq!(machine.notification(page(1)), None);
    machine.advance();
    assert_eq!(machine.notification(page(1) + 8), told(Source::Gsiv, None));
    machine.guest.interrupt(&machine.ram);
    machine.advance();
    assert_eq!(machine.notification(page(1)), told(Source::Gsiv, Some(true)));
    assert_eq!(machine.notification(page(2)), None);

    machine.by_exception((page(1), 4096), page(1));
    assert_eq!(machine.notification(page(1)), told(Source::Sea, None));
    machine.guest.abort(&machine.ram);
    machine.advance();
    assert_eq!(machine.notification(page(1)), told(Source::Sea, Some(true)));
}

#[test]
fn a_page_that_waits_for_an_interrupt_is_told_by_exception_instead() {
    let mut machine = Machine::boot();
    machine.lose(page(4), 3 * 4096);
    assert_eq!(machine.by_exception((page(5), 4096), page(5)), Telling::Written);
    machine.guest.abort(&machine.ram);
    assert_eq!(machine.run_interrupts(9), [vec![page(4), page(6)]]);
}

#[test]
fn a_page_that_was_replaced_and_is_lost_again_is_told_of_again() {
    let mut machine = Machine::boot();
    for _ in 0..3 {
        machine.lose(page(5), 4096);
        assert_eq!(machine.run_interrupts(9), [vec![page(5)]]);
        machine.ghes.replaced(Gpa::from_bits(page(5)), 4096);
        assert_eq!(machine.notification(page(5)), None);
    }
}

#[test]
fn guest_ram_is_reached_by_guest_physical_addresses() {
    let memory = seawall_kvm::GuestMemory::create(1 << 20, None).expect("memory");
    let region = RAM_BASE + 0x4_0000;
    let mut ghes = Ghes::new(region);
    ghes.place(&memory.checked());
    assert_eq!(ghes.take_failed(), None);
    let mut bytes = [0; 16];
    memory.read(0x4_0000, &mut bytes).expect("inside");
    let address = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    assert_eq!((address(0), address(8)), (region + 0x2000, region + 0x1000));
}

#[test]
fn where_the_handler_of_sigbus_is_somebody_elses_nobody_is_told_by_a_record() {
    let memory = seawall_kvm::GuestMemory::create(1 << 20, None).expect("memory");
    let (region, page) = (RAM_BASE + 0x4_0000, Gpa::from_bits(RAM_BASE));
    let mut ghes = Ghes::new(region);
    ghes.place(&memory.checked());
    let replaced = Err(seawall_kvm::GuestMemoryError::SignalHandler);
    let told = ghes.tell_by_exception(&replaced, (page, 4096), page, Instant::now());
    assert_eq!(told, Telling::Refused);
    let mut status = [0xff; 8];
    memory.read(0x4_2000, &mut status).expect("inside");
    assert_eq!(status, [0; 8], "nothing is written");
}
