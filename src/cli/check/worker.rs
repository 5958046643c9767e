//! What the agent needs beyond a job: attachment points, hooks, and what it would do with the devices here.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::unistd::User;

use super::{Line, State, bad, ok};
use crate::config::Settings;
use crate::config::worker::HookSettings;
use crate::device::scan;
use crate::engine;
use crate::policy::{Decision, assess};
use crate::printable::{causes, count, line};

/// Devices that are named in one line.
const MOST_NAMED: usize = 8;

pub(super) fn lines(settings: &Settings) -> Vec<Line> {
    vec![attach(settings), hooks(settings), devices(settings)]
}

/// Which attachment points are evidence, and whether their filters can be read.
fn attach(settings: &Settings) -> Line {
    for (name, rule) in &settings.attach {
        if let Err(error) = engine::select(settings, None, rule.own_filter()) {
            let found = format!("[attach.{name}]: failed to {}", causes(&error));
            return bad("attach", State::Missing, found, "mend its filter");
        }
    }
    if settings.attach.is_empty() {
        return ok("attach", "no [attach] table, so the agent takes nothing");
    }
    let tables = settings.attach.iter();
    let points = tables.map(|(name, rule)| format!("{name}: {}", rule.points.join(" ")));
    ok("attach", line(&points.collect::<Vec<_>>().join(", "), 300))
}

fn hooks(settings: &Settings) -> Line {
    for (name, hook) in &settings.hook {
        if let Some((found, advice)) = hook_trouble(hook) {
            let found = line(&format!("[hook.{name}]: {found}"), 300);
            return bad("hooks", State::Missing, found, advice);
        }
    }
    let names: Vec<&str> = settings.hook.keys().map(String::as_str).collect();
    if names.is_empty() {
        ok("hooks", "none")
    } else {
        ok("hooks", names.join(", "))
    }
}

fn hook_trouble(hook: &HookSettings) -> Option<(String, &'static str)> {
    let program = hook.run.first().map(String::as_str).unwrap_or_default();
    let about = std::fs::metadata(Path::new(program));
    let runs = about.is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0);
    if !runs {
        let found = format!("{program} is no program that can be run");
        return Some((found, "install it or correct `run`"));
    }
    let known = User::from_name(&hook.user).ok().flatten().is_some();
    (!known).then(|| {
        let found = format!("there is no account {}", hook.user);
        (found, "make it or correct `user`")
    })
}

/// What the agent would take now.
fn devices(settings: &Settings) -> Line {
    let found = match scan::scan() {
        Ok(found) => found,
        Err(error) => {
            let found = format!("devices cannot be listed: {error}");
            return bad("devices", State::Missing, found, "is udevd running?");
        }
    };
    if found.is_empty() {
        let found = "udev knows of no block device";
        return bad("devices", State::Warning, found, "is udevd running?");
    }
    let decided = found
        .iter()
        .map(|device| assess(device, &settings.devices, &settings.attach));
    let (mut ours, mut ignored) = (Vec::new(), 0);
    for decision in decided {
        match decision {
            Decision::Ours(volume) => ours.push(format!("{} ({})", volume.id, volume.point)),
            Decision::Ignored(_) => ignored += 1,
            Decision::PartOfDisk => {}
        }
    }
    let others = count(ignored, "other device", "other devices");
    if ours.is_empty() {
        return ok("devices", format!("no evidence attached; {others}"));
    }
    let more = ours.len().saturating_sub(MOST_NAMED);
    let mut named = ours
        .into_iter()
        .take(MOST_NAMED)
        .collect::<Vec<_>>()
        .join(", ");
    if more > 0 {
        named.push_str(&format!(" and {more} more"));
    }
    ok("devices", format!("{named}; {others}"))
}
