//! `kubectl onceward report`: everything that helps somebody else to help, in one archive, without secrets. What cannot be
//! had is said in its README, and is no fault.

mod archive;
mod gather;
mod redact;
mod shapes;

use std::io::Write as _;
use std::path::PathBuf;

use crate::DONE;
use crate::cli::ReportArgs;
use crate::layout::{bytes, time_of};
use crate::site::{Error, Site};

use self::archive::Archive;

/// Gathers, and writes a new file that only its owner may read.
///
/// # Errors
/// [`Error::NoPipeline`]; [`Error::Io`] where the file is there already or cannot be written.
pub(crate) async fn execute(site: &Site<'_>, args: &ReportArgs) -> Result<u8, Error> {
    let pipeline = site.pipeline(&args.name).await?;
    let files = gather::gather(site, &pipeline).await;
    let path = args.file.clone().unwrap_or_else(|| default_file(site, &args.name));
    let io = |source| Error::Io { what: format!("write {}; name another with --file", path.display()), source };
    let mut archive = Archive::default();
    for (name, content) in &files {
        archive.add(name, content).map_err(io)?;
    }
    let content = archive.finish().map_err(io)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(io)?;
    file.write_all(&content).and_then(|()| file.sync_all()).map_err(io)?;
    site.terminal.tell(&format!(
        "{} files, {}; look through it before you hand it on",
        files.len(),
        bytes(content.len() as u64)
    ));
    site.terminal.say(&path.display().to_string())?;
    Ok(DONE)
}

fn default_file(site: &Site<'_>, name: &str) -> PathBuf {
    let time: String = time_of(site.now_ms() / 1_000 * 1_000).chars().filter(char::is_ascii_alphanumeric).collect();
    format!("onceward-{}-{name}-{time}.zip", site.namespace).into()
}
