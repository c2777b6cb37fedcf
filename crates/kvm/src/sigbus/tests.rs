use std::os::unix::process::ExitStatusExt;

use super::forged::{in_child, raise};
use super::*;

const fn signal(offset: u64, lsb: u8) -> MemoryErrorSignal {
    MemoryErrorSignal {
        code: SignalCode::ActionRequired,
        offset,
        lsb,
    }
}

#[test]
fn an_error_of_the_guest_is_found_by_the_run_it_interrupted() {
    install().expect("a handler");
    let slot = RunSlot::claim(0x10_0000, 0x1_0000);
    let run = |raise: &dyn Fn()| {
        slot.enter();
        raise();
        slot.leave();
        slot.seen()
    };
    let first = run(&|| raise(libc::BUS_MCEERR_AR, 0x10_3000, 12));
    assert_eq!(first, Some(signal(0x3000, 12)));
    assert_eq!(run(&|| {}), None, "it is told once");
    let last = run(&|| raise(libc::BUS_MCEERR_AR, 0x10_0000, 21));
    assert_eq!(last, Some(signal(0, 21)));
}

#[test]
fn what_is_not_the_guests_goes_to_the_handler_before_us() {
    for case in [
        "foreign address",
        "outside KVM_RUN",
        "another code",
        "a thread without a slot",
    ] {
        let test = "sigbus::tests::what_is_not_the_guests_goes_to_the_handler_before_us";
        let status = in_child(test, case, |case| {
            install().expect("a handler");
            let slot = RunSlot::claim(0x10_0000, 0x1_0000);
            match case {
                "foreign address" => {
                    slot.enter();
                    raise(libc::BUS_MCEERR_AR, 0x20_0000, 12);
                }
                "outside KVM_RUN" => raise(libc::BUS_MCEERR_AR, 0x10_3000, 12),
                "another code" => {
                    slot.enter();
                    raise(libc::BUS_ADRERR, 0x10_3000, 0);
                }
                _ => {
                    drop(slot);
                    raise(libc::BUS_MCEERR_AR, 0x10_3000, 12);
                }
            }
        });
        assert_eq!(
            status.signal(),
            Some(libc::SIGBUS),
            "{case}: the default action ends the process"
        );
    }
}

#[test]
fn a_slot_is_used_again() {
    let first = RunSlot::claim(0, 1);
    let place = ptr::from_ref(first.0);
    drop(first);
    let found = (0..64)
        .map(|_| RunSlot::claim(0, 1))
        .any(|slot| ptr::from_ref(slot.0) == place);
    assert!(found, "slots pile up");
}

#[test]
fn a_handler_that_was_installed_after_ours_is_noticed() {
    let test = "sigbus::tests::a_handler_that_was_installed_after_ours_is_noticed";
    let status = in_child(test, "", |_| {
        install().expect("a handler");
        assert_eq!(check(), Ok(()));
        // SAFETY: this process is the test's own, and raises no SIGBUS.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_IGN) };
        assert_eq!(check(), Err(KvmError::SignalHandler));
        assert_eq!(install(), Ok(()), "it was installed, once");
    });
    assert!(status.success(), "{status}");
}
