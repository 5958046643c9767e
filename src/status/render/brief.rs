//! How things stand in one line: for `systemctl status`, and for a person who logs in.

use crate::printable;
use crate::status::Status;

/// One line, printable.
#[must_use]
pub fn brief(status: &Status) -> String {
    let count = |name: &str| {
        let states = status.jobs.iter().map(|job| job.job.state.name());
        states.filter(|state| *state == name).count()
    };
    let waiting = count("queued") + count("waiting") + count("interrupted");
    let delivering = match count("delivering") {
        0 => String::new(),
        number => format!("{number} delivering, "),
    };
    let state = printable::line(&status.agent.state, 40);
    format!(
        "{state}: {} at work, {delivering}{waiting} waiting, {} done; {} to do for an operator",
        count("running"),
        count("done"),
        status.needs_operator.len()
    )
}
