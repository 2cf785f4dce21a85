//! Go's compiler, for what tests need that others wrote in it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What to do where there is none.
pub(crate) const FIX: &str = "install Go 1.26 or newer (https://go.dev/dl) into /usr/local/go, or put it on the path";

/// `go`: where its own archive puts it, or on the path. It fetches no other toolchain, and asks for no C compiler.
pub(crate) fn command() -> Command {
    let usual = Path::new("/usr/local/go/bin/go");
    let mut command = Command::new(if usual.is_file() { usual.to_owned() } else { PathBuf::from("go") });
    command.env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0").env("GOFLAGS", "");
    command
}
