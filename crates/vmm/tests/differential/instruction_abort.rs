//! The instruction abort we inject for a lost page is the one KVM itself injects for a fetch from where no memory is, but
//! for what we restore of the syndrome on purpose.
//!
//! Guests take both, through the public interface: with the same registers at the same address, once in a virtual machine
//! whose RAM ends before the page, once in one that has the page and has lost it.

use std::collections::BTreeMap;
use std::time::Instant;

use seawall_kvm::RegId;
use seawall_vmm::InjectionMethod;

use crate::difference::{self, Difference, Snapshot, differences};
use crate::fetch::{Guest, Injector};
use crate::harness::INJECT;
use crate::host;
use crate::random::{self, Random};
use crate::registers::Registers;

/// How the page is lost.
#[derive(Debug, Clone, Copy)]
struct Loss {
    fault_status: u64,
    /// FnV, SET and EA, where they are in ESR_EL1.
    restored: u64,
    /// The abort was one on a stage-2 walk for a stage-1 walk. KVM's injection then does nothing and says success.
    s1ptw: bool,
}

const SET_RESTARTABLE: u64 = 3 << 11;
const FNV: u64 = 1 << 10;
const EA: u64 = 1 << 9;
const FAULT_STATUS: u64 = 0x3f;

impl Loss {
    fn random(random: &mut Random) -> Self {
        let (fnv, ea) = (random.pick(&[0, FNV]), random.pick(&[0, EA]));
        let (set, walk) = (
            random.pick(&[0, SET_RESTARTABLE]),
            random.pick(&[0x1b, 0x1c, 0x1d, 0x1e, 0x1f]),
        );
        match random.pick(&[0, 1, 2]) {
            // Nothing to restore but the class.
            0 => Self {
                fault_status: 0x10,
                restored: 0,
                s1ptw: false,
            },
            1 => Self {
                fault_status: 0x10,
                restored: set | fnv | ea,
                s1ptw: false,
            },
            _ => Self {
                fault_status: walk,
                restored: fnv | ea,
                s1ptw: true,
            },
        }
    }

    /// The injector's words for it.
    fn rule(self) -> String {
        let mut rule = format!(
            "kind=instruction fsc={:#x} s1ptw={} set={} ea={}",
            self.fault_status,
            u8::from(self.s1ptw),
            self.restored >> 11 & 3,
            self.restored >> 9 & 1
        );
        if self.restored & FNV != 0 {
            rule += " fnv=1 far=0xdeadbeef0000";
        }
        rule
    }

    /// What we are to leave where the kernel's own abort leaves these registers.
    fn restore(self, mut kernel: Snapshot) -> Snapshot {
        let esr = kernel.entry(RegId::ESR_EL1).or_default();
        *esr = *esr & !u128::from(FAULT_STATUS) | u128::from(self.fault_status | self.restored);
        if self.restored & FNV != 0 {
            kernel.insert(RegId::FAR_EL1, 0);
        }
        kernel
    }

    const fn method(self) -> InjectionMethod {
        if self.s1ptw {
            InjectionMethod::Registers
        } else {
            InjectionMethod::VcpuEventsAndRegisters
        }
    }
}

/// A guest whose RAM ends before the page, and one that has it.
struct Guests {
    kernel: Guest,
    ours: Guest,
    injector: Injector,
    /// How often the one that has the page lost it, and how the last abort was injected.
    losses: usize,
    method: Option<InjectionMethod>,
}

impl Guests {
    fn new(injector: Injector) -> Self {
        Self {
            kernel: Guest::without_page(),
            ours: Guest::with_page(INJECT),
            injector,
            losses: 0,
            method: None,
        }
    }

    /// What the kernel's own abort leaves. None where no vCPU can be in that state.
    fn by_kernel(&self, values: &Registers) -> Option<Snapshot> {
        self.kernel.fetch(values).then(|| {
            self.kernel.pause_at_vector();
            self.kernel.read(values)
        })
    }

    /// What our abort leaves.
    fn by_us(&mut self, values: &Registers, loss: Loss) -> Option<Snapshot> {
        let _lost = self.injector.lose_page(&loss.rule());
        self.ours.fetch(values).then(|| {
            self.losses += 1;
            let failure = self.ours.machine.failures(self.losses).pop();
            let injection = failure.and_then(|failure| failure.injection);
            let injection = injection.expect("the policy is to inject");
            assert_eq!(injection.error, None);
            self.method = Some(injection.method);
            self.ours.pause_at_vector();
            self.ours.read(values)
        })
    }

    /// The differences, without what we restore on purpose. None where no vCPU can be in that state.
    fn compare(&mut self, values: &Registers, loss: Loss) -> Option<Vec<Difference>> {
        let kernel = loss.restore(self.by_kernel(values)?);
        Some(differences(kernel, self.by_us(values, loss)?))
    }
}

#[test]
fn our_instruction_abort_is_the_kernels_own_but_for_what_is_restored() {
    let Some((host, injector)) = host::abilities_with_injector() else {
        return;
    };
    let (seed, cases, began) = (random::seed(), random::slow_cases(), Instant::now());
    println!("{cases} cases, SEAWALL_SEED={seed:#x}");
    let mut guests = Guests::new(injector);
    let mut tried = BTreeMap::<_, u64>::new();
    for case in 0..cases {
        let mut random = Random::new(seed, case);
        let loss = Loss::random(&mut random);
        let values = Registers::random(&mut random, &host, usize::MAX);
        let seen = guests
            .compare(&values, loss)
            .expect("a state that a vCPU can be in");
        let name = format!("case {case} of SEAWALL_SEED={seed:#x}, {}", loss.rule());
        if !seen.is_empty() {
            difference::fail(&name, &values, &seen, |values| {
                guests.compare(values, loss).unwrap_or_default()
            });
        }
        assert_eq!(guests.method, Some(loss.method()), "{name}");
        *tried
            .entry((values.mode(), format!("{:?}", loss.method())))
            .or_default() += 1;
    }
    for ((mode, method), count) in tried {
        println!("  {count} from {mode}: {method}");
    }
    println!("  {:.1} s", began.elapsed().as_secs_f64());
}
