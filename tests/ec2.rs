//! Delivery and an EC2 that checks signatures and rights: moto, with a metadata service for each role before it
//! (tests/ec2/double.py, installed by tests/ec2/install).
//!
//! It proves what goes over the wire; it does not prove that AWS answers as moto does.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and keeps no state that a crash may not tear"
)]

mod lab;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dfagent::delivery::outbox::Outbox;
use dfagent::ec2::cloud::{Cloud, Tagged};
use lab::{Need, trial};
use libtest_mimic::{Failed, Trial};
use notify::{RecursiveMode, Watcher as _};
use serde_json::Value;

/// How long anything may take before it counts as hanging.
const HANGING: Duration = Duration::from_secs(60);

fn main() {
    let needs = [Need::Other(
        python().exists(),
        "moto (run `make setup-test`)",
    )];
    let made = |name: &str, test: fn(&Double) -> Result<(), Failed>| -> Trial {
        trial(name, &needs, move || test(&Double::start()))
    };
    lab::run(vec![
        made(
            "tags_of_volumes_arrive_by_a_signed_question_and_are_cleaned",
            tags,
        ),
        made(
            "without_the_right_a_good_signature_or_a_role_one_sentence_says_so_and_the_rest_is_known",
            refused,
        ),
        made("check_says_whether_the_role_may_ask_about_volumes", checked),
    ]);
}

fn python() -> PathBuf {
    lab::root().join("target/moto/bin/python")
}

/// EC2 and the metadata services; they end with their standard input.
struct Double {
    child: Child,
    facts: Value,
}

impl Double {
    fn start() -> Self {
        let mut child = Command::new(python())
            .args(["-I", "-B"])
            .arg(lab::root().join("tests/ec2/double.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let facts = serde_json::from_str(&line).unwrap();
        Self { child, facts }
    }

    fn text(&self, key: &str) -> &str {
        self.facts[key].as_str().unwrap()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        serde_json::from_value(self.facts[key].clone()).unwrap()
    }

    /// A configuration for an instance of this role.
    fn configure(&self, folder: &Path, role: &str) -> PathBuf {
        let config = folder.join("dfagent.toml");
        let text = format!(
            "[agent]\ndirectory = \"{0}/agent\"\n[delivery]\nto = \"local\"\ndirectory = \"{0}/own\"\n\
             user = \"root\"\n[ec2]\nuse = \"yes\"\nmetadata = \"{1}\"\nendpoint = \"{2}\"\n",
            folder.display(),
            self.text(role),
            self.text("endpoint"),
        );
        fs::write(&config, text).unwrap();
        config
    }

    /// What delivery on an instance of this role writes down about all volumes, once it fits, and what it logged.
    fn delivered(&self, role: &str, fits: impl Fn(&Cloud) -> bool) -> (Cloud, String) {
        let folder = tempfile::tempdir().unwrap();
        let config = self.configure(folder.path(), role);
        let outbox = Outbox::at(&folder.path().join("agent"), None);
        outbox.make().unwrap();
        let mut wanted = self.texts("volumes");
        wanted.extend(["vol-../../etc".to_owned(), "loop0".to_owned()]);
        outbox.keep_wanted(&wanted).unwrap();
        let log = folder.path().join("log");
        let mut delivery = Delivery(
            lab::dfagent()
                .arg("--config")
                .arg(&config)
                .arg("deliver")
                .stdout(Stdio::null())
                .stderr(fs::File::create(&log).unwrap())
                .spawn()
                .unwrap(),
        );
        let text = || fs::read_to_string(&log).unwrap();
        let cloud = wait_for(&outbox, fits, &text);
        delivery.end();
        (cloud, text())
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// `dfagent deliver`; ended when dropped.
struct Delivery(Child);

impl Delivery {
    fn end(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.end();
    }
}

/// Looks at every change of the folder of receipts until what stands there fits.
fn wait_for(outbox: &Outbox, fits: impl Fn(&Cloud) -> bool, log: &dyn Fn() -> String) -> Cloud {
    let (tell, changes) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event| drop(tell.send(event))).unwrap();
    let folder = outbox.receipts_folder();
    watcher.watch(folder, RecursiveMode::NonRecursive).unwrap();
    let end = Instant::now() + HANGING;
    loop {
        let cloud = outbox.cloud().unwrap();
        if let Some(cloud) = cloud.as_ref().filter(|cloud| fits(cloud)) {
            return cloud.clone();
        }
        let left = end.saturating_duration_since(Instant::now());
        let changed = changes.recv_timeout(left);
        assert!(changed.is_ok(), "waited in vain: {cloud:#?}\n{}", log());
    }
}

fn tags(double: &Double) -> Result<(), Failed> {
    let ids = double.texts("volumes");
    let (cloud, log) = double.delivered("may", |cloud| !cloud.volumes.is_empty());
    assert_eq!(cloud.trouble, Vec::<String>::new());
    assert_eq!(cloud.instance.as_ref().unwrap().zone, "eu-central-1a");
    assert_eq!(cloud.volumes.len(), 2, "others are not asked about");
    let tagged = cloud.volume(&ids[0]).unwrap();
    assert_eq!((tagged.gib, tagged.encrypted), (Some(3), Some(false)));
    let (case, from) = cloud.case(&ids[0]).unwrap();
    assert_eq!(from, Tagged::Volume);
    assert!(case.starts_with("4711 ") && case.chars().count() <= 128);
    assert!(!case.contains('\u{202e}'), "{case:?}");
    assert_eq!(cloud.sketch(&ids[0]).unwrap().0, "case 4711");
    let noted: Vec<&String> = tagged.noted.keys().collect();
    assert_eq!(noted, ["dfagent:source-volume"]);
    let plain = cloud.volume(&ids[1]).unwrap();
    assert_eq!((plain.gib, plain.encrypted), (Some(5), Some(true)));
    assert_eq!(cloud.case(&ids[1]), None);
    let written = serde_json::to_string(&cloud)?;
    for secret in double.texts("secrets") {
        assert!(!log.contains(&secret) && !written.contains(&secret));
    }
    Ok(())
}

fn refused(double: &Double) -> Result<(), Failed> {
    for (role, says) in [
        ("may_not", "allow it ec2:DescribeVolumes"),
        ("forged", "401"),
        ("none", "has no role"),
    ] {
        let (cloud, log) = double.delivered(role, |cloud| !cloud.trouble.is_empty());
        assert!(cloud.instance.is_some() && cloud.volumes.is_empty());
        assert_eq!(cloud.trouble.len(), 1, "{role}: {:?}", cloud.trouble);
        assert!(
            cloud.trouble[0].contains(says),
            "{role}: {:?}",
            cloud.trouble
        );
        assert_eq!(log.matches(&cloud.trouble[0]).count(), 1, "{log}");
    }
    Ok(())
}

fn checked(double: &Double) -> Result<(), Failed> {
    for (role, says) in [
        ("may", "ok       ec2 tags   the role may ask about volumes"),
        ("may_not", "allow it ec2:DescribeVolumes"),
        ("none", "ok       ec2 tags   this instance has no role"),
    ] {
        let folder = tempfile::tempdir()?;
        let config = double.configure(folder.path(), role);
        let mut command = lab::dfagent();
        command.arg("--config").arg(&config).arg("check");
        let found = lab::finish(&mut command);
        assert!(
            found.out.contains(says),
            "{role}: {}{}",
            found.out,
            found.err
        );
        assert!(
            found.out.contains("ec2        i-0123456789abcdef"),
            "{}",
            found.out
        );
    }
    Ok(())
}
