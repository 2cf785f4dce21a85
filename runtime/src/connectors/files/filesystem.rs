//! The file system operations that decide whether output is durable and visible, as a port: tests record their order
//! and inject a fault at each.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, RenameFlags};

use crate::durable;

/// A file being written.
pub trait OutputFile: Write + Send {
    /// Content and length are on stable storage when this returns.
    fn sync(&mut self) -> io::Result<()>;
}

/// Operations on the folder of a sink. All are on local paths and block.
pub trait FileSystem: Send + Sync {
    /// Creates a folder and its parents, durably; an existing one is fine.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Whether files can be created in a folder, leaving no trace.
    fn check_writable(&self, folder: &Path) -> io::Result<()>;
    /// Creates a file that must not exist (`O_EXCL`).
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn OutputFile>>;
    /// Gives a file another name, which must be free: `AlreadyExists` if it is not, `NotFound` if the file is gone.
    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Names created, changed and removed in a folder are on stable storage when this returns.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// File names in a folder, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Length of a regular file; `None` if nothing has that name.
    fn length(&self, path: &Path) -> io::Result<Option<u64>>;
    fn is_folder(&self, path: &Path) -> bool;
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>>;
}

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalFiles;

/// A rename without flags: a hard link never replaces either. A crash between the two steps leaves both names on one
/// file; committing again removes the hidden one.
pub(super) fn rename_by_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

impl OutputFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl FileSystem for LocalFiles {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        durable::create_folder(folder, folder, &mut HashSet::new(), &|parent| self.sync_folder(parent))
    }

    fn check_writable(&self, folder: &Path) -> io::Result<()> {
        let access = Access::WRITE_OK | Access::EXEC_OK | Access::READ_OK;
        Ok(rustix::fs::accessat(CWD, folder, access, AtFlags::EACCESS)?)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).open(path)?))
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            // Some network file systems know no flags.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
                rename_by_link(from, to)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        // Names that are not UTF-8 are not ours.
        let names = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(path)?))
    }
}
