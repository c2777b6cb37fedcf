//! A guest and a kernel that leave `KVM_RUN` for any reason, in any order.

use proptest::prelude::*;
use seawall_arm64::Pstate;

use super::*;
use crate::event::Event;
use crate::sea::VerdictReason;

fn gpas() -> impl Strategy<Value = Gpa> {
    prop_oneof![
        4 => (0..0x20_0000_u64).prop_map(|offset| Gpa::from_bits(0x8000_0000 + offset)),
        1 => (0x4000_2000..0x4000_2010_u64).prop_map(Gpa::from_bits),
        1 => any::<u64>().prop_map(Gpa::from_bits),
    ]
}

fn syndromes() -> impl Strategy<Value = Esr> {
    prop_oneof![
        3 => prop::sample::select(vec![0x9200_0010, 0x9200_0050, 0x8200_0010, 0x8200_0014, 0x9200_1010, 0x9200_0410]),
        1 => any::<u64>(),
    ]
    .prop_map(Esr::from_bits)
}

pub(super) fn exits() -> impl Strategy<Value = VcpuExit> {
    prop_oneof![
        4 => (syndromes(), prop::option::of(any::<u64>()), prop::option::of(gpas())).prop_map(|(esr, gva, gpa)| {
            VcpuExit::ArmSea(SeaExit { esr, gva: gva.map(Gva::from_bits), gpa })
        }),
        4 => (0..0x20_0000_u64, any::<u8>(), 0..3_usize).prop_map(|(offset, lsb, code)| {
            let codes = [SignalCode::ActionRequired, SignalCode::ActionOptional, SignalCode::ObjectError];
            VcpuExit::MemoryErrorSignal(MemoryErrorSignal { code: codes[code], offset, lsb })
        }),
        2 => (gpas(), any::<[u8; 8]>(), 0..9_u8).prop_map(|(gpa, data, len)| VcpuExit::MmioWrite { gpa, data, len }),
        2 => (gpas(), 0..9_u8).prop_map(|(gpa, len)| VcpuExit::MmioRead { gpa, len }),
        2 => (gpas(), any::<u64>()).prop_map(|(gpa, esr_iss)| VcpuExit::Nisv { gpa, esr_iss }),
        1 => (gpas(), any::<u64>()).prop_map(|(gpa, esr_iss)| VcpuExit::Ldst64b { gpa, esr_iss }),
        2 => (gpas(), any::<u64>(), 1..140_i32).prop_map(|(gpa, size, errno)| {
            VcpuExit::MemoryFault { flags: 0, gpa, size, errno: Errno(errno) }
        }),
        1 => Just(VcpuExit::Interrupted),
        1 => (any::<u32>(), any::<[u64; 4]>()).prop_map(|(reason, payload)| VcpuExit::Unknown { reason, payload }),
    ]
}

/// Whether a number is told before the one in front of it.
fn is_out_of_order(events: &[Event]) -> bool {
    events.windows(2).any(|pair| pair[0].seq >= pair[1].seq)
}

proptest! {
    #[test]
    fn whatever_the_exits_are_every_error_is_counted_once_and_told(
        exits in prop::collection::vec(exits(), 1..40),
        pstate in prop_oneof![3 => prop::sample::select(vec![0_u64, 4, 5, 0x10, 9]), 1 => any::<u64>()],
        unclaimed in prop::sample::select(vec![
            UnclaimedAccessPolicy::Abort,
            UnclaimedAccessPolicy::ReadZero,
            UnclaimedAccessPolicy::Stop,
        ]),
        injection in prop::sample::select(vec![
            KernelInjection::Enters,
            KernelInjection::EntersAtRun,
            KernelInjection::Ignores,
            KernelInjection::Refuses,
        ]),
        pauses in any::<bool>(),
    ) {
        let policy = if pauses { RecoverablePolicy::Pause } else { RecoverablePolicy::Inject };
        let mut context = context(policy);
        context.unclaimed = unclaimed;
        let mut vcpu = FakeVcpu::with_exits(exits);
        vcpu.registers.insert(RegId::PSTATE, Pstate::from_bits(pstate).bits());
        vcpu.injection = injection;
        let mut position = VcpuPosition::default();
        // Each time it parks somebody lets it go on, as if nothing were.
        for _ in 0..50 {
            if run(&mut vcpu, &mut position, &context) == ParkReason::Requested {
                break;
            }
        }
        let events = context.outbox.take_events();
        prop_assert!(!is_out_of_order(&events));
        let told = |resumed: bool| {
            let failures = events.iter().filter_map(|event| match &event.kind {
                EventKind::MemoryFailure(failure) => Some(matches!(failure.reason, VerdictReason::Resumed { .. })),
                _ => None,
            });
            failures.filter(|told| *told == resumed).count() as u64
        };
        prop_assert_eq!(told(false), context.ledger().totals().failures);
        prop_assert_eq!(told(true) + context.pending().len() as u64, waited(&events));
    }
}

/// How many failures were said to wait.
fn waited(events: &[Event]) -> u64 {
    let waits = events
        .iter()
        .filter(|event| matches!(&event.kind, EventKind::MemoryFailure(failure) if failure.waits()));
    waits.count() as u64
}
