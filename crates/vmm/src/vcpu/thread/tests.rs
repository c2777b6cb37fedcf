use std::time::Duration;

use seawall_kvm::{Errno, KvmError, RegId, VcpuExit};

use super::*;
use crate::backend::fake::{self, EINVAL, FakeVcpu, Write};
use crate::event::Outbox;
use crate::sea::RecoverablePolicy;

const LIMIT: Duration = Duration::from_secs(30);

fn context() -> Arc<RunContext> {
    // The outbox wakes its reader from the vCPU's thread: what a panic there would do.
    let outbox = Arc::new(Outbox::new(Box::new(|| panic!("a defect"))));
    assert!(outbox.take_console(1).is_empty(), "its reader waits for output");
    Arc::new(fake::context(RecoverablePolicy::Inject, Arc::clone(&outbox)))
}

struct Spawned {
    thread: VcpuThread,
    inbox: mpsc::Receiver<Message>,
}

fn spawned(vcpu: FakeVcpu, boot: Option<BootRegisters>) -> Spawned {
    let (control, inbox) = mpsc::channel();
    let thread = spawn(7, Box::new(vcpu), boot, context(), control).expect("a thread");
    Spawned { thread, inbox }
}

impl Spawned {
    fn parks(&self) -> ParkReason {
        match self.inbox.recv_timeout(LIMIT) {
            Ok(Message::Parked { vcpu: 7, reason }) => reason,
            _ => panic!("it does not park"),
        }
    }

    fn pc(&self) -> Result<u64, VmError> {
        let (sender, receiver) = mpsc::channel();
        let reply = Box::new(move |value| sender.send(value).unwrap_or(()));
        self.thread
            .mailbox
            .send(VcpuCommand::GetRegister(RegId::PC, reply));
        receiver.recv_timeout(LIMIT).expect("answered")
    }

    fn quits(self) {
        self.thread.mailbox.request_quit();
        let ended = self.inbox.recv_timeout(LIMIT);
        assert!(matches!(ended, Ok(Message::Ended)));
        self.thread.thread.join().expect("no panic");
    }
}

#[test]
fn a_vcpu_starts_parked_with_its_boot_registers() {
    let (vcpu, _exits) = FakeVcpu::new();
    let spawned = spawned(vcpu, Some(BootRegisters(vec![(RegId::PC, 0x8000_0000)])));
    assert_eq!(spawned.parks(), ParkReason::Requested);
    assert_eq!(spawned.thread.thread.thread().name(), Some("vcpu-7"));
    assert_eq!(spawned.pc(), Ok(0x8000_0000));
    spawned.quits();
}

#[test]
fn a_thread_that_cannot_be_prepared_says_so_and_ends_when_told() {
    let (mut vcpu, _exits) = FakeVcpu::new();
    vcpu.cannot_enter_thread = true;
    let failed = spawned(vcpu, None);
    assert_eq!(
        failed.parks(),
        ParkReason::Failed(VmError::Kvm(KvmError::Syscall {
            syscall: "pthread_sigmask",
            errno: EINVAL
        }))
    );
    failed.quits();
}

#[test]
fn a_boot_register_that_is_refused_is_said() {
    let (mut vcpu, _exits) = FakeVcpu::new();
    vcpu.bad_write = Some((0, Write::Fails));
    let failed = spawned(vcpu, Some(BootRegisters(vec![(RegId::PC, 0)])));
    let ParkReason::Failed(error) = failed.parks() else {
        panic!("it is ready")
    };
    assert_eq!((error.code(), error.errno()), ("ERR_KVM_IOCTL", Some(Errno(22))));
    failed.quits();
}

#[test]
fn a_panic_fails_the_vcpu_and_leaves_its_registers_to_look_at() {
    let uart = VcpuExit::MmioWrite {
        gpa: seawall_arm64::Gpa::from_bits(0x4000_2000),
        data: [b'!', 0, 0, 0, 0, 0, 0, 0],
        len: 1,
    };
    let spawned = spawned(FakeVcpu::with_exits([uart]), None);
    spawned.parks();
    spawned.thread.mailbox.request_run(Arc::default());
    assert_eq!(
        spawned.parks(),
        ParkReason::Failed(VmError::Bug {
            message: "a defect".to_owned()
        })
    );
    assert_eq!(spawned.pc(), Ok(0x40_1234));
    spawned.quits();
}
