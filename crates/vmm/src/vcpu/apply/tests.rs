use seawall_kvm::{RegId, VcpuEntry};

use super::*;
use crate::backend::fake::{EINVAL, FakeVcpu, KernelInjection, Write};
use crate::sea::{self, Access};

/// Of an application, with FnV, SET UEO and WnR: both ESR_EL1 and FAR_EL1 have to be written after the kernel.
const REPORTED: u64 = 0x9200_1c50;
/// What the kernel writes by itself.
const BARE: u64 = 0x9200_0010;
const ENTERED_PC: u64 = 0x8000_0c00;

fn vcpu(injection: KernelInjection) -> FakeVcpu {
    let (mut vcpu, _) = FakeVcpu::new();
    vcpu.injection = injection;
    vcpu
}

/// At the vector that an abort of the guest's kernel goes to.
fn vcpu_at_vector(injection: KernelInjection) -> FakeVcpu {
    let mut vcpu = vcpu(injection);
    vcpu.registers
        .extend([(RegId::PC, VECTOR), (RegId::PSTATE, 0x3c5)]);
    vcpu
}

const VECTOR: u64 = 0x8000_0a00;

fn inject(vcpu: &mut FakeVcpu, plan: &InjectionPlan) -> Injection {
    let interrupted = interrupted(vcpu).expect("registers");
    super::inject(vcpu, plan, interrupted)
}

fn plan(esr: u64, fidelity: Fidelity) -> InjectionPlan {
    let gva = (esr & FNV == 0).then_some(Gva::from_bits(FakeVcpu::FAR));
    let access = Access {
        esr: Esr::from_bits(esr),
        gva,
    };
    sea::plan(access, Pstate::from_bits(0x6000_0000), fidelity)
}

fn restored() -> InjectionPlan {
    plan(REPORTED, Fidelity::Restored)
}

#[test]
fn what_the_kernel_wrote_is_replaced_by_what_the_processor_reported() {
    let mut vcpu = vcpu(KernelInjection::Enters);
    let injection = inject(&mut vcpu, &restored());
    assert_eq!(injection.method, InjectionMethod::VcpuEventsAndRegisters);
    assert_eq!(
        (injection.esr, injection.error),
        (Some(Esr::from_bits(REPORTED)), None)
    );
    assert_eq!(
        (vcpu.get(RegId::ESR_EL1), vcpu.get(RegId::FAR_EL1)),
        (REPORTED, 0)
    );
    assert_eq!(vcpu.get(RegId::PC), ENTERED_PC);
    assert_eq!(
        vcpu.writes,
        [RegId::ESR_EL1, RegId::FAR_EL1],
        "the two that were wrong"
    );
}

#[test]
fn a_syndrome_the_kernel_got_right_is_left_alone() {
    for plan in [plan(BARE, Fidelity::Restored), plan(REPORTED, Fidelity::Kvm)] {
        let mut vcpu = vcpu(KernelInjection::Enters);
        let injection = inject(&mut vcpu, &plan);
        assert_eq!(injection.method, InjectionMethod::VcpuEvents);
        assert_eq!(injection.esr, Some(Esr::from_bits(BARE)));
        assert_eq!(vcpu.get(RegId::FAR_EL1), FakeVcpu::FAR);
        assert_eq!(vcpu.writes, []);
    }
}

#[test]
fn an_injection_that_did_not_happen_goes_by_registers() {
    for injection in [KernelInjection::Ignores, KernelInjection::Refuses] {
        let mut vcpu = vcpu(injection);
        let done = inject(&mut vcpu, &restored());
        assert_eq!(
            done,
            Injection {
                method: InjectionMethod::Registers,
                esr: Some(Esr::from_bits(REPORTED)),
                error: None
            }
        );
        let expected = [
            (RegId::PC, ENTERED_PC),
            (RegId::PSTATE, 0x6000_03c5),
            (RegId::ELR_EL1, 0x40_1234),
            (RegId::SPSR_EL1, 0x6000_0000),
            (RegId::ESR_EL1, REPORTED),
            (RegId::FAR_EL1, 0),
        ];
        assert_eq!(
            expected.map(|(register, _)| (register, vcpu.get(register))),
            expected
        );
        // While PSTATE says AArch32, the kernel cuts the program counter to 32 bits.
        let position = |wanted| vcpu.writes.iter().position(|register| *register == wanted);
        assert!(position(RegId::PSTATE) < position(RegId::PC), "{:?}", vcpu.writes);
    }
}

