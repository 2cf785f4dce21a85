//! Folders whose names survive a power loss: a synced file in a folder whose own name is not synced is lost with it.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Creates a folder and those above it, and syncs the name of each in the one above, also of those that exist: who
/// made them may have died before that. `known` are those whose name this process has synced already.
///
/// A folder outside of `ours` that was there before may lie in one that we cannot open or sync; its name is not ours
/// to keep then.
pub(crate) fn create_folder(
    folder: &Path,
    ours: &Path,
    known: &mut HashSet<PathBuf>,
    sync: &dyn Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let chain: Vec<&Path> = folder.ancestors().take_while(|folder| !known.contains(*folder)).collect();
    for folder in chain.into_iter().rev() {
        let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) else { continue };
        let existed = folder.is_dir();
        if !existed {
            match fs::create_dir(folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => (),
                made => made?,
            }
        }
        match sync(parent) {
            Err(error) if existed && !parent.starts_with(ours) && cannot_be_synced(error.kind()) => {}
            synced => synced?,
        }
        known.insert(folder.to_owned());
    }
    Ok(())
}

/// By us, or at all.
fn cannot_be_synced(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::ReadOnlyFilesystem)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Folders that were synced, by name, when `folder` was created.
    fn synced(folder: &Path, ours: &Path, failing: Option<(&Path, ErrorKind)>) -> io::Result<Vec<PathBuf>> {
        let calls = RefCell::new(Vec::new());
        create_folder(folder, ours, &mut HashSet::new(), &|parent| {
            calls.borrow_mut().push(parent.to_owned());
            match failing {
                Some((path, kind)) if path == parent => Err(kind.into()),
                _ => Ok(()),
            }
        })?;
        Ok(calls.into_inner())
    }

    #[test]
    fn names_of_folders_that_exist_are_synced_like_those_of_new_ones() {
        let root = tempfile::tempdir().unwrap();
        let ours = root.path().join("made/by/others");
        fs::create_dir_all(&ours).unwrap();
        let folder = ours.join("new/too");
        let mut expected: Vec<PathBuf> = folder.ancestors().skip(1).map(Path::to_owned).collect();
        expected.reverse();
        assert_eq!(synced(&folder, &ours, None).unwrap(), expected);
        assert!(folder.is_dir());
        assert_eq!(synced(&folder, &ours, None).unwrap(), expected, "another process knows nothing of it");
        let mut known = HashSet::from([ours.clone()]);
        let calls = RefCell::new(Vec::new());
        let note = |parent: &Path| {
            calls.borrow_mut().push(parent.to_owned());
            Ok(())
        };
        create_folder(&folder, &ours, &mut known, &note).unwrap();
        assert_eq!(calls.into_inner(), [ours.clone(), ours.join("new")], "what is known is not synced again");
    }

    #[test]
    fn a_name_that_is_ours_must_be_synced_and_one_above_only_if_it_can_be() {
        let root = tempfile::tempdir().unwrap();
        let ours = root.path().join("ours");
        let denied = ErrorKind::PermissionDenied;
        assert_eq!(synced(&ours, &ours, Some((root.path(), denied))).unwrap_err().kind(), denied, "it is new");
        synced(&ours, &ours, Some((root.path(), denied))).unwrap();
        synced(&ours, &ours, Some((root.path(), ErrorKind::StorageFull))).unwrap_err();
        let inside = ours.join("inside");
        fs::create_dir(&inside).unwrap();
        assert_eq!(synced(&inside, &ours, Some((&ours, denied))).unwrap_err().kind(), denied, "it is ours");
    }
}
