//! Relative paths resolve against the manifest's own folder, wherever the command runs.

use std::path::{Path, PathBuf};

use crate::pipeline::PipelineSpec;

/// The folder's name is not Unicode, so no manifest can name it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the folder {} is not Unicode; move the manifest", .folder.display())]
pub struct NotUnicode {
    folder: PathBuf,
}

impl PipelineSpec {
    /// Makes the paths of sources, sinks and checkpoint storage absolute. `base`: the manifest's folder, absolute.
    ///
    /// # Errors
    /// A path that is not Unicode.
    pub fn resolve_paths(&mut self, base: &Path) -> Result<(), NotUnicode> {
        let unicode = || NotUnicode { folder: base.to_owned() };
        // Only the manifest's part of a source's path is a glob: a folder may be called `data[1]`.
        let escaped = escape_glob(base.to_str().ok_or_else(unicode)?);
        for files in self.sources.iter_mut().filter_map(|source| source.files.as_mut()) {
            files.path = resolve(Path::new(&escaped), &files.path).ok_or_else(unicode)?;
        }
        for files in self.sinks.iter_mut().filter_map(|sink| sink.files.as_mut()) {
            files.path = resolve(base, &files.path).ok_or_else(unicode)?;
        }
        if let Some(local) = &mut self.checkpoint.storage.local {
            local.path = resolve(base, &local.path).ok_or_else(unicode)?;
        }
        Ok(())
    }
}

/// `./` and double slashes fall away; `..` stays, since a link may stand before it.
fn resolve(base: &Path, path: &str) -> Option<String> {
    let joined: PathBuf = base.join(path).components().collect();
    joined.to_str().map(str::to_owned)
}

fn escape_glob(text: &str) -> String {
    let escape = |c: char| if matches!(c, '*' | '?' | '[' | ']') { format!("[{c}]") } else { c.to_string() };
    text.chars().map(escape).collect()
}