#[test]
fn an_injection_that_happens_at_the_next_run_happens_once() {
    for mut vcpu in [
        vcpu(KernelInjection::EntersAtRun),
        vcpu_at_vector(KernelInjection::EntersAtRun),
    ] {
        let interrupted = (vcpu.get(RegId::PC), vcpu.get(RegId::PSTATE));
        let done = inject(&mut vcpu, &restored());
        assert_eq!(
            (done.method, done.error),
            (InjectionMethod::VcpuEventsAndRegisters, None)
        );
        vcpu.run(VcpuEntry::Retry).expect("it runs");
        assert_eq!(
            (vcpu.get(RegId::ELR_EL1), vcpu.get(RegId::SPSR_EL1)),
            interrupted,
            "a second entry would start from the handler"
        );
        assert_eq!(
            (vcpu.get(RegId::ESR_EL1), vcpu.get(RegId::FAR_EL1)),
            (REPORTED, 0)
        );
    }
}

#[test]
fn ease_moves_the_vector_of_an_entry_by_registers() {
    let mut vcpu = vcpu(KernelInjection::Ignores);
    vcpu.unreadable.clear();
    vcpu.registers.insert(RegId::SCTLR2_EL1, 1 << 5);
    assert_eq!(inject(&mut vcpu, &restored()).error, None);
    assert_eq!(vcpu.get(RegId::PC), ENTERED_PC + 0x180);
}

#[test]
fn a_processor_without_sctlr2_is_no_error_and_another_errno_is() {
    for (errno, entered) in [(Errno::NO_ENTRY, true), (EINVAL, false)] {
        let mut vcpu = vcpu(KernelInjection::Ignores);
        vcpu.unreadable = vec![(RegId::SCTLR2_EL1, errno)];
        let injection = inject(&mut vcpu, &restored());
        assert_eq!(injection.error.is_none(), entered, "{errno}");
        assert_eq!(vcpu.get(RegId::PC) == ENTERED_PC, entered);
    }
}

#[test]
fn an_access_at_the_vector_itself_gets_its_abort_once() {
    for (injection, method) in [
        (KernelInjection::Enters, InjectionMethod::VcpuEvents),
        (KernelInjection::Ignores, InjectionMethod::Registers),
        (KernelInjection::Refuses, InjectionMethod::Registers),
    ] {
        let mut vcpu = vcpu_at_vector(injection);
        // Of the guest's kernel, with an address: what the kernel writes by itself is complete.
        let gva = Some(Gva::from_bits(FakeVcpu::FAR));
        let access = Access {
            esr: Esr::from_bits(BARE),
            gva,
        };
        let plan = sea::plan(access, Pstate::from_bits(0x3c5), Fidelity::Restored);
        let done = inject(&mut vcpu, &plan);
        assert_eq!((done.method, done.error), (method, None), "{injection:?}");
        let expected = [
            (RegId::PC, VECTOR),
            (RegId::PSTATE, 0x3c5),
            (RegId::ELR_EL1, VECTOR),
            (RegId::SPSR_EL1, 0x3c5),
            (RegId::ESR_EL1, 0x9600_0010),
            (RegId::FAR_EL1, FakeVcpu::FAR),
        ];
        assert_eq!(
            expected.map(|(register, _)| (register, vcpu.get(register))),
            expected,
            "{injection:?}"
        );
    }
}

/// The writes of an entry by registers.
const WRITES_OF_ENTRY: usize = 6;

#[test]
fn a_guest_whose_abort_cannot_be_injected_is_as_it_was() {
    type Start = fn(KernelInjection) -> FakeVcpu;
    // They come after the sentinel, and the write that takes it away again, but where the kernel refuses at once.
    for (start, refused_before_entry) in [(vcpu as Start, 0), (vcpu_at_vector, 2)] {
        for (injection, before_entry) in [
            (KernelInjection::Ignores, 2),
            (KernelInjection::Refuses, refused_before_entry),
        ] {
            let writes = before_entry + WRITES_OF_ENTRY;
            for step in 0..writes {
                let mut vcpu = start(injection);
                let before = vcpu.registers.clone();
                vcpu.bad_write = Some((step, Write::Fails));
                let done = inject(&mut vcpu, &restored());
                let error = done.error.expect("a write failed");
                assert_eq!((done.esr, error.errno()), (None, Some(EINVAL)), "write {step}");
                // The one thing that cannot be undone is a saved ESR_EL1 that cannot be written.
                let mut after = vcpu.registers;
                if before_entry == 2 && step == 1 {
                    assert_eq!(after.insert(RegId::ESR_EL1, 0x5600_0000), Some(SENTINEL));
                }
                assert_eq!(after, before, "write {step}");
            }
            let mut vcpu = start(injection);
            inject(&mut vcpu, &restored());
            assert_eq!(vcpu.writes.len(), writes, "every write was made to fail");
        }
    }
}

