//! Secrets: values that are read from files and never shown.
//!
//! A secret is a folder of files, `<secrets-dir>/<secret>/<key>`: so Kubernetes mounts one, and so it lies on a laptop.
//! Own types and no crate: all that is wanted is that nothing prints them. Memory is not wiped, since the clients that
//! take a password keep copies of their own for as long as they live.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use api::pipeline::SecretRef;

/// The largest value: what Kubernetes lets a whole Secret hold.
const MAX_BYTES: u64 = 1 << 20;

/// Bytes that no format prints; there is no `Display`.
#[derive(Clone)]
pub struct SecretBytes(Arc<[u8]>);

impl SecretBytes {
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// For the one who needs them; never for a message.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Text that no format prints; there is no `Display`.
#[derive(Clone)]
pub struct SecretString(Arc<str>);

impl SecretString {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// For the one who needs it; never for a message.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A secret that cannot be had. No variant holds a value or a part of one.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{field}: {} is missing; put the value there, or name the folder of secrets with --secrets-dir", .path.display())]
    Missing { field: String, path: PathBuf },
    #[error("{field}: {} cannot be read: {source}; it must be a file that this user may read", .path.display())]
    Unreadable {
        field: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{field}: {} {what}; {fix}", .path.display())]
    Unfit { field: String, path: PathBuf, what: &'static str, fix: &'static str },
    #[error("{field}: secret and key must be names of a folder and a file, without `/`")]
    Name { field: String },
}

/// Where secrets are.
#[derive(Clone, Debug)]
pub struct Secrets {
    folder: PathBuf,
}

impl Secrets {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// A value as it stands in its file. `field`: the manifest's, for errors.
    ///
    /// # Errors
    /// [`SecretError`]; an empty file is none.
    pub fn bytes(&self, field: &str, reference: &SecretRef) -> Result<SecretBytes, SecretError> {
        let (_, bytes) = self.read(field, reference)?;
        Ok(SecretBytes::new(bytes))
    }

    /// A name or a password: text, without the line break that editors and `echo` put at its end.
    ///
    /// # Errors
    /// [`SecretError`]; nothing but a line break is none.
    pub fn text(&self, field: &str, reference: &SecretRef) -> Result<SecretString, SecretError> {
        let (path, bytes) = self.read(field, reference)?;
        let unfit = |what, fix| SecretError::Unfit { field: field.to_owned(), path: path.clone(), what, fix };
        let text = std::str::from_utf8(&bytes).map_err(|_| unfit("is not UTF-8", "save it as UTF-8"))?;
        let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        if text.is_empty() {
            return Err(unfit("holds nothing but a line break", "put the value there"));
        }
        Ok(SecretString::new(text))
    }

    fn read(&self, field: &str, reference: &SecretRef) -> Result<(PathBuf, Vec<u8>), SecretError> {
        // The manifest's schema says so too; here it keeps a path inside the folder whoever made the reference.
        if !is_name(&reference.secret) || !is_name(&reference.key) {
            return Err(SecretError::Name { field: field.to_owned() });
        }
        let path = self.folder.join(&reference.secret).join(&reference.key);
        match read_bounded(&path) {
            Ok(bytes) => {
                let unfit = |what, fix| SecretError::Unfit { field: field.to_owned(), path: path.clone(), what, fix };
                if bytes.is_empty() {
                    return Err(unfit("is empty", "put the value there"));
                }
                if bytes.len() as u64 > MAX_BYTES {
                    return Err(unfit("is larger than 1 MiB", "this is no secret; put the value there"));
                }
                Ok((path, bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SecretError::Missing { field: field.to_owned(), path })
            }
            Err(source) => Err(SecretError::Unreadable { field: field.to_owned(), path, source }),
        }
    }
}

/// At most one byte more than is allowed. Links are followed: Kubernetes mounts keys as links.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would make the start wait for whoever writes it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// One component of a path, and not `.` or `..`.
fn is_name(text: &str) -> bool {
    let mut components = Path::new(text).components();
    let first = components.next();
    components.next().is_none()
        && !text.contains('\0')
        && matches!(first, Some(Component::Normal(name)) if name == text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CANARY: &str = "hunter2-canary";

    fn reference(secret: &str, key: &str) -> SecretRef {
        SecretRef { secret: secret.to_owned(), key: key.to_owned() }
    }

    /// A folder with the secret `user`, whose key `password` holds `value`.
    fn stored(value: &[u8]) -> (tempfile::TempDir, Secrets) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("user")).unwrap();
        fs::write(folder.path().join("user/password"), value).unwrap();
        let secrets = Secrets::new(folder.path());
        (folder, secrets)
    }

