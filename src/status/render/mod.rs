//! Pure: a status as plain text for people, most urgent first.
//!
//! What the agent says is not trusted here either: every text is made printable again before it is shown.

mod jobs;
pub mod screen;

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
mod tests;
