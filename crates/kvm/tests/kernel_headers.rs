//! Every number of the ABI against a kernel's own headers, by a C program that prints what they say.
//!
//! The headers are those in the folder `SEAWALL_KERNEL_HEADERS`: either an include folder with `linux/` and arm64's
//! `asm/`, or a kernel's source tree (Debian's `linux-headers-*-common`). Without it they are the host's, where those
//! are new enough. Where there are none, one line starting with `SKIPPED` says so.
#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, also in its helpers"
)]

// The file itself, because `struct kvm_run` is nobody's business outside the crate.
#[allow(dead_code, unreachable_pub, reason = "a copy of the crate's module")]
#[path = "../src/abi.rs"]
mod abi;

use std::io::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use abi::{
    ArmNisv, ArmSea, FailEntry, InternalError, KvmRun, KvmRunExit, MemoryFault, Mmio, RawVcpuEvents,
    SystemEvent,
};
use seawall_kvm::RegId;

/// A C expression, and what this crate says it is.
type Fact = (String, u64);

/// The constants of `src/abi.rs`, which have the kernel's names.
fn constants() -> Vec<Fact> {
    macro_rules! constants {
        ($($name:ident)*) => {
            vec![$((stringify!($name).to_owned(), u64::try_from(abi::$name).expect("not negative"))),*]
        };
    }
    constants! {
        KVM_API_VERSION KVM_RUN KVM_GET_ONE_REG
        KVM_EXIT_ARM_SEA KVM_EXIT_ARM_LDST64B KVM_EXIT_UNKNOWN KVM_EXIT_HYPERCALL KVM_EXIT_DEBUG KVM_EXIT_MMIO
        KVM_EXIT_FAIL_ENTRY
        KVM_EXIT_INTR KVM_EXIT_INTERNAL_ERROR KVM_EXIT_SYSTEM_EVENT KVM_EXIT_ARM_NISV KVM_EXIT_MEMORY_FAULT
        KVM_CAP_USER_MEMORY KVM_CAP_VCPU_EVENTS KVM_CAP_ONE_REG KVM_CAP_ARM_PSCI_0_2 KVM_CAP_IMMEDIATE_EXIT
        KVM_CAP_ARM_INJECT_SERROR_ESR KVM_CAP_ARM_NISV_TO_USER KVM_CAP_ARM_INJECT_EXT_DABT KVM_CAP_ARM_SEA_TO_USER
        KVM_EXIT_ARM_SEA_FLAG_GPA_VALID
        KVM_SYSTEM_EVENT_SHUTDOWN KVM_SYSTEM_EVENT_RESET KVM_SYSTEM_EVENT_CRASH
        UFFD_API UFFDIO_API UFFD_USER_MODE_ONLY UFFD_FEATURE_POISON UFFDIO_REGISTER UFFDIO_REGISTER_MODE_MISSING
        UFFDIO_POISON
    }
}

fn fact(expression: impl Into<String>, value: usize) -> Fact {
    (expression.into(), value as u64)
}

/// `struct kvm_run` up to the end of its exit union, the same on every architecture.
fn run_page() -> Vec<Fact> {
    let mut facts = vec![
        fact("sizeof(((struct kvm_run *)0)->padding)", size_of::<KvmRunExit>()),
        fact("offsetof(struct kvm_run, padding)", offset_of!(KvmRun, exit)),
    ];
    macro_rules! head {
        ($($field:ident)*) => {
            $(facts.push(fact(concat!("offsetof(struct kvm_run, ", stringify!($field), ")"), offset_of!(KvmRun, $field)));)*
        };
    }
    head! { request_interrupt_window immediate_exit exit_reason ready_for_interrupt_injection flags }
    macro_rules! member {
        ($member:literal, $type:ty: $($field:ident = $name:literal)*) => {
            facts.push(fact(concat!("sizeof(((struct kvm_run *)0)->", $member, ")"), size_of::<$type>()));
            $(facts.push(fact(
                concat!("offsetof(struct kvm_run, ", $member, ".", $name, ")"),
                offset_of!(KvmRun, exit) + offset_of!($type, $field),
            ));)*
        };
    }
    member!("arm_sea", ArmSea: flags = "flags" esr = "esr" gva = "gva" gpa = "gpa");
    member!("arm_nisv", ArmNisv: esr_iss = "esr_iss" fault_ipa = "fault_ipa");
    member!("mmio", Mmio: phys_addr = "phys_addr" data = "data" len = "len" is_write = "is_write");
    member!("memory_fault", MemoryFault: flags = "flags" gpa = "gpa" size = "size");
    member!("system_event", SystemEvent: kind = "type" ndata = "ndata" data = "data");
    member!(
        "fail_entry", FailEntry: hardware_entry_failure_reason = "hardware_entry_failure_reason" cpu = "cpu"
    );
    member!("internal", InternalError: suberror = "suberror" ndata = "ndata" data = "data");
    facts
}

