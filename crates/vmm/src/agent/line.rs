//! What is said on the line, in ASCII: a guest may say anything, and is understood or not.
//!
//! ```text
//! agent    hello 1                     it has started, or started again
//! monitor  retire 0x80286000           a page of 4 KiB is lost
//! agent    retired 0x80286000 0        it is in use no more; or the errno of the guest's kernel, which has it still
//! ```

/// The longest line that is listened to, in bytes. What is longer says nothing.
const LIMIT: usize = 64;

/// What an agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// It has started, and has been told nothing.
    Hello,
    /// What came of a request.
    Retired {
        gpa: u64,
        /// 0 where the guest's kernel has retired the page.
        errno: u32,
    },
}

impl Line {
    /// Reads a line without its newline. Nothing where it is none of these.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line == "hello 1" {
            return Some(Self::Hello);
        }
        let (gpa, errno) = line.strip_prefix("retired 0x")?.split_once(' ')?;
        // Where from_str_radix() takes a sign, too.
        let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_plain(gpa) || !is_plain(errno) {
            return None;
        }
        Some(Self::Retired {
            gpa: u64::from_str_radix(gpa, 16).ok()?,
            errno: errno.parse().ok()?,
        })
    }
}

/// The request to retire a page.
pub(super) fn retire(gpa: u64) -> String {
    format!("retire {gpa:#x}\n")
}

/// Makes lines of bytes.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    /// The line is too long, and goes on.
    is_dropped: bool,
}

impl LineBuffer {
    /// Takes a byte, and returns the line that it ends.
    pub(super) fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        if byte == b'\n' {
            let line = std::mem::take(&mut self.bytes);
            return (!std::mem::take(&mut self.is_dropped)).then_some(line);
        }
        if self.bytes.len() < LIMIT {
            self.bytes.push(byte);
        } else {
            self.is_dropped = true;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_an_agent_says_is_understood() {
        let retired = |gpa, errno| Some(Line::Retired { gpa, errno });
        for (line, expected) in [
            ("hello 1", Some(Line::Hello)),
            ("hello 1\r", Some(Line::Hello)),
            ("retired 0x80286000 0", retired(0x8028_6000, 0)),
            ("retired 0xffffffffffffffff 16\r", retired(u64::MAX, 16)),
        ] {
            assert_eq!(Line::parse(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_anything_else_is_not() {
        for line in [
            "",
            "\r",
            "hello",
            "hello 2",
            "hello 11",
            " hello 1",
            "hello 1 ",
            "HELLO 1",
            "retired",
            "retired 0x",
            "retired 0x 0",
            "retired 0x80000000",
            "retired 0x80000000 ",
            "retired 0x80000000 0 0",
            "retired 0x80000000  0",
            "retired 80000000 0",
            "retired 0X80000000 0",
            "retired 0x+80000000 0",
            "retired 0x80000000 +5",
            "retired 0x80000000 -16",
            "retired 0x80000000 a",
            "retired 0x10000000000000000 0",
            "retired 0x80000000 4294967296",
            "retire 0x80000000",
        ] {
            assert_eq!(Line::parse(line.as_bytes()), None, "{line:?}");
        }
        assert_eq!(Line::parse(b"hello 1\xff"), None);
    }

    fn lines(bytes: &[u8]) -> (Vec<Vec<u8>>, LineBuffer) {
        let mut buffer = LineBuffer::default();
        let lines = bytes.iter().filter_map(|byte| buffer.push(*byte)).collect();
        (lines, buffer)
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped_up_to_its_end() {
        let just = [b'a'; LIMIT];
        let long = [b'b'; LIMIT + 1];
        let all = [&just[..], b"\n", &long, b"hello 1\nhello 1\n\nend"].concat();
        let (lines, _) = lines(&all);
        assert_eq!(lines, [&just[..], b"hello 1", b""]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_grow_or_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let (lines, buffer) = lines(&bytes);
            prop_assert!(buffer.bytes.len() <= LIMIT && buffer.bytes.capacity() <= 2 * LIMIT);
            for line in lines {
                prop_assert!(line.len() <= LIMIT);
                Line::parse(&line);
            }
        }

        #[test]
        fn an_answer_is_read_as_it_was_written(gpa in any::<u64>(), errno in any::<u32>()) {
            let line = format!("retired {gpa:#x} {errno}");
            prop_assert_eq!(Line::parse(line.as_bytes()), Some(Line::Retired { gpa, errno }));
        }
    }
}
