//! A guest that has any registers and writes anything anywhere, also over the error records that it is told by.

use proptest::prelude::*;
use seawall_kvm::GuestMemory;

use super::arbitrary::exits;
use super::told::in_the_guests_kernel;
use super::*;
use crate::ghes::REGION_SIZE;
use crate::memory_layout::RAM_BASE;
use crate::sea::VerdictReason;

const RAM: u64 = 1 << 20;
const REGION: u64 = RAM_BASE + RAM / 2;

/// Some exits of a vCPU, and what its guest has done before them.
#[derive(Debug, Clone)]
struct Turn {
    registers: Vec<(RegId, u64)>,
    writes: Vec<(u64, Vec<u8>)>,
    exits: Vec<VcpuExit>,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let register = prop::sample::select(vec![
        RegId::PC,
        RegId::PSTATE,
        RegId::VBAR_EL1,
        RegId::SCTLR_EL1,
        RegId::ESR_EL1,
        RegId::FAR_EL1,
    ]);
    let value = prop_oneof![
        1 => any::<u64>(),
        2 => prop::sample::select(vec![0, 5, 0x10, u64::MAX, RAM_BASE, 0x8000_0c00]),
    ];
    let place = prop_oneof![
        1 => 0..RAM - 16,
        2 => RAM / 2..RAM / 2 + REGION_SIZE,
        4 => prop::sample::select(vec![0, 8, 0x100, 0x108, 0x1000, 0x2000]).prop_map(|offset| RAM / 2 + offset),
    ];
    let bytes = prop_oneof![
        Just(vec![0; 8]),
        Just(vec![1, 0, 0, 0, 0, 0, 0, 0]),
        // Where nothing of the monitor's is.
        Just((RAM_BASE + 0x3000).to_le_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 1..16),
    ];
    let turn = (
        prop::collection::vec((register, value), 0..4),
        prop::collection::vec((place, bytes), 0..8),
        prop::collection::vec(exits(), 1..6),
    );
    let turn = turn.prop_map(|(registers, writes, exits)| Turn {
        registers,
        writes,
        exits,
    });
    prop::collection::vec(turn, 1..6)
}

fn all(memory: &GuestMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    memory.read(0, &mut bytes).expect("all of it is RAM");
    bytes
}

#[test]
fn a_guest_that_touches_a_lost_page_again_and_again_does_not_fill_the_inbox_of_the_control_thread() {
    const EL1_MASKED: u64 = 0x3c5;
    let memory = Arc::new(GuestMemory::create(16 << 20, None).expect("memory"));
    let way = Way::Ghes(Box::new(ErrorSources::new(0x8080_0000, None)));
    let (control, inbox) = mpsc::channel();
    let notifier = GuestNotifier::new(way, memory, control);
    let mut context = context(RecoverablePolicy::Inject);
    context.policy.same_fault_limit = u32::MAX;
    let looks = |context: &RunContext| {
        let mut vcpu = FakeVcpu::with_exits((0..1000).map(|_| SIGNAL));
        vcpu.registers.insert(RegId::PSTATE, EL1_MASKED);
        run(&mut vcpu, &mut VcpuPosition::default(), context);
        inbox.try_iter().count()
    };
    context.notifier = Some(notifier);
    assert_eq!(looks(&context), 1);
    assert_eq!(looks(&context), 0, "it has not looked since");
}

#[test]
fn a_guest_whose_accesses_run_again_by_turns_does_not_fill_the_inbox_of_the_control_thread() {
    let (control, inbox) = mpsc::channel();
    let memory = Arc::new(GuestMemory::create(16 << 20, None).expect("memory"));
    let way = Way::Ghes(Box::new(ErrorSources::new(0x8080_0000, None)));
    let mut context = context(RecoverablePolicy::Inject);
    context.policy.defer = Duration::from_secs(3600);
    context.notifier = Some(GuestNotifier::new(way, memory, mpsc::channel().0));
    context.control = control;
    let other = VcpuExit::MemoryErrorSignal(MemoryErrorSignal {
        code: SignalCode::ActionRequired,
        offset: 0x18_0000,
        lsb: 12,
    });
    let mut vcpu = in_the_guests_kernel((0..500).flat_map(|_| [SIGNAL, other]));
    run(&mut vcpu, &mut VcpuPosition::default(), &context);
    assert_eq!(inbox.try_iter().count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]
    #[test]
    fn whatever_a_guest_has_written_it_is_told_in_its_own_records_alone(turns in turns()) {
        let memory = Arc::new(GuestMemory::create(usize::try_from(RAM).expect("small"), None).expect("memory"));
        let way = Way::Ghes(Box::new(ErrorSources::new(REGION, None)));
        let mut context = context(RecoverablePolicy::Inject);
        context.policy.defer = Duration::from_millis(2);
        context.ledger = Arc::new(Mutex::new(Ledger::of_ram(RAM)));
        context.notifier = Some(GuestNotifier::new(way, Arc::clone(&memory), mpsc::channel().0));
        let mut expected = all(&memory);
        let (mut vcpu, mut position) = (FakeVcpu::with_exits([]), VcpuPosition::default());
        let mut failures = 0;
        for Turn { registers, writes, exits } in turns {
            for (offset, bytes) in writes {
                // As the guest would: what does not fit into RAM is no access to RAM.
                if memory.write(offset, &bytes).is_ok() {
                    let start = usize::try_from(offset).expect("small");
                    expected[start..start + bytes.len()].copy_from_slice(&bytes);
                }
            }
            let known = std::mem::take(&mut vcpu.registers);
            vcpu = FakeVcpu::with_exits(exits);
            vcpu.registers.extend(known);
            vcpu.registers.extend(registers);
            for _ in 0..20 {
                if run(&mut vcpu, &mut position, &context) == ParkReason::Requested {
                    break;
                }
            }
            let events = context.outbox.take_events();
            failures += events.iter().filter(|event| matches!(
                &event.kind,
                EventKind::MemoryFailure(failure)
                    if !matches!(failure.reason, VerdictReason::Resumed { .. } | VerdictReason::Deferred { .. })
            )).count() as u64;
        }
        prop_assert_eq!(failures, context.ledger().totals().failures);
        let found = all(&memory);
        let region = usize::try_from(RAM / 2).expect("small");
        let behind = region + usize::try_from(REGION_SIZE).expect("small");
        prop_assert!(found[..region] == expected[..region] && found[behind..] == expected[behind..]);
    }
}
