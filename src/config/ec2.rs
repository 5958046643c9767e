//! Settings of EC2: whether this machine is asked for as an instance, where, and what tags mean.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::delivery::is_web_address;

/// Where every instance finds its metadata service.
pub const METADATA: &str = "http://169.254.169.254";
/// The same over IPv6.
const METADATA_6: &str = "http://[fd00:ec2::254]";

/// Whether the metadata service is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// On a machine whose firmware says that it is one of EC2's.
    #[default]
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// What follows when EC2 recommends to leave an instance that it may take away.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OnRebalance {
    /// Nothing: most of these instances live on for hours.
    #[default]
    GoOn,
    /// No job and no slice is begun; what runs goes on.
    Hold,
}

/// `[ec2]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Ec2Settings {
    /// Whether the metadata service is asked.
    #[serde(rename = "use")]
    pub asks: Use,
    /// Its address.
    pub metadata: String,
    /// EC2's own address; empty: that of the instance's region.
    pub endpoint: String,
    /// Key of the tag that names the case.
    pub case_tag: String,
    /// Key of the tag that names the sketch.
    pub sketch_tag: String,
    /// What a recommendation to leave the instance does.
    pub on_rebalance: OnRebalance,
}

impl Default for Ec2Settings {
    fn default() -> Self {
        Self {
            asks: Use::Auto,
            metadata: METADATA.into(),
            endpoint: String::new(),
            case_tag: "dfagent:case".into(),
            sketch_tag: "dfagent:sketch".into(),
            on_rebalance: OnRebalance::GoOn,
        }
    }
}

impl Ec2Settings {
    /// Whether this machine's metadata service is to be asked.
    #[must_use]
    pub fn is_used(&self) -> bool {
        match self.asks {
            Use::Yes => true,
            Use::No => false,
            Use::Auto => is_instance(Path::new("/sys")),
        }
    }
}

/// What the firmware says. Both files may be read by everybody.
fn is_instance(sys: &Path) -> bool {
    let read = |name| {
        let read = crate::durable::read(&sys.join(name), 4096).ok().flatten();
        String::from_utf8_lossy(&read.unwrap_or_default()).to_ascii_lowercase()
    };
    read("class/dmi/id/sys_vendor").trim() == "amazon ec2"
        || read("hypervisor/uuid").starts_with("ec2")
}

/// Only what never leaves the machine's own link may be asked without encryption.
#[must_use]
pub fn is_metadata_address(url: &str) -> bool {
    let url = url.trim_end_matches('/');
    url == METADATA || url == METADATA_6 || is_web_address(url)
}

pub(super) fn check(settings: &Ec2Settings) -> Result<(), ConfigError> {
    if !is_metadata_address(&settings.metadata) {
        return Err(ConfigError::Value {
            key: "ec2.metadata",
            problem: format!("use {METADATA}, {METADATA_6}, or an address on loopback"),
        });
    }
    if !settings.endpoint.is_empty() && !is_web_address(&settings.endpoint) {
        return Err(ConfigError::Value {
            key: "ec2.endpoint",
            problem: "use an address that begins with https://, or leave it empty".into(),
        });
    }
    for (key, tag) in [
        ("ec2.case_tag", &settings.case_tag),
        ("ec2.sketch_tag", &settings.sketch_tag),
    ] {
        // What EC2 allows in a key that the metadata service shows: no space, no slash.
        let fits = |c: char| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c);
        if tag.is_empty() || tag.len() > 128 || tag.starts_with('.') || !tag.chars().all(fits) {
            return Err(ConfigError::Value {
                key,
                problem: "use 1 to 128 letters, digits and +-=.,_:@, without a dot in front".into(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;

    #[test]
    fn an_instance_is_known_by_its_firmware_and_nothing_else_is() {
        let sys = tempfile::tempdir().unwrap();
        assert!(!is_instance(sys.path()));
        std::fs::create_dir_all(sys.path().join("class/dmi/id")).unwrap();
        let vendor = sys.path().join("class/dmi/id/sys_vendor");
        durable::write(&vendor, b"QEMU\n").unwrap();
        assert!(!is_instance(sys.path()));
        durable::write(&vendor, b"Amazon EC2\n").unwrap();
        assert!(is_instance(sys.path()));
        let xen = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(xen.path().join("hypervisor")).unwrap();
        durable::write(&xen.path().join("hypervisor/uuid"), b"EC2e1916\n").unwrap();
        assert!(is_instance(xen.path()));
    }

    #[test]
    fn only_the_own_link_and_loopback_are_asked_in_the_clear() {
        for (url, good) in [
            (METADATA, true),
            ("http://169.254.169.254/", true),
            (METADATA_6, true),
            ("http://127.0.0.1:8080", true),
            ("http://169.254.169.254.evil.example", false),
            ("http://169.254.1.1", false),
            ("http://10.0.0.1", false),
        ] {
            let settings = Ec2Settings {
                metadata: url.into(),
                ..Ec2Settings::default()
            };
            assert_eq!(check(&settings).is_ok(), good, "{url}");
        }
    }

    #[test]
    fn a_tag_s_key_cannot_lead_to_another_path() {
        for bad in ["", "..", "a/b", "a b", "a?x", "a%2f"] {
            let settings = Ec2Settings {
                case_tag: bad.into(),
                ..Ec2Settings::default()
            };
            assert!(check(&settings).is_err(), "{bad}");
        }
    }
}
