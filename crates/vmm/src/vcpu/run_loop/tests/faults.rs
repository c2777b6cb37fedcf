//! A kernel that fails where it hardly ever does: what the guest has lost is recorded all the same.

use super::*;

/// The one failure of a vCPU that ended as failed, with its page out of reach.
fn contained(vcpu: &mut FakeVcpu, position: &mut VcpuPosition, context: &RunContext) -> MemoryFailure {
    let reason = run(vcpu, position, context);
    assert!(
        matches!(&reason, ParkReason::Failed(error) if error.code() == "ERR_KVM_IOCTL"),
        "{reason:?}"
    );
    assert_eq!(context.page_state(Some(LOST)), Some(PageState::Quarantined));
    let failure = failures(context).pop().expect("it is told");
    assert_eq!(failure.source, FailureSource::Sea);
    assert_eq!(failure.injection, None);
    failure
}

#[test]
fn an_error_whose_consumer_cannot_be_read_is_recorded_contained_and_told() {
    for register in [RegId::PC, RegId::PSTATE] {
        for policy in [RecoverablePolicy::Inject, RecoverablePolicy::Pause] {
            let context = context(policy);
            let mut vcpu = FakeVcpu::with_exits([SEA]);
            vcpu.unreadable.push((register, EINVAL));
            let failure = contained(&mut vcpu, &mut VcpuPosition::default(), &context);
            assert_eq!(failure.error.consumer, None, "{register}");
            assert_eq!(failure.action, FailureAction::Stop);
            assert_eq!(vcpu.writes, []);
            assert_eq!(context.pending().len(), 1, "its abort waits");
        }
    }
}

#[test]
fn an_error_that_a_deferral_meets_while_no_register_can_be_read_is_recorded_too() {
    let context = context(RecoverablePolicy::Inject);
    let mut position = VcpuPosition::default();
    let other = VcpuExit::ArmSea(SeaExit {
        esr: DATA_ABORT,
        gva: None,
        gpa: Some(Gpa::from_bits(0x8018_0000)),
    });
    let mut context = context;
    context.policy.recoverable = RecoverablePolicy::Pause;
    run(&mut FakeVcpu::with_exits([other]), &mut position, &context);
    let decisions = Decisions::from([(1, Decision::Defer)]);
    let mailbox = Arc::new(Mailbox::default());
    mailbox.request_park();
    position.run(7, &mut FakeVcpu::with_exits([]), &context, &mailbox, &decisions);
    assert!(position.deferral.is_some());
    let mut vcpu = FakeVcpu::with_exits([SEA]);
    vcpu.unreadable.push((RegId::PC, EINVAL));
    contained(&mut vcpu, &mut position, &context);
}

#[test]
fn an_error_whose_row_of_aborts_cannot_be_known_is_recorded_too() {
    // A fetch without a page: whether it is that of the handler again, VBAR_EL1 says.
    let fetch = VcpuExit::ArmSea(SeaExit {
        esr: Esr::from_bits(0x8200_0014),
        gva: None,
        gpa: None,
    });
    let context = context(RecoverablePolicy::Inject);
    let mut position = VcpuPosition::default();
    let mut vcpu = FakeVcpu::with_exits([fetch]);
    run(&mut vcpu, &mut position, &context);
    let pc = vcpu.get(RegId::ELR_EL1);
    let mut vcpu = FakeVcpu::with_exits([fetch]);
    vcpu.registers.insert(RegId::PC, pc);
    vcpu.unreadable.push((RegId::VBAR_EL1, EINVAL));
    let reason = run(&mut vcpu, &mut position, &context);
    assert!(matches!(&reason, ParkReason::Failed(error) if error.code() == "ERR_KVM_IOCTL"));
    assert_eq!(context.ledger().totals().failures, 2);
    assert_eq!(failures(&context).len(), 2);
}
