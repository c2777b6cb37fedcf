//! Two vCPUs with the same registers: the kernel's, and ours.

use seawall_arm64::AbortKind;
use seawall_kvm::{KvmError, RegId};

use crate::difference::{self, Difference};
use crate::random::Random;
use crate::registers::Registers;
use crate::vcpu::FreshVcpu;

/// The one bit in which the classes of a data abort and of an instruction abort differ.
const DATA_RATHER_THAN_INSTRUCTION: u128 = 1 << 28;

/// Two vCPUs with the same registers. Into one the kernel injects, into the other we do.
#[derive(Debug)]
pub(crate) struct Pair {
    kernel: FreshVcpu,
    ours: FreshVcpu,
    /// The abort that was entered last.
    last: AbortKind,
}

impl Pair {
    /// Creates the two with the same state, which is what `random` says.
    pub(crate) fn new(random: &Random) -> Result<Self, KvmError> {
        Ok(Self {
            kernel: FreshVcpu::new(random.clone())?,
            ours: FreshVcpu::new(random.clone())?,
            last: AbortKind::Data,
        })
    }

    /// Every register that can be compared.
    pub(crate) fn readable(&self) -> &[RegId] {
        self.ours.readable()
    }

    /// Enters an abort both ways from the same state. Fails where no vCPU can be in that state.
    pub(crate) fn enter(&mut self, registers: &Registers, kind: AbortKind) -> Result<(), KvmError> {
        self.kernel.load(registers)?;
        self.ours.load(registers)?;
        self.kernel.enter_by_kernel().expect("the kernel injects");
        self.ours.enter_by_registers(kind).expect("registers that exist");
        self.last = kind;
        Ok(())
    }

    /// The differences in what a case sets, an entry changes included.
    pub(crate) fn compare(&mut self, registers: &Registers) -> Vec<Difference> {
        self.differences(&registers.ids())
    }

    /// The differences in every readable register.
    pub(crate) fn compare_all(&mut self) -> Vec<Difference> {
        assert_eq!(self.kernel.readable(), self.ours.readable());
        let registers = self.readable().to_vec();
        self.differences(&registers)
    }

    fn differences(&mut self, registers: &[RegId]) -> Vec<Difference> {
        let mut kernel = self.kernel.read(registers).expect("readable registers");
        let ours = self.ours.read(registers).expect("readable registers");
        if self.last == AbortKind::Instruction
            && let Some(esr) = kernel.get_mut(&RegId::ESR_EL1)
        {
            *esr &= !DATA_RATHER_THAN_INSTRUCTION;
        }
        difference::differences(kernel, ours)
    }
}
