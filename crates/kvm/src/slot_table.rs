//! Which guest-physical ranges have memory, as the kernel was told.
//!
//! KVM neither shrinks nor moves a slot: to take a page out of one, the slot is removed and what is left of it on both
//! sides is added again.

use std::collections::BTreeMap;

/// A memory slot (`struct kvm_userspace_memory_region`, linux/kvm.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) id: u32,
    pub(crate) gpa: u64,
    pub(crate) len: u64,
    pub(crate) host_address: u64,
}

impl Slot {
    fn contains(&self, gpa: u64, len: u64) -> bool {
        gpa.checked_sub(self.gpa)
            .and_then(|start| start.checked_add(len))
            .is_some_and(|end| end <= self.len)
    }

    /// The part of the slot that starts `offset` bytes into it, under another number.
    const fn part(&self, id: u32, offset: u64, len: u64) -> Self {
        Self {
            id,
            gpa: self.gpa + offset,
            len,
            host_address: self.host_address + offset,
        }
    }
}

/// The slots of one virtual machine.
#[derive(Debug, Default)]
pub(crate) struct SlotTable {
    /// By number.
    slots: BTreeMap<u32, Slot>,
}

/// A slot to remove, and what is left of it to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) removed: Slot,
    pub(crate) left: Vec<Slot>,
}

impl SlotTable {
    pub(crate) fn add(&mut self, slot: Slot) {
        self.slots.insert(slot.id, slot);
    }

    pub(crate) fn remove(&mut self, id: u32) {
        self.slots.remove(&id);
    }

    /// The lowest number that no slot has.
    pub(crate) fn free_id(&self) -> u32 {
        let unused = (0..).zip(self.slots.keys()).find(|(free, id)| free != *id);
        let count = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        unused.map_or(count, |(free, _)| free)
    }

    /// How to make a hole of a range, if one slot holds all of it.
    pub(crate) fn split(&self, gpa: u64, len: u64) -> Option<Split> {
        let removed = *self.slots.values().find(|slot| slot.contains(gpa, len))?;
        let (before, after) = (gpa - removed.gpa, gpa - removed.gpa + len);
        let mut left = Vec::new();
        if before > 0 {
            left.push(removed.part(removed.id, 0, before));
        }
        if after < removed.len {
            let id = if left.is_empty() {
                removed.id
            } else {
                self.free_id()
            };
            left.push(removed.part(id, after, removed.len - after));
        }
        Some(Split { removed, left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM: Slot = Slot {
        id: 0,
        gpa: 0x8000_0000,
        len: 0x10_0000,
        host_address: 0x7f00_0000_0000,
    };

    fn table() -> SlotTable {
        let mut table = SlotTable::default();
        table.add(RAM);
        table
    }

    fn ranges(split: &Split) -> Vec<(u32, u64, u64, u64)> {
        let range = |slot: &Slot| (slot.id, slot.gpa, slot.len, slot.host_address - slot.gpa);
        split.left.iter().map(range).collect()
    }

    #[test]
    fn a_hole_leaves_what_is_before_and_behind_it_at_the_same_memory() {
        let delta = RAM.host_address - RAM.gpa;
        for (gpa, expected) in [
            (
                0x8000_4000,
                vec![(0, 0x8000_0000, 0x4000, delta), (1, 0x8000_5000, 0xf_b000, delta)],
            ),
            (0x8000_0000, vec![(0, 0x8000_1000, 0xf_f000, delta)]),
            (0x800f_f000, vec![(0, 0x8000_0000, 0xf_f000, delta)]),
        ] {
            let split = table().split(gpa, 0x1000).expect("inside");
            assert_eq!((split.removed, ranges(&split)), (RAM, expected), "{gpa:#x}");
        }
        let whole = table().split(RAM.gpa, RAM.len).expect("inside");
        assert_eq!(whole.left, []);
    }

    #[test]
    fn what_no_slot_holds_is_not_split() {
        for (gpa, len) in [
            (0x7fff_f000, 0x1000),
            (0x8010_0000, 0x1000),
            (0x800f_f000, 0x2000),
            (u64::MAX - 0xfff, 0x1000),
        ] {
            assert_eq!(table().split(gpa, len), None, "{gpa:#x}");
        }
    }

    #[test]
    fn each_hole_costs_one_slot_at_most_and_one_that_was_filled_costs_no_more() {
        let mut table = table();
        let take = |table: &mut SlotTable, gpa| {
            let split = table.split(gpa, 0x1000).expect("it has memory");
            table.remove(split.removed.id);
            split.left.into_iter().for_each(|slot| table.add(slot));
        };
        let pages: Vec<u64> = (0..127).map(|page| RAM.gpa + 0x1000 + 0x2000 * page).collect();
        for round in 0..3 {
            for gpa in &pages {
                take(&mut table, *gpa);
            }
            assert_eq!(table.slots.len(), 128, "round {round}");
            for gpa in &pages {
                let filled = Slot {
                    id: table.free_id(),
                    gpa: *gpa,
                    len: 0x1000,
                    host_address: RAM.host_address + (gpa - RAM.gpa),
                };
                table.add(filled);
            }
            let last = table.slots.last_key_value().map(|(id, _)| *id);
            assert_eq!((table.slots.len(), last), (255, Some(254)), "round {round}");
        }
    }

    #[test]
    fn a_number_is_used_again_once_its_slot_is_gone() {
        let mut table = table();
        table.add(RAM.part(1, 0, 0x1000));
        assert_eq!(table.free_id(), 2);
        table.remove(0);
        assert_eq!(table.free_id(), 0);
    }
}
