//! `dfagent check`: everything that a job needs, one line each, with what to do.

mod ec2;
mod server;
mod worker;

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::args::CheckArgs;
use super::exit::Exit;
use super::process::print_line;
use crate::cage::Cage;
use crate::cage::run::bubblewrap_path;
use crate::cage::task::Task;
use crate::census::filter::CollectionFilter;
use crate::config::{Settings, filters};
use crate::durable::free_bytes;
use crate::evidence::plan::{Reading, mount_plan};
use crate::plaso::install::Plaso;
use crate::printable::causes;

/// Older releases are warned about: Plaso itself warns after this many days.
const OLD_DAYS: i32 = 180;

/// How a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Missing,
}

/// One line.
#[derive(Debug, Serialize)]
struct Line {
    part: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    ready: bool,
    parts: &'a [Line],
}

pub(super) fn run(args: &CheckArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let settings = Settings::load(config)?;
    let mut lines = vec![
        rights(),
        kernel(),
        filter(&settings)?,
        space(&settings, &args.to),
    ];
    let own_program = super::own_program()?;
    let runtime = super::runtime().context("start")?;
    runtime.block_on(async {
        lines.push(cage(&settings, &own_program).await);
        lines.extend(plaso(&settings).await);
        lines.extend(server::lines(&settings).await);
        lines.extend(ec2::lines(&settings).await);
    });
    lines.extend(worker::lines(&settings));
    let worst = lines
        .iter()
        .map(|line| line.state)
        .max()
        .unwrap_or(State::Ok);
    let ready = worst < State::Missing;
    if args.json {
        let report = Report {
            schema: "dfagent-check-1",
            ready,
            parts: &lines,
        };
        print_line(&serde_json::to_string_pretty(&report).context("write the report")?)?;
    } else {
        for line in &lines {
            print_line(&render(line))?;
        }
    }
    Ok(if ready {
        Exit::Complete
    } else {
        Exit::NeedsOperator
    })
}

fn render(line: &Line) -> String {
    let state = match line.state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Missing => "missing",
    };
    let advice = line
        .advice
        .as_ref()
        .map_or_else(String::new, |advice| format!("; {advice}"));
    format!("{:<8} {:<10} {}{advice}", state, line.part, line.found)
}

fn ok(part: &'static str, found: impl Into<String>) -> Line {
    Line {
        part,
        state: State::Ok,
        found: found.into(),
        advice: None,
    }
}

fn bad(
    part: &'static str,
    state: State,
    found: impl Into<String>,
    advice: impl Into<String>,
) -> Line {
    Line {
        part,
        state,
        found: found.into(),
        advice: Some(advice.into()),
    }
}

fn rights() -> Line {
    if nix::unistd::geteuid().is_root() {
        ok("rights", "running as root")
    } else {
        bad(
            "rights",
            State::Missing,
            "not running as root",
            "evidence is only read as root; use sudo",
        )
    }
}

fn kernel() -> Line {
    let release = nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| name.release().to_string_lossy().into_owned(),
    );
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |driver: &str| {
        known
            .lines()
            .any(|line| line.split_whitespace().last() == Some(driver))
            || module_exists(&release, driver)
    };
    let kinds = [
        "ext4", "xfs", "btrfs", "squashfs", "erofs", "vfat", "iso9660",
    ];
    let (there, absent): (Vec<&str>, Vec<&str>) = kinds
        .iter()
        .partition(|kind| mount_plan(kind).is_some_and(|plan| has(plan.driver)));
    let found = format!("Linux {release} with {}", there.join(", "));
    if !Path::new("/dev/loop-control").exists() {
        return bad(
            "kernel",
            State::Missing,
            found,
            "no loop devices; load them with `modprobe loop`",
        );
    }
    if absent.is_empty() {
        return ok("kernel", found);
    }
    let advice = format!(
        "cannot mount {}; disks with these need another kernel",
        absent.join(", ")
    );
    bad("kernel", State::Warning, found, advice)
}

