//! A guest that does anything at all to its UART.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Read(u64, u8),
    Write(u64, Vec<u8>),
    Input(Vec<u8>),
    TakeOutput(usize),
    Reset,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let offset = || prop_oneof![9 => 0..9_u64, 1 => any::<u64>()];
    let act = prop_oneof![
        6 => (offset(), any::<u8>()).prop_map(|(offset, len)| Act::Read(offset, if len < 200 { 1 } else { len })),
        6 => (offset(), any::<u8>()).prop_map(|(offset, byte)| Act::Write(offset, vec![byte])),
        1 => (offset(), prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(offset, data)| Act::Write(offset, data)),
        3 => prop::collection::vec(any::<u8>(), 0..400).prop_map(Act::Input),
        2 => (0..2000_usize).prop_map(Act::TakeOutput),
        1 => Just(Act::Reset),
    ];
    prop::collection::vec(act, 0..200)
}

proptest! {
    #[test]
    fn whatever_a_guest_does_its_input_stays_in_order_and_in_bounds(acts in acts()) {
        let mut bench = Bench::new();
        let mut accepted = Vec::new();
        for act in acts {
            match act {
                Act::Read(offset, len) => drop(bench.serial.read(offset, len)),
                Act::Write(offset, data) => bench.serial.write(offset, &data),
                Act::Input(bytes) => {
                    let room = bench.serial.input_room();
                    let taken = bench.serial.input(&bytes);
                    prop_assert_eq!(taken, bytes.len().min(room));
                    accepted.extend_from_slice(&bytes[..taken]);
                }
                Act::TakeOutput(max) => prop_assert!(bench.take(max).len() <= max),
                Act::Reset => bench.serial.reset(),
            }
            prop_assert!(bench.serial.input.len() <= INPUT_CAPACITY);
        }
        // A driver that takes over finds the rest of it, whatever was done before.
        bench.serial.reset();
        bench.set(IER, IER_RECEIVED_DATA);
        let waits = bench.serial.input.len();
        let received = bench.received();
        prop_assert_eq!(received.len(), waits);
        prop_assert!(accepted.ends_with(&received));
        prop_assert_eq!(bench.serial.input(b"x"), 1, "there is room again");
        prop_assert_eq!(bench.received(), b"x");
    }
}