    fn text_of(value: &[u8]) -> Result<String, SecretError> {
        let (_folder, secrets) = stored(value);
        secrets.text("f", &reference("user", "password")).map(|text| text.reveal().to_owned())
    }

    #[test]
    fn one_line_break_at_the_end_is_no_part_of_a_password() {
        for (value, text) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("a\r", "a\r")]
        {
            assert_eq!(text_of(value.as_bytes()).unwrap(), text, "{value:?}");
        }
    }

    #[test]
    fn bytes_are_as_they_stand() {
        let (_folder, secrets) = stored(b"\xff pem\n");
        assert_eq!(secrets.bytes("f", &reference("user", "password")).unwrap().reveal(), b"\xff pem\n");
    }

    #[test]
    fn missing_secret_names_field_path_and_fix() {
        let error = Secrets::new("/nowhere").bytes("spec.connections[0].kafka.tls.ca", &reference("ca", "ca.crt"));
        assert_eq!(
            error.unwrap_err().to_string(),
            "spec.connections[0].kafka.tls.ca: /nowhere/ca/ca.crt is missing; put the value there, or name the folder of secrets with --secrets-dir"
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_without_showing_it() {
        let large = vec![b'x'; MAX_BYTES as usize + 1];
        let foreign = [CANARY.as_bytes(), b"\xff"].concat();
        for (value, said) in [
            (&b""[..], "is empty"),
            (b"\n", "nothing but a line break"),
            (&foreign, "is not UTF-8"),
            (&large, "larger than 1 MiB"),
        ] {
            let error = text_of(value).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(!format!("{error}{error:?}").contains(CANARY), "{error:?}");
        }
        assert_eq!(text_of(&large[1..]).unwrap().len() as u64, MAX_BYTES, "the bound itself is allowed");
        let (folder, secrets) = stored(b"x");
        fs::create_dir(folder.path().join("user/folder")).unwrap();
        let error = secrets.bytes("f", &reference("user", "folder")).unwrap_err().to_string();
        assert!(error.contains("it is not a file"), "{error}");
    }

    #[test]
    fn mounted_links_are_followed() {
        let (folder, secrets) = stored(b"x");
        std::os::unix::fs::symlink("password", folder.path().join("user/link")).unwrap();
        assert_eq!(secrets.text("f", &reference("user", "link")).unwrap().reveal(), "x");
    }

    #[test]
    fn no_format_prints_a_secret() {
        let (_folder, secrets) = stored(CANARY.as_bytes());
        let (text, bytes) = (
            secrets.text("f", &reference("user", "password")).unwrap(),
            secrets.bytes("f", &reference("user", "password")).unwrap(),
        );
        assert_eq!((text.reveal(), bytes.reveal()), (CANARY, CANARY.as_bytes()));
        assert_eq!(format!("{text:?} {text:#?} {bytes:?} {bytes:#?}"), "*** *** *** ***");
    }

    proptest! {
        /// Whatever the names, nothing outside of the folder is read.
        #[test]
        fn no_name_leads_out_of_the_folder(secret in "[a-z./\\\\\0]{0,8}", key in "[a-z./\\\\\0]{0,8}") {
            let outer = tempfile::tempdir().unwrap();
            let inner = outer.path().join("a/b");
            fs::create_dir_all(&inner).unwrap();
            for place in [outer.path().join("k"), outer.path().join("a/k"), inner.join("k")] {
                fs::write(place, CANARY).unwrap();
            }
            prop_assert!(Secrets::new(&inner).bytes("f", &reference(&secret, &key)).is_err());
        }
    }

    #[test]
    fn ways_out_are_refused_by_name() {
        let (_folder, secrets) = stored(b"x");
        for (secret, key) in [
            ("..", "x"),
            (".", "user"),
            ("user", ".."),
            ("user/", "password"),
            ("", "x"),
            ("/etc", "passwd"),
            ("user", "a/../password"),
        ] {
            let error = secrets.bytes("f", &reference(secret, key)).unwrap_err();
            assert!(matches!(error, SecretError::Name { .. }), "{secret} {key}: {error}");
        }
    }
}
