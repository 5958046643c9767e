//! `dfagent guard-disk NODE`, for udev's rule and nobody else: sets a disk read-only if it is evidence, and prints what it
//! is as properties for udev's database. It runs in the initramfs, too, where there is nothing but the rule.

use std::fmt::Write as _;
use std::path::Path;

use super::exit::Exit;
use super::process::print_line;
use crate::config::Settings;
use crate::device::scan;
use crate::evidence::source;
use crate::policy::guard::{Guard, Role, guard};
use crate::printable;

pub(super) fn run(node: &Path, config: Option<&Path>) -> anyhow::Result<Exit> {
    // A broken configuration must not leave evidence without its guard.
    let settings = Settings::load(config).unwrap_or_else(|error| {
        eprintln!(
            "dfagent: failed to {}; built-in defaults hold",
            printable::causes(&error)
        );
        Settings::default()
    });
    let Some(device) = scan::one(node) else {
        return Ok(Exit::Complete);
    };
    let guard = guard(&device, &settings.devices, &settings.attach);
    if guard.role == Role::Evidence
        && let Err(error) = source::set_read_only(node)
    {
        // The agent looks again before it reads; what keeps others away holds in any case.
        eprintln!("dfagent: failed to {}", printable::causes(&error));
    }
    print_line(properties(&guard).trim_end())?;
    Ok(Exit::Complete)
}

/// `KEY=VALUE` lines; values are quoted by udev itself, and hold no control characters.
fn properties(guard: &Guard) -> String {
    let role = match guard.role {
        Role::Own => "own",
        Role::Evidence => "evidence",
        Role::Unknown => "unknown",
    };
    let mut text = format!("DFAGENT_ROLE={role}\n");
    for (key, value) in [
        ("DFAGENT_VOLUME", &guard.id),
        ("DFAGENT_POINT", &guard.point),
    ] {
        if let Some(value) = value {
            // Writing to text cannot fail.
            writeln!(text, "{key}={}", printable::line(value, 120)).unwrap_or_default();
        }
    }
    if guard.role == Role::Evidence && guard.known_without_content {
        text.push_str("DFAGENT_UNREAD=1\n");
    }
    text
}
