//! A small disk of a test's own.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory over a folder. It is taken away when this is dropped.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Puts one of that size over a folder; none, said on standard error, where this user may not.
    ///
    /// # Panics
    /// When there is no `mount`.
    #[must_use]
    pub fn mount(at: &Path, mib: u32) -> Option<Self> {
        let size = format!("size={mib}m,mode=700");
        let ran = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output().unwrap();
        if ran.status.success() {
            return Some(Self { at: at.into() });
        }
        #[expect(clippy::print_stderr, reason = "whoever reads the results should know")]
        {
            eprintln!("not tested: no file system can be mounted here: {}", String::from_utf8_lossy(&ran.stderr));
        }
        None
    }

    /// Writes until there is no room for a byte more.
    ///
    /// # Panics
    /// When there is room for ever.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        // The large parts leave room for some small ones.
        for part in [1 << 20, 4096] {
            let part = vec![b'x'; part];
            assert!((0..100_000).any(|_| file.write_all(&part).is_err()), "this disk has no end");
        }
    }

    /// Takes away what [`Disk::fill`] wrote.
    ///
    /// # Panics
    /// When nothing was.
    pub fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    /// Takes no more writes from anybody, or takes them again.
    ///
    /// # Panics
    /// When that cannot be changed.
    pub fn set_read_only(&self, read_only: bool) {
        let options = if read_only { "remount,ro" } else { "remount,rw" };
        let ran = Command::new("mount").args(["-o", options]).arg(&self.at).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A silo may still have its files open; with it the last of it goes.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}
