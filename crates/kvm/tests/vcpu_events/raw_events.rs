//! What the kernel does with every kind of `struct kvm_vcpu_events`.

use crate::raw_vcpu::{MASKED, PC, RawVcpu, Registers, SERROR_OPEN, VBAR};

const EINVAL: i32 = 22;
const ENOEXEC: i32 = 8;
const DATA_ABORT_AT_EL1: u64 = 0x9600_0010;
const SERROR: u64 = 0xbe00_0000;
/// The highest syndrome of an SError has 25 bits.
const TOO_LARGE: u64 = 1 << 25;

/// The registers of a data abort's handler, entered from there.
fn abort_of(pc: u64, pstate: u64) -> Registers {
    Registers {
        pc: VBAR + 0x200,
        pstate: MASKED,
        elr: pc,
        spsr: pstate,
        esr: DATA_ABORT_AT_EL1,
        far: 0,
    }
}

#[test]
fn events_that_are_all_zero_do_nothing() {
    let Some(vcpu) = RawVcpu::at(SERROR_OPEN) else {
        return;
    };
    let before = vcpu.registers();
    assert_eq!(vcpu.set(|_| {}), Ok(()));
    assert_eq!((vcpu.registers(), vcpu.pending_serror()), (before, None));
}

#[test]
fn padding_that_is_not_zero_is_refused_before_anything_is_injected() {
    let Some(vcpu) = RawVcpu::at(SERROR_OPEN) else {
        return;
    };
    let before = vcpu.registers();
    for index in 0..5 {
        let refused = vcpu.set(|events| {
            events.exception.ext_dabt_pending = 1;
            events.exception.pad[index] = 1;
        });
        assert_eq!(refused, Err(EINVAL), "pad[{index}]");
    }
    for index in 0..12 {
        let refused = vcpu.set(|events| {
            events.exception.ext_dabt_pending = 1;
            events.reserved[index] = 1;
        });
        assert_eq!(refused, Err(EINVAL), "reserved[{index}]");
    }
    assert_eq!((vcpu.registers(), vcpu.pending_serror()), (before, None));
}

#[test]
fn a_vcpu_that_is_not_initialised_takes_no_events() {
    let Some(vcpu) = RawVcpu::uninitialised() else {
        return;
    };
    assert_eq!(vcpu.set(|_| {}), Err(ENOEXEC));
}

#[test]
fn a_syndrome_of_more_than_25_bits_is_refused() {
    let Some(vcpu) = RawVcpu::at(SERROR_OPEN) else {
        return;
    };
    let before = vcpu.registers();
    let refused = vcpu.set(|events| {
        events.exception.serror_pending = 1;
        events.exception.serror_has_esr = 1;
        events.exception.serror_esr = TOO_LARGE;
    });
    assert_eq!(refused, Err(EINVAL));
    assert_eq!((vcpu.registers(), vcpu.pending_serror()), (before, None));
    // Without an SError nobody looks at its syndrome.
    let ignored = vcpu.set(|events| {
        events.exception.serror_has_esr = 1;
        events.exception.serror_esr = TOO_LARGE;
    });
    assert_eq!(ignored, Ok(()));
    assert_eq!((vcpu.registers(), vcpu.pending_serror()), (before, None));
}

#[test]
fn an_abort_beside_a_syndrome_that_is_refused_is_injected_all_the_same() {
    let Some(vcpu) = RawVcpu::at(SERROR_OPEN) else {
        return;
    };
    let refused = vcpu.set(|events| {
        events.exception.ext_dabt_pending = 1;
        events.exception.serror_pending = 1;
        events.exception.serror_has_esr = 1;
        events.exception.serror_esr = TOO_LARGE;
    });
    assert_eq!(refused, Err(EINVAL));
    let expected = (abort_of(PC, SERROR_OPEN), None);
    assert_eq!((vcpu.registers(), vcpu.pending_serror()), expected);
}

#[test]
fn a_pending_serror_cannot_be_taken_back_but_replaced() {
    let Some(vcpu) = RawVcpu::at(MASKED) else { return };
    let before = vcpu.registers();
    let pend = |esr| {
        vcpu.set(|events| {
            events.exception.serror_pending = 1;
            events.exception.serror_has_esr = 1;
            events.exception.serror_esr = esr;
        })
    };
    assert_eq!(pend(0x101_d1ed), Ok(()));
    assert_eq!(vcpu.set(|_| {}), Ok(()));
    assert_eq!(vcpu.pending_serror(), Some(0x101_d1ed));
    assert_eq!(pend(0x11), Ok(()));
    assert_eq!(vcpu.pending_serror(), Some(0x11));
    assert_eq!(vcpu.registers(), before, "it is masked");
}

#[test]
fn an_serror_that_is_not_masked_is_taken_at_once() {
    let Some(vcpu) = RawVcpu::at(SERROR_OPEN) else {
        return;
    };
    let taken = vcpu.set(|events| {
        events.exception.serror_pending = 1;
        events.exception.serror_has_esr = 1;
        events.exception.serror_esr = 0x1_d1ed;
    });
    assert_eq!(taken, Ok(()));
    let expected = Registers {
        pc: VBAR + 0x380,
        esr: SERROR | 0x1_d1ed,
        ..abort_of(PC, SERROR_OPEN)
    };
    assert_eq!((vcpu.registers(), vcpu.pending_serror()), (expected, None));
}

#[test]
fn of_an_abort_and_an_serror_at_once_the_abort_comes_first_and_masks_the_serror() {
    let Some(vcpu) = RawVcpu::at(SERROR_OPEN) else {
        return;
    };
    let both = vcpu.set(|events| {
        events.exception.ext_dabt_pending = 1;
        events.exception.serror_pending = 1;
        events.exception.serror_has_esr = 1;
        events.exception.serror_esr = 0x11;
    });
    assert_eq!(both, Ok(()));
    let expected = (abort_of(PC, SERROR_OPEN), Some(0x11));
    assert_eq!((vcpu.registers(), vcpu.pending_serror()), expected);
}

#[test]
fn a_second_abort_without_a_run_is_stacked_on_the_first_and_hides_it() {
    let Some(vcpu) = RawVcpu::at(SERROR_OPEN) else {
        return;
    };
    for expected in [abort_of(PC, SERROR_OPEN), abort_of(VBAR + 0x200, MASKED)] {
        assert_eq!(vcpu.set(|events| events.exception.ext_dabt_pending = 1), Ok(()));
        assert_eq!(vcpu.registers(), expected);
    }
}
