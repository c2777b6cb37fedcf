//! An injection that the kernel ignores is made of registers, and leaves what the kernel's own leaves.
//!
//! A guest consumes an error on a stage-2 walk, after which KVM's injection does nothing and says success. It is stopped
//! there, its registers are set to anything, and the abort is asked for through the public interface.

use std::time::Instant;

use seawall_kvm::{KvmError, RegId};
use seawall_vmm::sea::Fidelity;
use seawall_vmm::{InjectionMethod, VmState};

use crate::difference::{self, Difference, Snapshot, differences};
use crate::fetch::{Guest, Injector};
use crate::harness::PAUSE;
use crate::host;
use crate::random::{self, Random};
use crate::registers::Registers;
use crate::vcpu::FreshVcpu;

/// What a guest at EL1 consumes, on the walk for the walk of its first instruction.
const LOSS: &str = "kind=instruction fsc=0x1c s1ptw=1";

/// A vCPU that never ran, into which the kernel injects, and a guest into which it does not.
struct Pair {
    kernel: FreshVcpu,
    ours: Guest,
    injector: Injector,
    /// How often the guest has lost the page.
    losses: usize,
}

impl Pair {
    fn new(random: Random, injector: Injector) -> Self {
        Self {
            kernel: FreshVcpu::new(random).expect("a virtual machine"),
            ours: Guest::with_page(PAUSE),
            injector,
            losses: 0,
        }
    }

    /// What the kernel's own injection leaves.
    fn by_kernel(&mut self, values: &Registers) -> Result<Snapshot, KvmError> {
        self.kernel.load(values)?;
        self.kernel.enter_by_kernel()?;
        let mut registers = self.kernel.read(&values.ids())?;
        // This vCPU made no access; the other did.
        registers.insert(RegId::FAR_EL1, u128::from(Guest::FETCHED));
        Ok(registers)
    }

    /// What ours leaves. None where no vCPU can be in that state.
    fn by_us(&mut self, values: &Registers) -> Option<Snapshot> {
        let _lost = self.injector.lose_page(LOSS);
        let guest = &mut self.ours;
        assert!(guest.fetch(&Registers::in_mode(0x5)), "EL1");
        self.losses += 1;
        guest.machine.failures(self.losses);
        guest.machine.reaches(VmState::Paused);
        let able = values
            .in_order()
            .all(|(register, value)| guest.set(register, value));
        // Also where that state cannot be: the abort must not wait for the next case.
        let injection = guest.machine.inject(0, Fidelity::Kvm).expect("an access waits");
        assert_eq!(
            (injection.method, injection.error),
            (InjectionMethod::Registers, None)
        );
        able.then(|| guest.read(values))
    }

    fn compare(&mut self, values: &Registers) -> Option<Vec<Difference>> {
        let kernel = self.by_kernel(values).ok()?;
        Some(differences(kernel, self.by_us(values)?))
    }
}

#[test]
fn an_injection_that_the_kernel_ignores_leaves_what_the_kernels_own_leaves() {
    let Some((host, injector)) = host::abilities_with_injector() else {
        return;
    };
    let (seed, cases, began) = (random::seed(), random::slow_cases(), Instant::now());
    println!("{cases} cases, SEAWALL_SEED={seed:#x}");
    let mut pair = Pair::new(Random::new(seed, u64::MAX), injector);
    for case in 0..cases {
        let values = Registers::random(&mut Random::new(seed, case), &host, usize::MAX);
        let seen = pair.compare(&values).expect("a state that a vCPU can be in");
        if !seen.is_empty() {
            let case = format!("case {case} of SEAWALL_SEED={seed:#x}");
            difference::fail(&case, &values, &seen, |values| {
                pair.compare(values).unwrap_or_default()
            });
        }
    }
    println!("  {:.1} s", began.elapsed().as_secs_f64());
}