fn module_exists(release: &str, driver: &str) -> bool {
    let file = if driver == "iso9660" { "isofs" } else { driver };
    let list =
        fs::read_to_string(format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    list.lines().any(|line| {
        line.split(':')
            .next()
            .is_some_and(|path| path.contains(&format!("/{file}.ko")))
    })
}

fn filter(settings: &Settings) -> anyhow::Result<Line> {
    let files = filters::in_force(&settings.filter.directory, &[])?;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let texts = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    Ok(match CollectionFilter::read(texts) {
        Ok(filter) => ok(
            "filter",
            format!("{} paths in {}", filter.patterns.len(), names.join(", ")),
        ),
        Err(error) => bad(
            "filter",
            State::Missing,
            error.to_string(),
            "mend or remove that file",
        ),
    })
}

fn space(settings: &Settings, folder: &Path) -> Line {
    let reserve = settings.reserve_bytes();
    match free_bytes(folder) {
        Some(free) if free < reserve.saturating_mul(4) => {
            let advice = format!(
                "{} MiB are left alone; make room or use another --to folder",
                reserve >> 20
            );
            let state = if free < reserve {
                State::Missing
            } else {
                State::Warning
            };
            bad(
                "space",
                state,
                format!("{} MiB free in {}", free >> 20, folder.display()),
                advice,
            )
        }
        Some(free) => ok(
            "space",
            format!("{} MiB free in {}", free >> 20, folder.display()),
        ),
        None => bad(
            "space",
            State::Missing,
            format!("no folder {}", folder.display()),
            "make it",
        ),
    }
}

async fn cage(settings: &Settings, own_program: &Path) -> Line {
    if bubblewrap_path().is_none() {
        return bad(
            "cage",
            State::Missing,
            "no bubblewrap",
            "install the package bubblewrap",
        );
    }
    let cage = match Cage::find(
        &settings.cage.user,
        settings.cage.limits(),
        settings.cage.weights(),
        own_program,
    ) {
        Ok(cage) => cage,
        Err(error) => return bad("cage", State::Missing, error.to_string(), "see the message"),
    };
    let facts = cage.facts();
    let found = format!(
        "bubblewrap and setpriv, user {}, limits: {}",
        facts.uid, facts.limited_by
    );
    match try_cage(&cage).await {
        Ok(()) if facts.limited_by == "cgroup" => ok("cage", found),
        Ok(()) => {
            let advice =
                "a slice's memory is limited for each process only; boot with cgroup v2 for more";
            bad("cage", State::Warning, found, advice)
        }
        Err(reason) => bad(
            "cage",
            State::Missing,
            format!("it does not start: {reason}"),
            "run as root, outside other sandboxes",
        ),
    }
}

async fn try_cage(cage: &Cage) -> Result<(), String> {
    let folder = std::env::temp_dir().join(format!("dfagent-check-{}", std::process::id()));
    let task = Task {
        name: "check",
        program: vec!["/usr/bin/true".to_owned()],
        evidence: None,
        read_only: Vec::new(),
        limit: std::time::Duration::from_secs(30),
    };
    let result = task
        .run(cage, &folder, &[])
        .await
        .map_err(|error| causes(&error));
    crate::durable::remove_folder(&folder).map_err(|error| causes(&error))?;
    result
}

async fn plaso(settings: &Settings) -> Vec<Line> {
    let environment = &settings.plaso.environment;
    let configured = (!environment.as_os_str().is_empty()).then_some(environment.as_path());
    let plaso = match Plaso::find(configured).await {
        Ok(plaso) => plaso,
        Err(error) => {
            return vec![bad(
                "plaso",
                State::Missing,
                "no usable Plaso",
                error.to_string(),
            )];
        }
    };
    let versions = &plaso.versions;
    let place = plaso
        .environment
        .as_deref()
        .unwrap_or(Path::new("/usr"))
        .display();
    let found = format!(
        "{} on Python {} in {place}",
        versions.plaso, versions.python
    );
    let today = jiff::tz::Offset::UTC
        .to_datetime(crate::clock::moment())
        .date();
    let age = plaso.age_days(today).unwrap_or(0);
    let release = if age > OLD_DAYS {
        bad(
            "plaso",
            State::Warning,
            found,
            format!("it is {age} days old; bake a newer image"),
        )
    } else {
        ok("plaso", format!("{found}, {age} days old"))
    };
    let raw = mount_plan("xfs").map(|plan| plan.raw.choose(versions.libfsxfs, true));
    let version = versions
        .libfsxfs
        .map_or_else(|| "none".to_owned(), |version| version.to_string());
    let xfs = if raw == Some(Reading::Raw) {
        ok(
            "libfsxfs",
            format!("{version}: XFS is read from the device"),
        )
    } else {
        let advice =
            "XFS is read from the mount, without birth times; 20260701 reads bigtime right";
        bad("libfsxfs", State::Warning, version, advice)
    };
    vec![release, xfs]
}
