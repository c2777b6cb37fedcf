//! Reading what a guest starts with.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use seawall_kvm::Errno;

use crate::boot::BootError;

/// Reads a whole file, at most `limit` bytes: one that is larger comes back a byte longer than that. `option` is what named it.
pub(super) fn read(path: &Path, option: &'static str, limit: u64) -> Result<Vec<u8>, BootError> {
    let unreadable = |error: io::Error| BootError::UnreadableFile {
        option,
        path: path.to_owned(),
        errno: Errno(error.raw_os_error().unwrap_or(0)),
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() && !metadata.is_dir() {
        // A pipe would wait for a writer, and a device may never end.
        return Err(BootError::NotAFile {
            option,
            path: path.to_owned(),
        });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        for path in ["/dev/zero", "/dev/null"] {
            let error = read(Path::new(path), "boot.kernel", 10).expect_err("a device");
            assert_eq!(
                error.to_string(),
                format!("Expected a regular file for boot.kernel but received {path:?}")
            );
        }
    }

    #[test]
    fn a_missing_file_and_a_folder_say_what_they_are() {
        for (path, errno) in [("/nowhere/Image", "ENOENT"), ("/", "EISDIR")] {
            let error = read(Path::new(path), "boot.initrd", 10).expect_err("no file");
            assert_eq!(
                error.to_string(),
                format!("Expected a readable file for boot.initrd but received {path:?} ({errno})")
            );
        }
    }

    #[test]
    fn a_file_beyond_the_limit_shows() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert_eq!(read(&manifest, "boot.image", 4).map(|bytes| bytes.len()), Ok(5));
    }
}
