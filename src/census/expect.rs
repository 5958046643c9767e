//! Which parser a file of a well-known name should have given events to (pure).
//!
//! A log that gives nothing but its own file times has been lost without a word: the name tells that more
//! was to be expected, and the verdict says so.

/// A parser, or the front of a parser chain as Plaso writes it (`text/`, `systemd_journal`).
pub type ParserChain = &'static str;

/// What is expected of a file that is not empty; none when its name says nothing.
#[must_use]
pub fn expected(path: &[u8]) -> Option<ParserChain> {
    let path = std::str::from_utf8(path).ok()?.to_ascii_lowercase();
    let (folder, name) = path.rsplit_once('/')?;
    let stem = rotated_stem(name);
    if name.ends_with(".journal") && folder.contains("/log/journal") {
        return Some("systemd_journal");
    }
    match stem {
        "wtmp" | "btmp" | "utmp" => return Some("utmp"),
        ".bash_history" | ".zsh_history" => return Some("text/"),
        "fish_history" => return Some("fish_history"),
        _ => {}
    }
    let in_logs = folder.starts_with("/var/log");
    let text_log = match stem {
        "auth.log" | "secure" | "syslog" | "messages" | "kern.log" | "daemon.log" | "user.log"
        | "mail.log" | "maillog" | "cron.log" => in_logs,
        "audit.log" => folder.ends_with("/audit"),
        "dpkg.log" => in_logs,
        "access.log" | "access_log" => {
            folder.ends_with("/apache2") || folder.ends_with("/nginx") || folder.ends_with("/httpd")
        }
        "history.log" => folder.ends_with("/apt"),
        _ => false,
    };
    text_log.then_some("text/")
}

/// The name without what log rotation appended: `.1`, `-20261101`, `.gz`.
fn rotated_stem(name: &str) -> &str {
    let name = [".gz", ".xz", ".bz2"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.rsplit_once(['.', '-']) {
        Some((stem, number)) if digits(number) => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_names_are_known_in_their_places() {
        for (path, parser) in [
            ("/var/log/auth.log", Some("text/")),
            ("/var/log/secure-20261101", Some("text/")),
            ("/var/log/syslog.2.gz", Some("text/")),
            ("/var/log/audit/audit.log.3", Some("text/")),
            (
                "/var/log/journal/0a/system@x.journal",
                Some("systemd_journal"),
            ),
            ("/var/log/btmp.1", Some("utmp")),
            ("/root/.bash_history", Some("text/")),
            ("/srv/app/messages", None),
            ("/var/log/unattended-upgrades/x.log", None),
        ] {
            assert_eq!(expected(path.as_bytes()), parser, "{path}");
        }
    }
}
