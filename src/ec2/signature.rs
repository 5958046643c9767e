//! AWS's Signature Version 4, as much of it as one question needs: a request with headers and a short body.
//!
//! Nothing here sends anything, and no secret leaves but as a signature.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::role::Credentials;
use crate::durable::hex;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// `POST`
    pub method: &'a str,
    /// `/`
    pub path: &'a str,
    /// Encoded and sorted already; may be empty.
    pub query: &'a str,
    /// Names in lower case, sorted; `host` as it is sent, and no date.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// Whom it is for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `eu-central-1`
    pub region: &'a str,
    /// `ec2`
    pub service: &'a str,
}

/// The headers that make it a signed one.
pub struct Signed {
    /// `x-amz-date`
    pub date: String,
    /// `authorization`
    pub authorization: Zeroizing<String>,
}

/// Signs for a moment. A token of the credentials is signed as `x-amz-security-token`.
#[must_use]
pub fn sign(
    request: &Unsigned<'_>,
    scope: Scope<'_>,
    credentials: &Credentials,
    at: Timestamp,
) -> Signed {
    let date = at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = at.strftime("%Y%m%d").to_string();
    let mut headers = request.headers.to_vec();
    headers.push(("x-amz-date", &date));
    if !credentials.token().is_empty() {
        headers.push(("x-amz-security-token", credentials.token()));
    }
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let canonical = canonical(request, &headers, &names);
    let scope_text = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let hashed = hex(&Sha256::digest(canonical.as_bytes()));
    let text = format!("{ALGORITHM}\n{date}\n{scope_text}\n{hashed}");
    let key = key(credentials.secret(), &day, scope);
    let signature = hex(&*mac(&*key, text.as_bytes()));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope_text}, SignedHeaders={names}, Signature={signature}",
        credentials.key(),
    );
    Signed {
        date,
        authorization: Zeroizing::new(authorization),
    }
}

/// It holds the token, so it is wiped.
fn canonical(request: &Unsigned<'_>, headers: &[(&str, &str)], names: &str) -> Zeroizing<String> {
    let Unsigned {
        method,
        path,
        query,
        body,
        ..
    } = request;
    let mut lines = Zeroizing::new(format!("{method}\n{path}\n{query}\n"));
    for (name, value) in headers {
        // What is in the middle of a value stays: none of ours has more than one space there.
        for part in [name, ":", value.trim(), "\n"] {
            lines.push_str(part);
        }
    }
    lines.push_str(&format!("\n{names}\n{}", hex(&Sha256::digest(body))));
    lines
}

fn key(secret: &str, day: &str, scope: Scope<'_>) -> Zeroizing<[u8; 32]> {
    let first = Zeroizing::new(format!("AWS4{secret}"));
    let mut key = mac(first.as_bytes(), day.as_bytes());
    for part in [scope.region, scope.service, "aws4_request"] {
        key = mac(&*key, part.as_bytes());
    }
    key
}

fn mac(key: &[u8], text: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut result = Zeroizing::new([0; 32]);
    // A key of any length will do, so there is no other case.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
        mac.update(text);
        result.copy_from_slice(&mac.finalize().into_bytes());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    /// The signature of a request with AWS's example key at the moment of its examples.
    fn signed(scope: (&str, &str), request: &Unsigned<'_>) -> String {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "",
        );
        let at = "2015-08-30T12:36:00Z".parse().unwrap();
        let (region, service) = scope;
        let signed = sign(request, Scope { region, service }, &credentials, at);
        assert_eq!(signed.date, "20150830T123600Z");
        signed.authorization.to_string()
    }

    fn suite(method: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        signed(
            ("us-east-1", "service"),
            &Unsigned {
                method,
                path: "/",
                query: "",
                headers,
                body,
            },
        )
    }

    #[test]
    fn the_vectors_of_aws_s_test_suite_get_its_signatures() {
        let host = ("host", "example.amazonaws.com");
        let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=";
        assert_eq!(
            suite("GET", &[host], b""),
            format!(
                "{scope}host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
            )
        );
        assert_eq!(
            suite("POST", &[host], b""),
            format!(
                "{scope}host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
            )
        );
        assert_eq!(
            suite("POST", &[("content-type", FORM), host], b"Param1=value1"),
            format!(
                "{scope}content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
            )
        );
    }

    #[test]
    fn the_example_of_aws_s_documentation_gets_its_signature() {
        let form = format!("{FORM}; charset=utf-8");
        let authorization = signed(
            ("us-east-1", "iam"),
            &Unsigned {
                method: "GET",
                path: "/",
                query: "Action=ListUsers&Version=2010-05-08",
                headers: &[("content-type", &form), ("host", "iam.amazonaws.com")],
                body: b"",
            },
        );
        assert!(
            authorization.ends_with(
                "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
            ),
            "{authorization}"
        );
    }
}