#[test]
fn an_entry_that_cannot_be_seen_is_undone_and_reported() {
    let mut vcpu = vcpu(KernelInjection::Ignores);
    let before = vcpu.registers.clone();
    // ESR_EL1 is the fifth of the entry, which comes after the sentinel and the write that takes it away again.
    vcpu.bad_write = Some((6, Write::IsLost));
    let done = inject(&mut vcpu, &restored());
    assert_eq!(
        done.error,
        Some(InjectionError::NotObserved {
            expected: REPORTED,
            found: 0x5600_0000
        })
    );
    assert_eq!(done.method, InjectionMethod::Registers);
    assert_eq!(vcpu.registers, before);
}

#[test]
fn a_syndrome_that_cannot_be_restored_leaves_the_kernels_and_says_so() {
    for (step, write) in [(0, Write::Fails), (1, Write::Fails), (0, Write::IsLost)] {
        let mut vcpu = vcpu(KernelInjection::Enters);
        vcpu.bad_write = Some((step, write));
        let done = inject(&mut vcpu, &restored());
        assert_eq!(done.method, InjectionMethod::VcpuEventsAndRegisters);
        assert!(done.error.is_some() && done.esr.is_none(), "{done:?}");
        assert!(
            done.entered(),
            "the guest is in its handler: nobody may inject again"
        );
        assert_eq!(vcpu.get(RegId::PC), ENTERED_PC);
        assert_eq!(vcpu.get(RegId::ESR_EL1), BARE);
    }
}

#[test]
fn a_lost_write_of_the_syndrome_is_not_observed() {
    let mut vcpu = vcpu(KernelInjection::Enters);
    vcpu.bad_write = Some((0, Write::IsLost));
    assert_eq!(
        inject(&mut vcpu, &restored()).error,
        Some(InjectionError::NotObserved {
            expected: REPORTED,
            found: BARE
        })
    );
}

#[test]
fn nothing_is_tried_twice_when_nobody_knows_what_happened() {
    for (register, entered) in [(RegId::PC, false), (RegId::ESR_EL1, true)] {
        let mut vcpu = vcpu(KernelInjection::Enters);
        vcpu.unreadable_after_injection = Some(register);
        let done = inject(&mut vcpu, &restored());
        assert!(done.error.is_some());
        assert_eq!(done.entered(), entered, "without {register}");
        assert_eq!(
            (vcpu.get(RegId::PC), vcpu.get(RegId::ELR_EL1)),
            (ENTERED_PC, 0x40_1234),
            "a second entry would start from the handler"
        );
    }
}

#[test]
fn the_sentinel_goes_also_where_it_cannot_be_read_whether_it_was_replaced() {
    for injection in [
        KernelInjection::Enters,
        KernelInjection::EntersAtRun,
        KernelInjection::Ignores,
    ] {
        let mut vcpu = vcpu_at_vector(injection);
        let before = vcpu.get(RegId::ESR_EL1);
        vcpu.unreadable_after_injection = Some(RegId::ESR_EL1);
        let done = inject(&mut vcpu, &restored());
        assert_eq!(done.error.and_then(|error| error.errno()), Some(EINVAL));
        assert_eq!(vcpu.get(RegId::ESR_EL1), before, "{injection:?}");
    }
}

#[test]
fn a_syndrome_that_cannot_be_saved_is_not_overwritten() {
    let mut vcpu = vcpu_at_vector(KernelInjection::Enters);
    vcpu.unreadable.push((RegId::ESR_EL1, EINVAL));
    let before = vcpu.registers.clone();
    assert!(inject(&mut vcpu, &restored()).error.is_some());
    assert_eq!((vcpu.registers, vcpu.writes), (before, vec![]));
}

#[test]
fn the_sentinel_is_no_syndrome() {
    // Bits 63:56 of ESR_EL1 are reserved, and the kernel writes 32 bits.
    assert_ne!(SENTINEL >> 56, 0);
}
