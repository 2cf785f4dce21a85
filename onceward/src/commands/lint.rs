//! `onceward lint`: every fault of every file, not only the first.

use api::manifest::Severity;

use super::{DONE, Error, FAILED, manifest};
use crate::cli::{LintArgs, Output};
use crate::screen::{Screen, Style, with_causes};

/// Checks all files; exit code 1 if one of them has a fault or cannot be read.
///
/// # Errors
/// [`Error::Gone`].
pub fn execute(args: &LintArgs, screen: Screen) -> Result<u8, Error> {
    let (mut faults, mut gone) = (0, false);
    for file in &args.files {
        let findings = match manifest::load(file, &args.set) {
            Ok(loaded) => loaded.findings,
            Err(error) => {
                faults += 1;
                screen.fault(with_causes(&error));
                continue;
            }
        };
        let here = findings.iter().filter(|finding| finding.severity == Severity::Fault).count();
        faults += here;
        // The verdict covers all files, also when nobody reads it.
        match args.output {
            Output::Json => {
                let mut lines = findings.iter().map(|finding| manifest::as_json(finding).to_string());
                gone = gone || lines.any(|line| screen.say(line).is_err());
            }
            Output::Text => {
                manifest::show(&findings, screen);
                if here == 0 && !gone {
                    gone = screen.say(format!("{}: {}", file.display(), screen.paint(Style::Good, "ok"))).is_err();
                }
            }
        }
    }
    let code = if faults == 0 { DONE } else { FAILED };
    if gone { Err(Error::Gone(code)) } else { Ok(code) }
}
