//! The service: whose rights it has, what it takes from the outbox, and that there is one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use dfagent::delivery::account::Account;
use dfagent::delivery::fill;
use dfagent::delivery::outbox::Outbox;
use dfagent::delivery::receipt::{self, Delivered, Receipt};
use dfagent::manifest::Manifest;
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::case::{Case, HANGING, assert_whole, holds_within};
use crate::lab::trial;
use crate::material::{HISTORY, SYSLOG};
use crate::proxy::Proxy;
use crate::servers::shared;

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    let mut tools = needs.clone();
    tools.push(crate::lab::Need::Program("setpriv"));
    vec![
        trial(
            "the_service_has_no_right_and_reads_nothing_but_the_outbox",
            &tools,
            no_rights,
        ),
        trial(
            "of_two_services_at_one_folder_the_second_waits",
            &needs,
            two_services,
        ),
        trial(
            "orders_of_another_release_are_taken_or_named_and_left_alone",
            &needs,
            other_release,
        ),
    ]
}

/// An outbox with a service that is started over it, as the agent and systemd would.
pub struct Served {
    pub case: Case,
    pub outbox: Outbox,
}

impl Served {
    pub fn over(mut case: Case) -> Self {
        // The account of the service reaches its folders.
        let mode = fs::Permissions::from_mode(0o711);
        fs::set_permissions(case.work.path(), mode).unwrap();
        let password = case.at("password");
        fs::copy(case.servers.password_file(), &password).unwrap();
        let served = Self {
            outbox: Outbox::at(&case.at("agent"), Some(account())),
            case: {
                for (section, key, path) in [
                    ("agent", "directory", case.at("agent")),
                    ("delivery", "directory", case.at("own")),
                    ("timesketch", "password_file", password),
                ] {
                    case.set(section, key, &format!("{path:?}"));
                }
                case
            },
        };
        served.own_password();
        fs::create_dir(served.case.at("agent")).unwrap();
        fs::set_permissions(served.case.at("agent"), fs::Permissions::from_mode(0o711)).unwrap();
        served.outbox.make().unwrap();
        served
    }

    /// The file is the service's, and nobody else's.
    pub fn own_password(&self) {
        let (file, account) = (self.case.at("password"), account());
        chown(&file, Some(account.uid), Some(account.gid)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Hands a finished job over, all of it.
    pub fn hand_over(&self, job: &Path) -> String {
        let text = fs::read_to_string(job.join("manifest.json")).unwrap();
        let manifest: Manifest = serde_json::from_str(&text).unwrap();
        fill::close(&self.outbox, job, &manifest).unwrap().unwrap();
        manifest.job
    }

    pub fn start(&self) -> Running {
        self.start_as("service")
    }

    pub fn start_as(&self, name: &str) -> Running {
        let said =
            |ending: &str| fs::File::create(self.case.at(&format!("{name}.{ending}"))).unwrap();
        let mut command = self.case.dfagent();
        command.arg("deliver").env("DFAGENT_LOG", "debug");
        command
            .stdin(Stdio::null())
            .stdout(said("out"))
            .stderr(said("err"));
        Running(command.spawn().unwrap())
    }

    pub fn said(&self, name: &str) -> String {
        fs::read_to_string(self.case.at(&format!("{name}.err"))).unwrap()
    }

    pub fn receipt(&self, job: &str) -> Option<Receipt> {
        self.outbox.receipt(job).unwrap()
    }

    pub fn delivered(&self, job: &str) -> Option<Delivered> {
        let (order, handed) = (self.outbox.order(job).ok()??, self.outbox.slices(job).ok()?);
        receipt::ended(&order, &handed, &self.receipt(job)?)
    }

    /// Waits until a job is delivered whole.
    pub fn is_delivered(&self, job: &str) {
        let ended = holds_within(HANGING, || self.delivered(job).is_some());
        assert!(ended, "{:?}: {}", self.receipt(job), self.said("service"));
        let delivered = self.delivered(job).unwrap();
        assert_eq!(delivered.reasons, Vec::<String>::new());
    }
}

/// The account that the service becomes.
pub fn account() -> Account {
    Account::named("dfagent-delivery")
}

/// A service; killed when the trial ends.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn line_of(status: &str, name: &str) -> Vec<String> {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

fn no_rights() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY]);
    let rules = json!([{"path": "/api/v1/upload/", "do": "wait"}]);
    let mut proxy = Proxy::with_rules(case.servers, &rules);
    case.to(&proxy.url());
    let served = Served::over(case);
    let job = served.hand_over(&served.case.job);
    let service = served.start();
    assert!(proxy.wait_held(1, || false).is_some());

    let process = PathBuf::from(format!("/proc/{}", service.0.id()));
    let status = fs::read_to_string(process.join("status")).unwrap();
    let number = account().uid.to_string();
    for name in ["Uid:", "Gid:"] {
        assert_eq!(line_of(&status, name), vec![number.clone(); 4], "{status}");
    }
    assert!(line_of(&status, "Groups:").is_empty(), "{status}");
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line_of(&status, name), ["0000000000000000"], "{status}");
    }
    assert_eq!(line_of(&status, "NoNewPrivs:"), ["1"]);
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // The kernel gives the files of a process that may not be looked into to root.
    let environment = fs::metadata(process.join("environ")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&environment), 0);

    let outbox = served.outbox.orders_folder().join(&job);
    let order = outbox.join("order.json");
    for (works, words) in [
        (true, vec!["cat", order.to_str().unwrap()]),
        (
            true,
            vec![
                "cat",
                outbox.join(HISTORY).join("storage.plaso").to_str().unwrap(),
            ],
        ),
        (false, vec!["rm", order.to_str().unwrap()]),
        (false, vec!["touch", outbox.join("more").to_str().unwrap()]),
        (false, vec!["touch", order.to_str().unwrap()]),
        (
            false,
            vec![
                "cat",
                served.case.job.join("timeline.jsonl").to_str().unwrap(),
            ],
        ),
    ] {
        let mut command = std::process::Command::new("setpriv");
        command
            .args(["--reuid", &number, "--regid", &number, "--clear-groups"])
            .args(&words);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null());
        assert_eq!(command.status().unwrap().success(), works, "{words:?}");
    }
    proxy.go_on();
    served.is_delivered(&job);
    assert_whole(served.case.servers, served.case.sketch, &[HISTORY]);
    Ok(())
}

