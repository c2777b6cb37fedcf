//! The monitor's side of the protocol against a guest that plays the kernel's.

mod guest;
mod protocol;
mod ram;
mod scribbles;
mod trouble;

use std::time::{Duration, Instant};

use seawall_arm64::Gpa;

use super::*;
use crate::acpi::{AcpiLayout, AcpiMachine};
use crate::memory_layout::RAM_BASE;
use guest::Guest;
use ram::Ram;

const MEMORY: u64 = 64 << 20;
const TABLES: u64 = RAM_BASE + MEMORY - (1 << 20);
/// Where the region lies.
const REGION: u64 = TABLES + crate::acpi::TABLES_SIZE;

/// A machine that has booted, and its time.
struct Machine {
    ram: Ram,
    ghes: Ghes,
    guest: Guest,
    now: Instant,
}

impl Machine {
    fn boot() -> Self {
        let machine = AcpiMachine {
            memory: MEMORY,
            cpus: &[0, 1],
            layout: AcpiLayout::at(TABLES),
            error_sources: true,
        };
        let tables = machine.build().expect("it fits");
        let ram = Ram::new(TABLES, AcpiLayout::SIZE);
        ram.poke(TABLES, &tables.bytes);
        let mut ghes = Ghes::new(machine.layout.ghes);
        ghes.place(&ram);
        let guest = Guest::boot(&ram, tables.system_table);
        ram.forget_accesses();
        Self {
            ram,
            ghes,
            guest,
            now: Instant::now(),
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn by_exception(&mut self, lost: (u64, u64), needed: u64) -> Telling {
        let lost = (Gpa::from_bits(lost.0), lost.1);
        self.ghes
            .tell_by_exception(&self.ram, lost, Gpa::from_bits(needed), self.now)
    }

    fn lose(&mut self, gpa: u64, len: u64) {
        self.ghes.lose(Gpa::from_bits(gpa), len);
    }

    fn advance(&mut self) -> Progress {
        self.ghes.advance(&self.ram, self.now)
    }

    fn notification(&self, gpa: u64) -> Option<Notification> {
        self.ghes.notification(Gpa::from_bits(gpa))
    }

    /// Runs a guest that reads what it is told by interrupt, until nothing is left or `limit` records were written. Returns the
    /// pages of each record.
    fn run_interrupts(&mut self, limit: usize) -> Vec<Vec<u64>> {
        let mut records = Vec::new();
        while records.len() < limit {
            let progress = self.advance();
            if progress.raise {
                records.push(self.guest.interrupt(&self.ram));
            }
            match progress.again {
                Some(again) => self.now += again,
                None => break,
            }
        }
        records
    }
}

fn page(number: u64) -> u64 {
    RAM_BASE + number * PAGE_SIZE
}
