//! What this host can prove, and what is said where it cannot.

use std::io::Write as _;

use seawall_kvm::{RegId, probe_host};

use crate::fetch::Injector;
use crate::random::Random;
use crate::registers::{MODES, Registers};
use crate::vcpu::FreshVcpu;

/// What a vCPU of this host can be.
#[derive(Debug, Clone)]
pub(crate) struct Abilities {
    /// The modes of [`MODES`] that it can be interrupted in.
    pub(crate) modes: Vec<u64>,
    pub(crate) has_sctlr2: bool,
}

/// What this host's vCPUs can be. None, and a line past the capture of the test's output, where there are none.
///
/// The lab has to be able to do everything that is asked here.
pub(crate) fn abilities() -> Option<Abilities> {
    let support = probe_host();
    // The first kernel with this capability is newer than the first that commits an injection at once.
    if !support.capabilities.arm_sea_to_user {
        assert!(!in_lab(), "the lab is no arm64 KVM: {:?}", support.obstacles);
        skip("needs an arm64 KVM");
        return None;
    }
    let mut vcpu = FreshVcpu::new(Random::new(0, 0)).expect("a virtual machine");
    let mut modes = MODES.to_vec();
    modes.retain(|&mode| vcpu.load(&Registers::in_mode(mode)).is_ok());
    if modes != MODES {
        skip("AArch32 at EL0, which this CPU does not have");
    }
    let has_sctlr2 = vcpu.readable().contains(&RegId::SCTLR2_EL1);
    let newest = std::env::var_os("SEAWALL_HOST").is_some_and(|host| host == "newest");
    assert!(has_sctlr2 || !newest, "the lab's newest CPU has SCTLR2_EL1");
    Some(Abilities { modes, has_sctlr2 })
}

/// The same, of a host where pages can be lost.
pub(crate) fn abilities_with_injector() -> Option<(Abilities, Injector)> {
    let abilities = abilities()?;
    let injector = Injector::claim();
    if injector.is_none() {
        assert!(!in_lab(), "the lab has an injector");
        skip("needs the lab's injector");
    }
    Some((abilities, injector?))
}

fn in_lab() -> bool {
    std::env::var_os("SEAWALL_HOST").is_some()
}

fn skip(reason: &str) {
    writeln!(std::io::stdout(), "\nSKIPPED differential: {reason}").expect("somebody reads");
}
