//! What the agent needs beyond a job: attachment points, hooks, and what it would do with the devices here.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::unistd::User;

use super::{Line, State, bad, ok};
use crate::config::Settings;
use crate::config::delivery::{Destination, WhenUnready};
use crate::config::worker::HookSettings;
use crate::delivery::account::Account;
use crate::delivery::custody::cleaned_standing;
use crate::delivery::outbox::Outbox;
use crate::delivery::receipt::Standing;
use crate::device::scan;
use crate::engine;
use crate::policy::{Decision, assess};
use crate::printable::{causes, count, line};

/// Devices that are named in one line.
const MOST_NAMED: usize = 8;

pub(super) fn lines(settings: &Settings) -> Vec<Line> {
    let mut lines = vec![attach(settings), hooks(settings), devices(settings)];
    lines.extend(delivery(settings));
    lines
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

/// Whether events reach the server, by what delivery found out about it.
fn delivery(settings: &Settings) -> Vec<Line> {
    let wanted = &settings.delivery;
    if wanted.to == Destination::Local {
        return vec![ok("delivery", "events stay in the job's folder")];
    }
    if !User::from_name(&wanted.user).is_ok_and(|user| user.is_some()) {
        let found = line(&format!("there is no account {}", wanted.user), 200);
        let advice = "make it or correct delivery.user";
        return vec![bad("delivery", State::Missing, found, advice)];
    }
    let account = Some(Account::named(&wanted.user));
    let outbox = Outbox::at(&settings.agent.directory, account);
    server(settings, outbox.standing())
}

fn server(settings: &Settings, standing: Option<(Standing, bool)>) -> Vec<Line> {
    let url = line(settings.server(), 200);
    let Some((standing, true)) = standing else {
        let found = format!("to {url}: it is not running");
        let advice = "systemctl start dfagent-delivery";
        return vec![bad("delivery", State::Warning, found, advice)];
    };
    let standing = cleaned_standing(standing);
    let serious = match settings.delivery.when_unready {
        WhenUnready::Block => State::Missing,
        WhenUnready::Warn => State::Warning,
    };
    let mut lines = vec![match standing.ready {
        Some(true) => ok("delivery", format!("to {url}: ready")),
        Some(false) => {
            let found = format!("to {url}: not ready");
            bad("delivery", serious, found, "see the next lines")
        }
        None => {
            let found = format!("to {url}: the server was not asked yet");
            bad("delivery", State::Warning, found, "check again in a minute")
        }
    }];
    let found = standing.lines.into_iter();
    lines.extend(found.map(|told| Line {
        part: "server",
        state: match told.state.as_str() {
            "ok" => State::Ok,
            "bad" => serious,
            _ => State::Warning,
        },
        found: format!("{}: {}", told.part, told.text),
        advice: None,
    }));
    lines
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::receipt::StandingLine;

    fn told(ready: Option<bool>) -> Standing {
        let line = |state: &str, text: &str| StandingLine {
            state: state.into(),
            part: "upload".into(),
            text: text.into(),
        };
        Standing {
            ready,
            lines: vec![line("ok", "enabled"), line("bad", "off\u{1b}[2J")],
            ..Standing::default()
        }
    }

    fn states(when_unready: WhenUnready, standing: Option<(Standing, bool)>) -> Vec<State> {
        let mut settings = Settings::default();
        settings.delivery.when_unready = when_unready;
        let lines = server(&settings, standing);
        let escapes = |line: &Line| line.found.contains('\u{1b}');
        assert!(!lines.iter().any(escapes));
        lines.iter().map(|line| line.state).collect()
    }

    #[test]
    fn a_server_that_is_not_ready_is_as_serious_as_the_configuration_says() {
        use State::{Missing, Ok, Warning};
        let not_ready = || Some((told(Some(false)), true));
        assert_eq!(
            states(WhenUnready::Warn, not_ready()),
            [Warning, Ok, Warning]
        );
        assert_eq!(
            states(WhenUnready::Block, not_ready()),
            [Missing, Ok, Missing]
        );
        let stopped = Some((told(Some(true)), false));
        assert_eq!(states(WhenUnready::Warn, stopped), [Warning]);
        assert_eq!(states(WhenUnready::Warn, None), [Warning]);
    }
}
