//! An exception entry made of register writes alone leaves what `KVM_SET_VCPU_EVENTS` leaves: every readable register.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use seawall_arm64::AbortKind;

use crate::difference::{self, Difference};
use crate::host::{self, Abilities};
use crate::pair::Pair;
use crate::random::{self, Random};
use crate::registers::Registers;

/// How many registers a case sets that no entry touches. The emulated host needs 0.1 ms for each.
const OTHERS: usize = 4;
/// After how many cases every readable register is compared. What no case sets keeps a difference until then.
const CASES_PER_ROUND: u64 = 100;
/// After how many cases both vCPUs are new.
const CASES_PER_PAIR: u64 = 1000;

/// All that a run tries, made of a seed.
#[derive(Debug)]
struct Run {
    seed: u64,
    host: Abilities,
}

impl Run {
    fn pair(&self) -> Pair {
        Pair::new(&Random::new(self.seed, u64::MAX)).expect("two virtual machines")
    }

    fn case(&self, case: u64) -> (Registers, AbortKind) {
        let mut random = Random::new(self.seed, case);
        let kind = random.pick(&[AbortKind::Data, AbortKind::Instruction]);
        (Registers::random(&mut random, &self.host, OTHERS), kind)
    }
}

#[test]
fn an_entry_by_registers_leaves_what_the_kernels_own_leaves() {
    let Some(host) = host::abilities() else {
        return;
    };
    let (cases, began) = (random::cases(), Instant::now());
    let run = Run {
        seed: random::seed(),
        host,
    };
    let mut pair = run.pair();
    println!(
        "{cases} cases, SEAWALL_SEED={:#x}, {} registers",
        run.seed,
        pair.readable().len()
    );
    assert_eq!(pair.compare_all(), [], "equal before anything is entered");
    // What changes by itself would be a difference that no case explains.
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(pair.compare_all(), [], "and they stay so");

    let mut tried = BTreeMap::<_, u64>::new();
    for case in 0..cases {
        if case > 0 && case % CASES_PER_PAIR == 0 {
            pair = run.pair();
        }
        let (registers, kind) = run.case(case);
        pair.enter(&registers, kind)
            .expect("a state that a vCPU can be in");
        let seen = pair.compare(&registers);
        if !seen.is_empty() {
            report(&run, case, &seen);
        }
        if case % CASES_PER_ROUND == CASES_PER_ROUND - 1 || case == cases - 1 {
            let seen = pair.compare_all();
            if !seen.is_empty() {
                search(&run, case - case % CASES_PER_PAIR..=case, &seen);
            }
        }
        *tried.entry((registers.mode(), format!("{kind:?}"))).or_default() += 1;
    }
    for ((mode, kind), count) in tried {
        println!("  {count} from {mode}: {kind} abort");
    }
    let sctlr2 = if run.host.has_sctlr2 {
        "random"
    } else {
        "not on this CPU"
    };
    println!("  SCTLR2_EL1: {sctlr2}; {:.1} s", began.elapsed().as_secs_f64());
}

/// Finds the case after which registers differ that no case sets, and fails.
fn search(run: &Run, cases: impl Iterator<Item = u64>, seen: &[Difference]) -> ! {
    let mut pair = run.pair();
    for case in cases {
        let (registers, kind) = run.case(case);
        pair.enter(&registers, kind).expect("it could before");
        let seen = pair.compare_all();
        if !seen.is_empty() {
            report(run, case, &seen);
        }
    }
    let seen = difference::list(seen);
    panic!("SEAWALL_SEED={:#x}, once and not again:\n  {seen}", run.seed);
}

/// Fails with the smallest case like this one.
fn report(run: &Run, case: u64, seen: &[Difference]) -> ! {
    let (registers, kind) = run.case(case);
    let own = seen.iter().all(|difference| registers.sets(difference.register));
    // On vCPUs of its own: it has to fail without the cases before it.
    let mut pair = run.pair();
    let name = format!("case {case} of SEAWALL_SEED={:#x}, {kind:?} abort", run.seed);
    difference::fail(&name, &registers, seen, |registers| {
        if !own {
            // What no case sets would keep the difference.
            pair = run.pair();
        }
        match pair.enter(registers, kind) {
            Err(_) => Vec::new(),
            Ok(()) if own => pair.compare(registers),
            Ok(()) => pair.compare_all(),
        }
    });
}
