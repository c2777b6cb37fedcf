//! The files that a guest starts with.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use seawall_kvm::Errno;

use crate::boot::BootError;

/// A file that was opened once and is read at each boot: whoever removes or replaces it by name does not change what the
/// guest boots with.
#[derive(Debug)]
pub(super) struct BootFile {
    file: File,
    /// What named it.
    option: &'static str,
    path: PathBuf,
}

impl BootFile {
    pub(super) fn open(path: &Path, option: &'static str) -> Result<Self, BootError> {
        let unreadable = |error| unreadable(option, path, &error);
        let check = |metadata: &Metadata| {
            if metadata.is_file() || metadata.is_dir() {
                return Ok(());
            }
            Err(BootError::NotAFile {
                option,
                path: path.to_owned(),
            })
        };
        // A pipe would wait for a writer when it is opened, and a device may do anything, or never end.
        check(&std::fs::metadata(path).map_err(unreadable)?)?;
        let file = File::open(path).map_err(unreadable)?;
        // The name may lead elsewhere by now.
        check(&file.metadata().map_err(unreadable)?)?;
        Ok(Self {
            file,
            option,
            path: path.to_owned(),
        })
    }

    /// Reads all of it, at most `limit` bytes: one that is larger comes back a byte longer than that.
    pub(super) fn read(&self, limit: u64) -> Result<Vec<u8>, BootError> {
        let unreadable = |error| unreadable(self.option, &self.path, &error);
        let mut file = &self.file;
        let size = file.metadata().map_err(unreadable)?.len().min(limit);
        let mut bytes = Vec::new();
        // So that nothing is moved while it is read. Where there is no memory for that, reading says so.
        drop(bytes.try_reserve_exact(usize::try_from(size).unwrap_or(0)));
        file.rewind().map_err(unreadable)?;
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        Ok(bytes)
    }
}

/// The error of a file that could not be opened or read.
pub(super) fn unreadable(option: &'static str, path: &Path, error: &io::Error) -> BootError {
    let errno = Errno::of(error);
    let path = path.to_owned();
    if errno.is_out_of_resources() {
        return BootError::NoResourcesForFile { option, path, errno };
    }
    BootError::UnreadableFile { option, path, errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path, option: &'static str, limit: u64) -> Result<Vec<u8>, BootError> {
        BootFile::open(path, option)?.read(limit)
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        for path in ["/dev/zero", "/dev/null"] {
            let error = BootFile::open(Path::new(path), "boot.kernel").expect_err("a device");
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
    fn a_path_that_no_file_can_have_says_so() {
        let error = read(Path::new("Image\0.gz"), "boot.kernel", 10).expect_err("no file");
        assert_eq!(
            error.to_string(),
            "Expected a readable file for boot.kernel but received \"Image\\0.gz\" (EINVAL)"
        );
    }

    #[test]
    fn a_host_without_files_is_not_the_images_fault() {
        // EMFILE, ENFILE, ENOMEM; EIO, EACCES.
        for (errno, code) in [
            (24, "ERR_OUT_OF_RESOURCES"),
            (23, "ERR_OUT_OF_RESOURCES"),
            (12, "ERR_OUT_OF_RESOURCES"),
            (5, "ERR_INVALID_IMAGE"),
            (13, "ERR_INVALID_IMAGE"),
        ] {
            let error = unreadable(
                "boot.kernel",
                Path::new("Image"),
                &io::Error::from_raw_os_error(errno),
            );
            assert_eq!(error.code(), code, "{error}");
        }
    }

    #[test]
    fn a_file_beyond_the_limit_shows() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert_eq!(read(&manifest, "boot.image", 4).map(|bytes| bytes.len()), Ok(5));
    }

    #[test]
    fn a_file_is_read_from_its_start_each_time() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let file = BootFile::open(&manifest, "boot.image").expect("a file");
        let first = file.read(8).expect("readable");
        assert_eq!(first, b"[package]");
        assert_eq!(file.read(8), Ok(first));
    }
}
