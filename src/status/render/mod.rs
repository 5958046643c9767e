//! Pure: a status as plain text for people, most urgent first.
//!
//! What the agent says is not trusted here either: every text is made printable again before it is shown.

mod brief;
mod delivery;
mod jobs;
pub mod screen;

pub use brief::brief;

use jiff::Timestamp;

use super::{AgentStatus, Status, attention};
use crate::dispatch::job::State;
use crate::printable::{self, size};

/// The width where there is no terminal.
pub const WIDTH: usize = 100;

/// The longest text of one sentence, path or command.
const MOST_TEXT: usize = 2000;

/// The longest text that is one word of a row.
const MOST_WORD: usize = 200;

/// How it looks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Columns.
    pub width: usize,
    /// Whether the terminal may be told to show bold text.
    pub colour: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            width: WIDTH,
            colour: false,
        }
    }
}

/// Lines that are put together.
struct Page {
    style: Style,
    out: String,
}

impl Page {
    /// A line as it is, never broken: what is copied, and rows of a table.
    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    /// A line that is looked at first.
    fn strong(&mut self, line: &str) {
        if self.style.colour {
            self.line(&format!("\u{1b}[1m{line}\u{1b}[0m"));
        } else {
            self.line(line);
        }
    }

    /// A heading after an empty line.
    fn heading(&mut self, line: &str) {
        self.out.push('\n');
        self.strong(line);
    }

    /// A sentence, broken at spaces.
    fn text(&mut self, indent: usize, text: &str) {
        for line in wrap(&plain(text), indent, self.style.width) {
            self.line(&line);
        }
    }
}

/// A sentence, a path or a command from the other side.
fn plain(text: &str) -> String {
    printable::line(text, MOST_TEXT)
}

/// One word from the other side.
fn word(text: &str) -> String {
    printable::line(text, MOST_WORD)
}

/// Breaks at spaces, indents, and leaves words whole; a line that continues another is indented further.
fn wrap(text: &str, indent: usize, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    let mut length = indent;
    let mut empty = true;
    for word in text.split_whitespace() {
        let count = word.chars().count();
        if !empty && length + 1 + count > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent + 2)));
            (length, empty) = (indent + 2, true);
        }
        if !empty {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        (length, empty) = (length + count, false);
    }
    lines.push(line);
    lines
}

