//! The credentials of the instance's role, which the metadata service gives: read into memory that is wiped, shown to
//! nobody, and used no more when they are about to end.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use zeroize::Zeroizing;

/// How long before their end new ones are asked for; AWS has new ones ready by then.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// Characters of a role's name.
const MOST_NAME: usize = 64;

/// The credentials of a role.
pub struct Credentials {
    key: Zeroizing<String>,
    secret: Zeroizing<String>,
    token: Zeroizing<String>,
    until: Timestamp,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Credentials")
    }
}

/// As the metadata service writes them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said<'a> {
    code: &'a str,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: &'a str,
    expiration: &'a str,
}

impl Credentials {
    /// What an answer says; none if it says nothing that can be used. Texts with escapes are none of AWS's.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let said: Said<'_> = serde_json::from_slice(body).ok()?;
        let fits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let all = [said.access_key_id, said.secret_access_key, said.token];
        if said.code != "Success" || !all.into_iter().all(fits) {
            return None;
        }
        let [key, secret, token] = all.map(|text| Zeroizing::new(text.to_owned()));
        let until = said.expiration.parse().ok()?;
        Some(Self {
            key,
            secret,
            token,
            until,
        })
    }

    #[cfg(test)]
    pub(super) fn new(key: &str, secret: &str, token: &str) -> Self {
        Self {
            key: Zeroizing::new(key.to_owned()),
            secret: Zeroizing::new(secret.to_owned()),
            token: Zeroizing::new(token.to_owned()),
            until: Timestamp::MAX,
        }
    }

    /// Whether new ones need not be asked for yet.
    pub(crate) fn are_fresh(&self, now: Timestamp) -> bool {
        self.until.duration_since(now) > MARGIN
    }

    /// Its id, which is no secret.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

/// The role's name in the listing of them; none if it is none. It becomes part of a path.
pub(super) fn name(listing: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(listing).ok()?;
    let name = text.lines().next()?.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    let good = (1..=MOST_NAME).contains(&name.len()) && name.chars().all(fits);
    (good && !name.trim_matches('.').is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = r#"{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-11-25T08:00:00Z","AccessKeyId":"ASIAX",
        "SecretAccessKey":"s3/cr+et","Token":"t0/ken==","Expiration":"2026-11-25T14:00:00Z"}"#;

    #[test]
    fn credentials_are_used_until_five_minutes_before_their_end_and_never_shown() {
        let role = Credentials::of(SAID.as_bytes()).unwrap();
        assert_eq!((role.key(), role.secret()), ("ASIAX", "s3/cr+et"));
        assert!(role.are_fresh("2026-11-25T13:54:59Z".parse().unwrap()));
        assert!(!role.are_fresh("2026-11-25T13:55:00Z".parse().unwrap()));
        assert_eq!(format!("{role:?}"), "Credentials");
    }

    #[test]
    fn what_are_no_credentials_is_not_used() {
        for bad in [
            "<html>".to_owned(),
            SAID.replace("Success", "AssumeRoleUnauthorizedAccess"),
            SAID.replace("t0/ken==", "a\\r\\nx-evil: 1"),
            SAID.replace("ASIAX", ""),
            SAID.replace("2026-11-25T14", "soon"),
        ] {
            assert!(Credentials::of(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_role_s_name_leads_to_no_other_path() {
        assert_eq!(name(b"dfagent-worker\n").as_deref(), Some("dfagent-worker"));
        let long = "x".repeat(65);
        for bad in ["", "..", "a/b", "a b", "a%2fb", "<html>", &long] {
            assert_eq!(name(bad.as_bytes()), None, "{bad}");
        }
    }
}