/// `struct kvm_vcpu_events` and the register ids, which only arm64's headers have.
fn arm64() -> Vec<Fact> {
    let events = "struct kvm_vcpu_events";
    let mut facts = vec![fact(format!("sizeof({events})"), size_of::<RawVcpuEvents>())];
    for (field, offset) in [
        (
            "exception.serror_pending",
            offset_of!(RawVcpuEvents, serror_pending),
        ),
        (
            "exception.serror_has_esr",
            offset_of!(RawVcpuEvents, serror_has_esr),
        ),
        (
            "exception.ext_dabt_pending",
            offset_of!(RawVcpuEvents, ext_dabt_pending),
        ),
        ("exception.pad", offset_of!(RawVcpuEvents, pad)),
        ("exception.serror_esr", offset_of!(RawVcpuEvents, serror_esr)),
        ("reserved", offset_of!(RawVcpuEvents, reserved)),
    ] {
        facts.push(fact(format!("offsetof({events}, {field})"), offset));
    }
    let core = |field: &str| {
        format!("KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG({field})")
    };
    for (register, field) in [
        (RegId::SP_EL0, "regs.sp"),
        (RegId::PC, "regs.pc"),
        (RegId::PSTATE, "regs.pstate"),
        (RegId::SP_EL1, "sp_el1"),
        (RegId::ELR_EL1, "elr_el1"),
        (RegId::SPSR_EL1, "spsr[KVM_SPSR_EL1]"),
    ] {
        facts.push((core(field), register.bits()));
    }
    for number in 0..=30 {
        let register = RegId::x(number).expect("X0 to X30 exist");
        facts.push((core(&format!("regs.regs[{number}]")), register.bits()));
    }
    for (register, encoding) in [
        (RegId::MPIDR_EL1, "3, 0, 0, 0, 5"),
        (RegId::SCTLR_EL1, "3, 0, 1, 0, 0"),
        (RegId::SCTLR2_EL1, "3, 0, 1, 0, 3"),
        (RegId::ESR_EL1, "3, 0, 5, 2, 0"),
        (RegId::FAR_EL1, "3, 0, 6, 0, 0"),
        (RegId::VBAR_EL1, "3, 0, 12, 0, 0"),
    ] {
        facts.push((format!("ARM64_SYS_REG({encoding})"), register.bits()));
    }
    facts
}

/// Says, once and past the capture of the test's output, why nothing was proved.
fn skip(reason: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        writeln!(std::io::stdout(), "\nSKIPPED kernel_headers: {reason}").expect("somebody reads");
    });
}