/// A time in UTC to the minute; anything else as it is.
fn moment(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(
        |_| word(text),
        |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

/// The whole status.
#[must_use]
pub fn render(status: &Status, style: Style) -> String {
    let mut page = Page {
        style,
        out: String::new(),
    };
    head(&mut page, status);
    needs_operator(&mut page, status);
    jobs::table(&mut page, status);
    ignored(&mut page, status);
    page.out
}

fn head(page: &mut Page, status: &Status) {
    let agent = &status.agent;
    let counts = counts(status);
    if agent.running {
        let since = agent
            .since
            .as_deref()
            .map_or_else(String::new, |since| format!(" since {}", moment(since)));
        let state = word(&agent.state);
        let version = word(&agent.version);
        let text = format!("dfagent {version} {state}{since}: {counts}{}", free(agent));
        for line in wrap(&text, 0, page.style.width) {
            page.strong(&line);
        }
    } else {
        page.strong(&format!(
            "THE AGENT IS {}. Run: systemctl start dfagent; journalctl -u dfagent",
            word(&agent.state).to_uppercase()
        ));
        page.text(
            0,
            &format!(
                "From its ledger, as of {}: {counts}{}",
                moment(&agent.at),
                free(agent)
            ),
        );
    }
    delivery::server(page, agent);
    if let Some(at) = &agent.power_off_at {
        page.text(
            0,
            &format!(
                "This machine is switched off at {}, unless a volume comes.",
                moment(at)
            ),
        );
    }
    if let Some(why) = &agent.refused_configuration {
        let since = agent.configured.as_deref().map_or_else(String::new, |at| {
            format!(" The one of {} is in force.", moment(at))
        });
        page.text(
            0,
            &format!("The newer configuration was refused: {why}{since}"),
        );
    }
}

fn free(agent: &AgentStatus) -> String {
    agent.free_bytes.map_or_else(String::new, |bytes| {
        let low = if bytes <= agent.reserve_bytes {
            format!(", TOO LITTLE: {} are kept free", size(agent.reserve_bytes))
        } else {
            String::new()
        };
        format!("; {} free{low}", size(bytes))
    })
}

/// All jobs in few words.
fn counts(status: &Status) -> String {
    let count = |wanted: &[&str]| {
        let jobs = status.jobs.iter();
        jobs.filter(|job| wanted.contains(&job.job.state.name()))
            .count()
    };
    let running = match status.agent.running {
        true => "running",
        false => "broken off",
    };
    let mut parts: Vec<String> = [
        (count(&["running"]), running),
        (
            count(&["queued", "waiting", "interrupted", "released"]),
            "waiting",
        ),
        (count(&["done", "cancelled"]), "done"),
    ]
    .into_iter()
    .map(|(number, what)| format!("{number} {what}"))
    .collect();
    let delivering = count(&["delivering"]);
    if delivering > 0 {
        parts.insert(1, format!("{delivering} delivering"));
    }
    let tasks = attention::tasks(status).len();
    if tasks > 0 {
        let verb = if tasks == 1 { "needs" } else { "need" };
        parts.push(format!("{tasks} {verb} an operator"));
    }
    if status.jobs.is_empty() && tasks == 0 {
        return "no jobs".to_owned();
    }
    parts.join(", ")
}

fn needs_operator(page: &mut Page, status: &Status) {
    let tasks = attention::tasks(status);
    if tasks.is_empty() {
        return;
    }
    page.heading("NEEDS OPERATOR");
    for task in tasks {
        page.text(2, &task.why);
        if !task.command.is_empty() {
            page.line(&format!("    {}", plain(&task.command)));
        }
    }
}

fn ignored(page: &mut Page, status: &Status) {
    if status.ignored.is_empty() {
        return;
    }
    page.heading("IGNORED DEVICES");
    for device in &status.ignored {
        page.text(
            2,
            &format!(
                "{}, {}: {}",
                device.node.display(),
                size(device.size),
                device.reason
            ),
        );
    }
}

/// Whether a job has come to its end.
const fn has_ended(state: &State) -> bool {
    matches!(state, State::Done { .. } | State::Cancelled)
}

#[cfg(test)]
pub(super) mod example;
#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::example::{at_work, delivering, ignored, job, partial, short, status};
    use super::*;
    use crate::dispatch::job::HookRecord;

    const VOLUME: &str = "vol-0123456789abcdef0";
    const SECOND: &str = "vol-0fedcba9876543210";

    fn show(status: &Status) -> String {
        render(status, Style::default())
    }

    #[test]
    fn nothing_to_do() {
        let mut status = status();
        status.ignored = vec![
            ignored(
                "/dev/nvme0n1",
                "It is in use: /dev/nvme0n1p1 is mounted on /.",
            ),
            ignored(
                "/dev/nvme9n1",
                "No attachment point of the configuration matches /dev/sdz.",
            ),
        ];
        status.agent.power_off_at = Some("2026-11-20T03:27:00Z".to_owned());
        status.agent.refused_configuration =
            Some("/etc/dfagent/dfagent.toml, line 4: unknown field `at_onze`.".to_owned());
        assert_snapshot!(show(&status), @r#"
        dfagent 0.1.0 running since 2026-11-20 02:00 UTC: no jobs; 412.0 GiB free
        This machine is switched off at 2026-11-20 03:27 UTC, unless a volume comes.
        The newer configuration was refused: /etc/dfagent/dfagent.toml, line 4: unknown field `at_onze`. The
          one of 2026-11-20 02:00 UTC is in force.

        IGNORED DEVICES
          /dev/nvme0n1, 8.0 GiB: It is in use: /dev/nvme0n1p1 is mounted on /.
          /dev/nvme9n1, 8.0 GiB: No attachment point of the configuration matches /dev/sdz.
        "#);
    }

    #[test]
    fn two_jobs_at_work() {
        let mut status = status();
        let long = format!(
            "/var/lib/docker/containers/{}/json.log",
            "0123456789abcdef".repeat(4)
        );
        status.jobs = vec![
            at_work(VOLUME, 12, &["/var/log/auth.log", &long]),
            at_work(SECOND, 0, &["/var/log/journal/system.journal"]),
            job("vol-00000000000000003", State::Queued),
        ];
        if let Some(progress) = &mut status.jobs[1].progress {
            progress.unread = vec!["p3: swap space.".to_owned()];
        }
        assert_snapshot!(show(&status), @r#"
        dfagent 0.1.0 running since 2026-11-20 02:00 UTC: 2 running, 1 waiting, 0 done; 412.0 GiB free

        volume                 case        state       slices  bytes            events  rate   left
        vol-0123456789abcdef0  IR-2026-17  extracting  12/40   1.2 GiB/4.0 GiB  240017  812/s  12 min
          p1-013, 1234 events: /var/log/auth.log
          p1-014, 2468 events: …rs/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/json.log
        vol-0fedcba9876543210  IR-2026-17  extracting  0/40    0 B/4.0 GiB      17      812/s
          p1-001, 1234 events: /var/log/journal/system.journal
          not read: p3: swap space.
        vol-00000000000000003  IR-2026-17  queued
        "#);
    }

    #[test]
    fn somebody_is_needed() {
        let mut status = status();
        let why = "The volume is encrypted (LUKS) and nothing of it can be read.".to_owned();
        let help = format!("dfagent retry {VOLUME}");
        status.jobs = vec![
            job(VOLUME, State::NeedsOperator { why, help }),
            job(SECOND, State::Parked),
            job(
                "vol-00000000000000003",
                State::Waiting {
                    why: "It waits for free space: 100.0 MiB are free, 512.0 MiB are kept."
                        .to_owned(),
                },
            ),
        ];
        status.jobs[1].job.crashes = 3;
        status.agent.free_bytes = Some(100 << 20);
        assert_snapshot!(show(&status), @r#"
        dfagent 0.1.0 running since 2026-11-20 02:00 UTC: 0 running, 1 waiting, 0 done, 2 need an operator;
          100.0 MiB free, TOO LITTLE: 512.0 MiB are kept free

        NEEDS OPERATOR
          vol-0123456789abcdef0: The volume is encrypted (LUKS) and nothing of it can be read.
            dfagent retry vol-0123456789abcdef0
          vol-0fedcba9876543210: the agent went down 3 times while this job ran, so it is left alone.
            dfagent retry vol-0fedcba9876543210

        volume                 case        state
        vol-0123456789abcdef0  IR-2026-17  needs operator
        vol-0fedcba9876543210  IR-2026-17  parked
        vol-00000000000000003  IR-2026-17  waiting
          It waits for free space: 100.0 MiB are free, 512.0 MiB are kept.
        "#);
    }

    #[test]
    fn the_agent_is_down() {
        let mut status = status();
        status.agent.running = false;
        status.agent.state = "not running".to_owned();
        status.agent.since = None;
        status.jobs = vec![job(VOLUME, State::Running), partial(SECOND)];
        status.jobs[0].attached = false;
        assert_snapshot!(show(&status), @r#"
        THE AGENT IS NOT RUNNING. Run: systemctl start dfagent; journalctl -u dfagent
        From its ledger, as of 2026-11-20 03:12 UTC: 1 broken off, 0 waiting, 1 done; 412.0 GiB free

        volume                 case        state          events
        vol-0123456789abcdef0  IR-2026-17  broken off
        vol-0fedcba9876543210  IR-2026-17  done: partial  231004
          2026-11-20 02:59 UTC: 231004 events in /var/lib/dfagent/jobs/vol-0fedcba9876543210/timeline.jsonl
          p2: the filesystem is encrypted (LUKS) and was not read.
          3 warnings of Plaso about 2 files.
        "#);
    }

    #[test]
    fn ended_jobs() {
        let mut status = status();
        let mut cancelled = job("vol-00000000000000003", State::Cancelled);
        cancelled.job.hooks_done = vec![HookRecord {
            name: "copy".to_owned(),
            ok: false,
            outcome: "it ended with code 3".to_owned(),
        }];
        status.jobs = vec![partial(VOLUME), cancelled, job(SECOND, State::Released)];
        assert_snapshot!(show(&status), @r#"
        dfagent 0.1.0 running since 2026-11-20 02:00 UTC: 0 running, 1 waiting, 2 done; 412.0 GiB free

        volume                 case        state          events
        vol-0123456789abcdef0  IR-2026-17  done: partial  231004
          2026-11-20 02:59 UTC: 231004 events in /var/lib/dfagent/jobs/vol-0123456789abcdef0/timeline.jsonl
          p2: the filesystem is encrypted (LUKS) and was not read.
          3 warnings of Plaso about 2 files.
        vol-00000000000000003  IR-2026-17  cancelled
          2026-11-20 02:59 UTC; what there is: /var/lib/dfagent/jobs/vol-00000000000000003
          hook copy failed: it ended with code 3
        vol-0fedcba9876543210  IR-2026-17  released
          It goes on when the volume is attached again.
        "#);
    }

    #[test]
    fn hostile_text_does_nothing_to_a_terminal() {
        let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\u{202e}x";
        let mut status = status();
        status.agent.version = evil.to_owned();
        status.agent.state = evil.to_owned();
        status.agent.since = Some(evil.to_owned());
        status.agent.refused_configuration = Some(evil.to_owned());
        status.ignored = vec![ignored(evil, evil)];
        let why = evil.repeat(3000);
        status.jobs = vec![
            at_work(evil, 1, &[evil]),
            partial(evil),
            job(evil, State::Waiting { why }),
        ];
        status.jobs[0].job.case = Some(evil.to_owned());
        status.jobs.extend([delivering(evil), short(evil)]);
        if let Some(delivery) = &mut status.jobs[3].delivery {
            delivery.waits = Some(evil.to_owned());
            delivery.each[0].error = Some(evil.repeat(1000));
            delivery.each = vec![delivery.each[0].clone(); 100];
            delivery.bytes_per_second = Some(f64::INFINITY);
            let sketch = delivery.sketch.as_mut().unwrap();
            (sketch.url, sketch.name) = (evil.repeat(1000), evil.to_owned());
        }
        let mut bad = example::server(Some(false));
        (bad.server, bad.lines[2].text) = (evil.to_owned(), evil.to_owned());
        status.agent.delivery = Some(bad);
        if let Some(progress) = &mut status.jobs[0].progress {
            progress.stage = evil.to_owned();
            progress.events_per_second = f64::INFINITY;
            progress.unread = vec![evil.to_owned(); 100];
        }
        status.needs_operator = vec![crate::status::OperatorTask {
            why: evil.to_owned(),
            command: evil.to_owned(),
        }];
        let shown = show(&status);
        let odd = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!shown.contains(odd), "{shown}");
        assert!(shown.lines().count() < 600, "{}", shown.lines().count());
    }

    #[test]
    fn sentences_stay_within_the_width_and_commands_stay_whole() {
        let mut status = status();
        let why = "word ".repeat(100);
        let command = "cryptsetup ".repeat(20);
        status.needs_operator = vec![crate::status::OperatorTask { why, command }];
        let style = Style {
            width: 60,
            colour: false,
        };
        let shown = render(&status, style);
        let (commands, others): (Vec<&str>, Vec<&str>) =
            shown.lines().partition(|line| line.contains("cryptsetup"));
        assert_eq!(commands.len(), 1);
        assert!(others.iter().all(|line| line.len() <= 60), "{shown}");
    }

    #[test]
    fn bold_is_used_only_where_it_may_be() {
        let style = Style {
            colour: true,
            ..Style::default()
        };
        assert!(render(&status(), style).starts_with("\u{1b}[1mdfagent"));
        assert!(!show(&status()).contains('\u{1b}'));
    }
}
