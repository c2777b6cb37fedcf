use std::sync::mpsc;

use seawall_arm64::Gpa;
use seawall_vmm::{Step, Vm};

use crate::harness::{INJECT, LIMIT, Machine, ask, guest, options};

const UART: u64 = 0x4000_2000;
const LSR: u64 = UART + 5;

fn read(register: u64) -> Step {
    Step::MmioRead {
        gpa: Gpa::from_bits(register),
        len: 1,
    }
}

fn print_value() -> Step {
    Step::Print("{x0}".to_owned())
}

#[test]
fn what_is_typed_before_the_start_reaches_a_guest_that_polls() {
    let steps = [read(LSR), read(LSR), print_value(), read(UART), print_value()];
    let mut machine = Machine::new(INJECT, vec![guest(steps)]);
    assert_eq!(machine.vm.console_input(b"A"), Ok(1));
    machine.start().expect("created");
    machine.until("output", |machine| machine.console.len() == 36);
    assert_eq!(
        String::from_utf8_lossy(&machine.console),
        "0x00000000000000610x0000000000000041"
    );
}

const MIB: usize = 1 << 20;

/// Lets a guest print with a reader that has looked once, and does not look again before the guest has printed all of it.
fn printed_to_a_slow_reader(bytes: usize) -> Machine {
    let steps = [Step::Print("x".repeat(bytes)), read(LSR), print_value()];
    let mut machine = Machine::new(INJECT, vec![guest(steps)]);
    assert!(machine.vm.take_console(1).is_empty());
    machine.start().expect("created");
    let accesses = (bytes + 1 + "0x0000000000000000".len()) as u64;
    machine.until_untaken("output", |machine| {
        let exits = machine.vm.stats().exits;
        exits.contains(&("mmio", accesses))
    });
    machine
}

#[test]
fn a_guest_finds_its_transmitter_busy_where_the_reader_is_too_slow() {
    for (bytes, line_status) in [(MIB - 1, b"0x0000000000000060"), (MIB, b"0x0000000000000000")] {
        let machine = printed_to_a_slow_reader(bytes);
        let console = machine.vm.take_console(usize::MAX);
        assert_eq!(console.len(), bytes + line_status.len());
        assert_eq!(&console[bytes..], line_status);
        assert_eq!(machine.vm.stats().console_bytes_lost, 0);
    }
}

#[test]
fn what_a_guest_prints_to_a_busy_transmitter_is_kept_up_to_a_bound_and_the_rest_is_counted() {
    let machine = printed_to_a_slow_reader(2 * MIB + 3);
    let console = machine.vm.take_console(usize::MAX);
    assert_eq!(console, vec![b'x'; 2 * MIB]);
    assert_eq!(machine.vm.stats().console_bytes_lost, 3 + 18);
}

#[test]
fn output_that_nobody_reads_is_kept_up_to_a_bound_and_the_rest_is_counted() {
    let steps = [Step::Print("x".repeat(MIB + 7)), Step::Print("end".to_owned())];
    let mut machine = Machine::new(INJECT, vec![guest(steps)]);
    machine.start().expect("created");
    machine.until_untaken("loss", |machine| machine.vm.stats().console_bytes_lost == 10);
    let console = machine.vm.take_console(usize::MAX);
    assert_eq!(console.len(), MIB);
    assert!(console.ends_with(b"xend"));
}

#[test]
fn a_reader_that_leaves_is_as_one_that_never_was() {
    let machine = printed_to_a_slow_reader(MIB);
    machine.vm.release_console();
    assert_eq!(machine.vm.stats().console_bytes_lost, 18);
    assert!(
        machine
            .vm
            .take_console(usize::MAX)
            .ends_with(b"x0x0000000000000000")
    );
    machine.close().expect("closes");
    machine.vm.release_console();
}

#[test]
fn a_writer_whose_input_did_not_fit_is_woken_when_the_guest_has_taken_it() {
    let steps = [read(LSR), read(LSR)].into_iter();
    let steps = steps.chain((0..300).flat_map(|_| [read(UART), print_value()]));
    let (sender, woken) = mpsc::channel();
    let wake = Box::new(move || sender.send(()).unwrap_or(()));
    let options = options(INJECT, vec![guest(steps)]);
    let vm = ask(|reply| Vm::create(options, wake, None, reply)).expect("options that work");
    let mut rest = [b'a'; 300].as_slice();
    rest = &rest[vm.console_input(rest).expect("open")..];
    assert_eq!((rest.len(), vm.console_input(rest)), (44, Ok(0)));
    assert_eq!(vm.console_input_room(), 0);
    ask(|reply| vm.start(reply)).expect("created");
    while !rest.is_empty() {
        woken.recv_timeout(LIMIT).expect("woken");
        drop(vm.take_events());
        // Also by the start: then the guest has not taken everything yet.
        let room = vm.console_input_room();
        let taken = vm.console_input(rest).expect("open");
        assert!(matches!((room, taken), (0, 0 | 44) | (256, 44)), "{room} {taken}");
        rest = &rest[taken..];
    }
    assert!(ask(|reply| vm.close(reply)).is_ok());
    assert_eq!(vm.console_input_room(), 0);
}
