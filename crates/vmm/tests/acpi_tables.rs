//! Every ACPI table but the RSDP read by `iasl`, which knows nothing of ours: it finds nothing to complain about, says in its own words what
//! they mean, and makes the same bytes of its words again.
//!
//! `SEAWALL_IASL` is the path of `iasl` (acpica-tools); without it the one of this machine is taken. Where there is none, one
//! line starting with `SKIPPED` says so.
#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use seawall_vmm::acpi::{AcpiLayout, AcpiMachine, AcpiTables};
use seawall_vmm::memory_layout::RAM_BASE;

const MEMORY: u64 = 256 << 20;
const TABLES: u64 = RAM_BASE + MEMORY - (1 << 20);

/// `iasl`, with a folder for the files of one test.
struct Reader {
    iasl: OsString,
    folder: PathBuf,
}

impl Reader {
    fn new(test: &str) -> Option<Self> {
        let chosen = std::env::var_os("SEAWALL_IASL");
        let iasl = chosen.clone().unwrap_or_else(|| "iasl".into());
        let answers = Command::new(&iasl).arg("-v").output().is_ok();
        if !answers {
            assert!(
                chosen.is_none(),
                "Expected a program for SEAWALL_IASL but received {chosen:?}"
            );
            static SAID: Once = Once::new();
            SAID.call_once(|| println!("SKIPPED acpi_tables: there is no iasl, and SEAWALL_IASL is not set"));
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        std::fs::create_dir_all(&folder).expect("a folder of our own");
        Some(Self { iasl, folder })
    }

    /// Runs iasl without a complaint.
    fn run(&self, args: &[&str]) {
        let output = Command::new(&self.iasl)
            .current_dir(&self.folder)
            .args(args)
            .output()
            .expect("it answered before");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let complaints = said.lines().map(str::to_lowercase).filter(|line| {
            let none = line.contains(" 0 errors, 0 warnings, 0 remarks");
            !none
                && ["error", "warning", "remark", "invalid"]
                    .iter()
                    .any(|word| line.contains(word))
        });
        assert_eq!(complaints.count(), 0, "iasl {args:?}: {said}");
        assert!(output.status.success(), "iasl {args:?}: {said}");
    }

    /// A table in iasl's words, with one space between two of them.
    fn disassemble(&self, name: &str, table: &[u8]) -> String {
        std::fs::write(self.folder.join(format!("{name}.dat")), table).expect("a file of our own");
        self.run(&["-d", &format!("{name}.dat")]);
        let text = std::fs::read_to_string(self.folder.join(format!("{name}.dsl"))).expect("just written");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What iasl makes of its own words, which must not be shortened.
    fn assemble(&self, name: &str) -> Vec<u8> {
        let prefix = format!("again-{name}");
        self.run(&["-on", "-we", "-p", &prefix, &format!("{name}.dsl")]);
        std::fs::read(self.folder.join(format!("{prefix}.aml"))).expect("just written")
    }
}

/// A machine with 16 CPUs for each second level of affinity, as KVM numbers them.
fn build(cpus: u64) -> AcpiTables {
    let cpus: Vec<u64> = (0..cpus).map(|cpu| 1 << 31 | cpu >> 4 << 8 | cpu & 15).collect();
    let machine = AcpiMachine {
        memory: MEMORY,
        cpus: &cpus,
        layout: AcpiLayout::at(TABLES),
        error_sources: true,
    };
    machine.build().expect("it fits")
}

/// The table of this signature. All lie at multiples of 64, where no other bytes are the same.
fn table<'a>(tables: &'a AcpiTables, signature: &str) -> &'a [u8] {
    let mut places = tables.bytes.chunks(64).zip((0..).step_by(64));
    let (_, start) = places
        .find(|(bytes, _)| bytes.starts_with(signature.as_bytes()))
        .expect(signature);
    let table: &[u8] = &tables.bytes[start..];
    let len = u32::from_le_bytes(table[4..8].try_into().expect("4 bytes"));
    &table[..len as usize]
}

/// A table without what says who made it, and the checksum over that.
fn anonymous(table: &[u8]) -> Vec<u8> {
    let mut table = table.to_vec();
    table[9] = 0;
    table[28..36].fill(0);
    table
}

