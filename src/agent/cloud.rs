//! What the agent makes of EC2's announcements. It asks nobody: it reads what delivery wrote down, and does not trust it.

use super::sentence;
use crate::delivery::outbox::Outbox;
use crate::ec2::cloud::{Notice, NoticeKind};
use crate::printable;

/// Why no job is begun now, if EC2 is about to take the instance away. A file that is no good stops nothing.
pub(super) fn interruption(outbox: &Outbox) -> Option<String> {
    match outbox.cloud() {
        Ok(cloud) => in_words(&cloud?.notice?),
        Err(error) => {
            let error = sentence(&error);
            tracing::warn!(dfagent_error = error, "what EC2 says is not known");
            None
        }
    }
}

fn in_words(notice: &Notice) -> Option<String> {
    if notice.kind != NoticeKind::Interruption {
        return None;
    }
    let will = match notice.action.as_str() {
        "terminate" => "terminate",
        "stop" => "stop",
        "hibernate" => "hibernate",
        _ => return None,
    };
    let at = notice.time.as_deref().map(|time| printable::line(time, 40));
    let at = at.map_or_else(String::new, |time| format!(" at {time}"));
    Some(format!(
        "EC2 will {will} this instance{at}: no job is begun until that is taken back."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;
    use crate::ec2::cloud::{Cloud, SCHEMA};

    fn said(notice: Option<Notice>) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(folder.path(), None);
        outbox.make().unwrap();
        let cloud = Cloud {
            schema: SCHEMA.to_owned(),
            notice,
            ..Cloud::default()
        };
        outbox.keep_cloud(&cloud).unwrap();
        interruption(&outbox)
    }

    fn notice(kind: NoticeKind, action: &str) -> Notice {
        Notice {
            kind,
            action: action.to_owned(),
            time: Some("2026-11-25T08:00:00Z\u{1b}[2J".to_owned()),
        }
    }

    #[test]
    fn an_interruption_holds_jobs_and_nothing_else_does() {
        let why = said(Some(notice(NoticeKind::Interruption, "terminate"))).unwrap();
        assert!(why.starts_with("EC2 will terminate this instance at 2026-11-25T08:00:00Z"));
        assert!(!why.chars().any(char::is_control), "{why:?}");
        assert_eq!(said(Some(notice(NoticeKind::Rebalance, "rebalance"))), None);
        assert_eq!(said(Some(notice(NoticeKind::Interruption, "dance"))), None);
        assert_eq!(said(None), None);
    }

    #[test]
    fn a_file_that_is_missing_or_no_good_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(folder.path(), None);
        outbox.make().unwrap();
        assert_eq!(interruption(&outbox), None);
        let path = outbox.receipts_folder().join("cloud.json");
        for bad in [&b"{"[..], b"{\"schema\":\"other\"}", &[b' '; 300_000]] {
            durable::write(&path, bad).unwrap();
            assert_eq!(interruption(&outbox), None);
        }
    }
}
