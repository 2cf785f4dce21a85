use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::connectors::files::filesystem::{FileSystem, LocalFiles, rename_by_link};

type Rename = fn(&Path, &Path) -> std::io::Result<()>;

/// Both ways to give a file a free name: by the flag, and where that is unknown by a link.
const WAYS: [(&str, Rename); 2] =
    [("flag", |from, to| LocalFiles.rename_noreplace(from, to)), ("link", rename_by_link)];

#[test]
fn a_rename_gives_the_content_its_new_name_and_takes_the_old_one_away() {
    for (way, rename) in WAYS {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join(".hidden"), folder.path().join("final"));
        fs::write(&from, "rows").unwrap();
        rename(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "rows", "{way}");
        assert!(!from.exists(), "{way}");
        assert_eq!(rename(&from, &folder.path().join("again")).unwrap_err().kind(), ErrorKind::NotFound, "{way}");
    }
}

#[test]
fn a_rename_never_replaces_what_is_there() {
    for (way, rename) in WAYS {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join(".hidden"), folder.path().join("final"));
        fs::write(&from, "mine").unwrap();
        fs::write(&to, "theirs").unwrap();
        assert_eq!(rename(&from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists, "{way}");
        assert_eq!(fs::read_to_string(&to).unwrap(), "theirs", "{way}");
        assert_eq!(fs::read_to_string(&from).unwrap(), "mine", "{way}");
    }
}