const SIGNATURES: [&str; 7] = ["FACP", "APIC", "GTDT", "SPCR", "HEST", "XSDT", "DSDT"];

#[test]
fn iasl_reads_every_table_without_a_complaint() {
    let Some(reader) = Reader::new("every-table") else {
        return;
    };
    for cpus in [1, 16, 512] {
        let tables = build(cpus);
        for signature in SIGNATURES {
            let text = reader.disassemble(signature, table(&tables, signature));
            assert!(text.contains("\"SEAWAL\""), "{text}");
        }
    }
}

#[test]
fn iasl_makes_the_same_tables_of_what_it_read() {
    let Some(reader) = Reader::new("same-tables") else {
        return;
    };
    for cpus in [1, 3, 512] {
        let tables = build(cpus);
        // iasl writes later revisions than ours of the others.
        for signature in ["FACP", "GTDT", "HEST", "XSDT", "DSDT"] {
            let table = table(&tables, signature);
            reader.disassemble(signature, table);
            let again = reader.assemble(signature);
            assert!(
                anonymous(&again) == anonymous(table),
                "{signature} of {cpus} CPUs"
            );
        }
    }
}

#[test]
fn iasl_says_what_we_mean() {
    let Some(reader) = Reader::new("meaning") else {
        return;
    };
    let tables = build(18);
    let expected: [(&str, &[&str]); 6] = [
        (
            "FACP",
            &[
                "Hardware Reduced (V5) : 1",
                "PSCI Compliant : 1",
                "Must use HVC for PSCI : 1",
                "FADT Minor Revision : 03",
            ],
        ),
        (
            "APIC",
            &[
                "Subtable Type : 0C [Generic Interrupt Distributor]",
                "Base Address : 000000003FFF0000",
                "Version : 03",
                "Processor UID : 00000011",
                "Processor Enabled : 1",
                "ARM MPIDR : 0000000000000101",
                "Subtable Type : 0E [Generic Interrupt Redistributor]",
                "Base Address : 000000003FDB0000",
                "Length : 00240000",
            ],
        ),
        (
            "GTDT",
            &[
                "Secure EL1 Interrupt : 0000001D",
                "Non-Secure EL1 Interrupt : 0000001E",
                "Virtual Timer Interrupt : 0000001B",
                "Non-Secure EL2 Interrupt : 0000001A",
                "Trigger Mode : 0",
                "Always On : 1",
            ],
        ),
        (
            "SPCR",
            &[
                "Interface Type : 00",
                "Encoded Access Width : 01 [Byte Access:8]",
                "Address : 0000000040002000",
                "Interrupt Type : 08",
                "Interrupt : 00000021",
                "Baud Rate : 07",
            ],
        ),
        (
            "HEST",
            &[
                "Error Source Count : 00000002",
                "Subtable Type : 000A [Generic Hardware Error Source V2]",
                "Notify Type : 08 [SEA]",
                "Notify Type : 0A [GSIV]",
                "Vector : 00000022",
                "Read Ack Preserve : FFFFFFFFFFFFFFFE",
                "Read Ack Write : 0000000000000001",
            ],
        ),
        (
            "DSDT",
            &[
                "EisaId (\"PNP0501\") /* 16550A-compatible COM Serial Port */",
                "Memory32Fixed (ReadWrite, 0x40002000, // Address Base 0x00001000, // Address Length )",
                "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) { 0x00000021, }",
                "EisaId (\"PNP0C33\") /* Error Device */",
                "\"ACPI0013\" /* Generic Event Device */",
                "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) { 0x00000022, }",
                "Method (_EVT, 1, Serialized) // _EVT: Event { Notify (\\_SB.HED0, 0x80)",
                "Device (C011) { Name (_HID, \"ACPI0007\" /* Processor Device */) // _HID: Hardware ID \
                 Name (_UID, 0x11)",
            ],
        ),
    ];
    for (signature, claims) in expected {
        let text = reader.disassemble(signature, table(&tables, signature));
        for claim in claims {
            assert!(text.contains(claim), "{signature}: {claim}: {text}");
        }
    }
}
