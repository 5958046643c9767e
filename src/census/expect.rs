//! Which parser a file of a well-known name should have given events to (pure).
//!
//! A log that gives nothing but its own file times has been lost without a word: the name tells that more
//! was to be expected, and the verdict says so.

/// A parser, or the front of a parser chain as Plaso writes it (`text/`, `systemd_journal`).
pub type ParserChain = &'static str;

/// What is expected of a file; none when its name says nothing, or what it holds cannot give events:
/// `head` is its first part, unpacked or not, `size` its bytes.
#[must_use]
pub fn expected(path: &[u8], size: u64, head: &[u8]) -> Option<ParserChain> {
    let path = std::str::from_utf8(path).ok()?.to_ascii_lowercase();
    let (folder, name) = path.rsplit_once('/')?;
    let stem = rotated_stem(name);
    match stem {
        // Plaso tells these files by two records; one alone is passed over.
        "wtmp" | "btmp" | "utmp" => return (size >= 2 * UTMP_RECORD).then_some("utmp"),
        ".bash_history" => return has_line(head, is_bash_stamp).then_some("text/"),
        ".zsh_history" => return has_line(head, |line| line.starts_with(b": ")).then_some("text/"),
        "fish_history" => {
            return has_line(head, |line| line.starts_with(b"- cmd:")).then_some("fish_history");
        }
        _ => {}
    }
    if size == 0 {
        return None;
    }
    if name.ends_with(".journal") && folder.contains("/journal") {
        return Some("systemd_journal");
    }
    // A disk of its own for /var or /var/log has these folders nearer to its root.
    let in_logs = ["/var/log", "/log", ""].contains(&folder) || folder.contains("/log/");
    let text_log = match stem {
        "auth.log" | "secure" | "syslog" | "messages" | "kern.log" | "daemon.log" | "user.log"
        | "mail.log" | "maillog" | "cron.log" | "dpkg.log" => in_logs,
        "audit.log" => folder.ends_with("/audit"),
        "access.log" | "access_log" => {
            folder.ends_with("/apache2") || folder.ends_with("/nginx") || folder.ends_with("/httpd")
        }
        "history.log" => folder.ends_with("/apt"),
        _ => false,
    };
    text_log.then_some("text/")
}

/// Bytes of one record of utmp(5) on 64-bit Linux.
const UTMP_RECORD: u64 = 384;

fn has_line(head: &[u8], fits: impl Fn(&[u8]) -> bool) -> bool {
    head.split(|byte| *byte == b'\n').any(fits)
}

/// `#1764000000`: the time that bash writes above a command when HISTTIMEFORMAT is set.
fn is_bash_stamp(line: &[u8]) -> bool {
    let Some(digits) = line.strip_prefix(b"#") else {
        return false;
    };
    digits.len() >= 9 && digits.iter().all(u8::is_ascii_digit)
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
            ("/log/auth.log", Some("text/")),
            ("/var/log/secure-20261101", Some("text/")),
            ("/var/log/syslog.2.gz", Some("text/")),
            ("/var/log/audit/audit.log.3", Some("text/")),
            (
                "/var/log/journal/0a/system@x.journal",
                Some("systemd_journal"),
            ),
            ("/var/log/btmp.1", Some("utmp")),
            ("/srv/app/messages", None),
            ("/var/log/unattended-upgrades/x.log", None),
        ] {
            assert_eq!(expected(path.as_bytes(), 5000, b""), parser, "{path}");
        }
    }

    #[test]
    fn what_cannot_give_events_is_not_expected_to() {
        let expected =
            |path: &str, size, head: &str| expected(path.as_bytes(), size, head.as_bytes());
        assert_eq!(expected("/root/.bash_history", 9, "ls\nid\n"), None);
        assert_eq!(
            expected("/root/.bash_history", 20, "#1764000000\nls\n"),
            Some("text/")
        );
        assert_eq!(expected("/root/.zsh_history", 9, "ls\n"), None);
        assert_eq!(expected("/var/log/wtmp", 384, ""), None);
        assert_eq!(expected("/var/log/syslog", 0, ""), None);
    }
}
