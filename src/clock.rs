//! The clock on the wall, which anybody may set: it says when something was, and decides nothing.

use jiff::{Timestamp, Unit};

/// The present.
#[must_use]
pub fn moment() -> Timestamp {
    Timestamp::now()
}

/// The present, as RFC 3339 in UTC with whole seconds.
#[must_use]
pub fn now() -> String {
    let now = moment().round(Unit::Second);
    now.map_or_else(|_| String::new(), |now| now.to_string())
}