fn two_services() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY]);
    let rules = json!([{"path": "/api/v1/upload/", "do": "hold"}]);
    let mut proxy = Proxy::with_rules(case.servers, &rules);
    case.to(&proxy.url());
    let served = Served::over(case);
    let job = served.hand_over(&served.case.job);
    let first = served.start();
    assert!(proxy.wait_held(1, || false).is_some());
    let second = served.start_as("second");
    let waits = || {
        served
            .said("second")
            .contains("another delivery serves this folder")
    };
    assert!(holds_within(HANGING, waits), "{}", served.said("second"));
    assert_eq!(proxy.saw("POST /login/"), 1, "the second does nothing");
    drop(first);
    proxy.go_on();
    served.is_delivered(&job);
    drop(second);
    assert_whole(served.case.servers, served.case.sketch, &[HISTORY]);
    Ok(())
}

fn change(path: &Path, key: &str, value: Value) {
    let mut read: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    read[key] = value;
    fs::write(path, read.to_string()).unwrap();
}

fn other_release() -> Result<(), Failed> {
    let _shared = shared();
    let served = Served::over(Case::of(&[HISTORY]));
    let newer = crate::material::copy_job(&served.case.at("newer"), &[SYSLOG]);
    let newer = crate::material::rename_job(&newer, "of-another-release");
    let (job, newer) = (served.hand_over(&served.case.job), served.hand_over(&newer));
    let outbox = served.outbox.orders_folder();
    for file in [
        outbox.join(&job).join("order.json"),
        outbox.join(&job).join(HISTORY).join("slice.json"),
    ] {
        change(&file, "of_the_future", json!({"a": [1]}));
    }
    change(
        &outbox.join(&newer).join("order.json"),
        "schema",
        json!("dfagent-order-2"),
    );
    let service = served.start();
    served.is_delivered(&job);

    // The other job is named, and waits.
    let named = || {
        let said = served.said("service");
        said.lines()
            .any(|line| line.contains(&newer) && line.contains("does not understand"))
    };
    assert!(
        holds_within(Duration::from_secs(10), named),
        "{}",
        served.said("service")
    );
    let receipt = served.receipt(&newer).expect("the agent is told");
    assert!(receipt.waits.unwrap().contains("does not understand"));
    assert!(
        outbox
            .join(&newer)
            .join(SYSLOG)
            .join("storage.plaso")
            .exists(),
        "it is left alone"
    );

    // What delivery says of the future is taken, too; of another schema it is refused with its name.
    let file = served.outbox.receipts_folder().join(format!("{job}.json"));
    drop(service);
    change(&file, "of_the_future", json!(1));
    assert!(served.delivered(&job).is_some());
    change(&file, "schema", json!("dfagent-receipt-2"));
    let error = served.outbox.receipt(&job).unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");

    // The other release is back: nothing was lost.
    change(
        &outbox.join(&newer).join("order.json"),
        "schema",
        json!("dfagent-order-1"),
    );
    let _service = served.start();
    served.is_delivered(&newer);
    assert_whole(served.case.servers, served.case.sketch, &[HISTORY, SYSLOG]);
    Ok(())
}