/// What the compiler is told so that it finds the headers, or why there are none.
fn headers(own: &Path) -> Result<Vec<String>, String> {
    let include = |folder: PathBuf| format!("-I{}", folder.display());
    let Some(folder) = std::env::var_os("SEAWALL_KERNEL_HEADERS").map(PathBuf::from) else {
        let kvm = std::fs::read_to_string("/usr/include/linux/kvm.h").unwrap_or_default();
        // The newest name of all that are compared.
        return if kvm.contains("KVM_EXIT_ARM_LDST64B") {
            Ok(Vec::new())
        } else {
            Err(
                "the host has no linux/kvm.h of Linux 7.0 or newer, and SEAWALL_KERNEL_HEADERS is not set"
                    .to_owned(),
            )
        };
    };
    if folder.join("linux/kvm.h").exists() {
        return Ok(vec![include(folder)]);
    }
    assert!(
        folder.join("include/uapi/linux/kvm.h").exists(),
        "Expected an include folder or a kernel source tree for SEAWALL_KERNEL_HEADERS but received {}",
        folder.display()
    );
    // A source tree's headers are written for the kernel; these two make them fit for user space, as its
    // scripts/headers_install.sh does.
    let stubs = own.join("stubs/linux");
    std::fs::create_dir_all(&stubs).expect("a folder of our own");
    for name in ["compiler.h", "compiler_types.h"] {
        std::fs::write(stubs.join(name), "#define __user\n").expect("a file of our own");
    }
    Ok(vec![
        "-D__EXPORTED_HEADERS__".to_owned(),
        include(own.join("stubs")),
        include(folder.join("include/uapi")),
        include(folder.join("arch/arm64/include/uapi")),
    ])
}

/// Compares facts with the headers; `name` is the program's. With `guard`, only where the headers define that macro.
fn compare(name: &str, facts: &[Fact], guard: Option<&str>) {
    let own = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kernel_headers-{name}"));
    std::fs::create_dir_all(&own).expect("a folder of our own");
    let flags = match headers(&own) {
        Ok(flags) => flags,
        Err(reason) => return skip(&reason),
    };
    let mut lines = String::new();
    for (expression, _) in facts {
        lines += &format!("    printf(\"%llu\\n\", (unsigned long long)({expression}));\n");
    }
    let guarded = guard.map_or(lines.clone(), |guard| format!("#ifdef {guard}\n{lines}#endif\n"));
    let source = own.join("facts.c");
    // No stdio.h: its headers are the C library's, and must not meet another architecture's.
    let text = format!(
        "#include <linux/kvm.h>\n#include <linux/userfaultfd.h>\n#define offsetof(type, field) \
         __builtin_offsetof(type, field)\nint printf(const char *, ...);\nint main(void) {{\n{guarded}    return 0;\n}}\n"
    );
    std::fs::write(&source, text).expect("a file of our own");
    let program = own.join("facts");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let compiled = Command::new(&compiler)
        .args(&flags)
        .arg("-o")
        .args([&program, &source])
        .output();
    let Ok(compiled) = compiled else {
        return skip(&format!("there is no C compiler {compiler}"));
    };
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let printed = Command::new(&program).output().expect("just compiled").stdout;
    let printed = String::from_utf8(printed).expect("digits");
    if printed.is_empty() {
        return skip(&format!("the headers are those of another architecture ({name})"));
    }
    let found: Vec<Fact> = facts
        .iter()
        .zip(printed.lines())
        .map(|((expression, _), value)| (expression.clone(), value.parse().expect("digits")))
        .collect();
    assert_eq!(found, facts, "left: the kernel's headers, right: this crate");
}

#[test]
fn every_constant_is_the_kernels() {
    compare("constants", &constants(), None);
}

#[test]
fn the_run_page_is_laid_out_as_the_kernel_does() {
    compare("run-page", &run_page(), None);
}

#[test]
fn arm64s_events_and_register_ids_are_the_kernels() {
    compare("arm64", &arm64(), Some("KVM_REG_ARM64_SYSREG"));
}

#[test]
fn no_constant_is_left_out_of_the_comparison() {
    let declared: Vec<&str> = include_str!("../src/abi.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "))
        .filter_map(|rest| rest.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    let mut compared: Vec<String> = constants().into_iter().map(|(name, _)| name).collect();
    let mut declared: Vec<String> = declared.into_iter().map(str::to_owned).collect();
    compared.sort();
    declared.sort();
    assert_eq!(declared, compared);
}
