//! Attempts to get out, by tests/cage/probe.py, for each way in which evidence is given to a cage.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use libtest_mimic::{Failed, Trial};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{self, Finished, Need, finish, job_folder, tool, trial};
use crate::standin;

/// The user of the cage where no account was made for it, see src/cage/run.rs.
const FALLBACK_USER: u32 = 60_906;

/// Limits of the cage under trial.
const MEMORY_MIB: u64 = 512;
const FILE_MIB: u64 = 100;
const LIMITS: &[(&str, &str)] = &[
    ("CAGE__MEMORY_MIB", "512"),
    ("CAGE__FILE_MIB", "100"),
    ("CAGE__PROCESSES", "64"),
];

const CANARY: &str = "DFAGENT_TEST_CANARY";

/// Groups of attempts and the fewest that there must be in each.
const GROUPS: [(&str, usize); 16] = [
    ("net", 15),
    ("file", 15),
    ("env", 4),
    ("proc", 10),
    ("mount", 11),
    ("ns", 10),
    ("dev", 19),
    ("evidence", 11),
    ("priv", 7),
    ("sys", 39),
    ("proc write", 6),
    ("proc read", 9),
    ("tty", 4),
    ("abi", 2),
    ("write", 7),
    ("res", 8),
];

/// Attempts that must get through without the cage, so that a cage that holds nothing is found out.
const FEWEST_WITHOUT: usize = 20;

/// How a cage gets its evidence.
#[derive(Clone, Copy)]
enum Way {
    Folder,
    Mount,
    Device,
}

impl Way {
    const ALL: [Self; 3] = [Self::Folder, Self::Mount, Self::Device];

    fn name(self) -> &'static str {
        match self {
            Self::Folder => "a_folder",
            Self::Mount => "a_mounted_image",
            Self::Device => "a_device",
        }
    }

    fn needs(self) -> Vec<Need> {
        let root = Need::Root;
        match self {
            Self::Folder => vec![root],
            Self::Mount => vec![root, Need::Driver("squashfs"), Need::Program("mksquashfs")],
            Self::Device => vec![root, Need::Driver("ext4"), Need::Program("mkfs.ext4")],
        }
    }

    /// The results of one run; made when they are asked for first.
    fn results(self) -> &'static Results {
        static RESULTS: [OnceLock<Results>; 3] = [const { OnceLock::new() }; 3];
        RESULTS[self as usize].get_or_init(|| Results::of(self))
    }

    fn source(self, work: &Path) -> PathBuf {
        let tree = work.join("tree");
        make_evidence(&tree);
        let image = work.join("disk.img");
        let (from, to) = (tree.to_str().unwrap(), image.to_str().unwrap());
        match self {
            Self::Folder => return tree,
            Self::Mount => tool("mksquashfs", &[from, to, "-quiet", "-no-progress"]),
            Self::Device => tool("mkfs.ext4", &["-q", "-d", from, to, "32M"]),
        };
        image
    }
}

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for way in Way::ALL {
        for (group, fewest) in GROUPS {
            let mut needs = way.needs();
            if group == "abi" {
                needs.push(Need::Program("cc"));
                needs.push(Need::Other(cfg!(target_arch = "x86_64"), "x86-64"));
            }
            trials.push(trial(
                format!("nothing_gets_out_of_a_cage_over_{}: {group}", way.name()),
                &needs,
                move || nothing_gets_out(way, group, fewest),
            ));
        }
        trials.push(trial(
            format!(
                "a_cage_over_{}_has_one_capability_no_secret_and_no_descriptor",
                way.name()
            ),
            &way.needs(),
            move || has_nothing(way),
        ));
    }
    trials.push(trial(
        "the_same_attempts_get_through_without_the_cage",
        &[Need::Root],
        get_through_without,
    ));
    trials
}

#[derive(Deserialize)]
struct Results {
    status: BTreeMap<String, String>,
    descriptors: Vec<u32>,
    environment: BTreeMap<String, String>,
    probes: Vec<Probe>,
    #[serde(default)]
    target: Value,
}

#[derive(Deserialize)]
struct Probe {
    group: String,
    name: String,
    out: bool,
    answer: String,
}

impl Results {
    fn of(way: Way) -> Self {
        let work = tempfile::tempdir().unwrap();
        let at = |name: &str| work.path().join(name);
        let host = Host::start(work.path());
        let mut facts = host.facts();
        facts["file_bytes"] = json!(FILE_MIB << 20);
        facts["memory_bytes"] = json!(MEMORY_MIB << 20);
        if let Some(program) = int80(&at("plaso")) {
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
            facts["int80"] = json!("/plaso/int80");
        }
        let environment = standin::doing(&at("plaso"), "probe");
        fs::copy(script("probe.py"), environment.join("probe.py")).unwrap();
        fs::write(environment.join("facts.json"), facts.to_string()).unwrap();

        let filter = at("10-all.yaml");
        fs::write(&filter, "type: include\npaths:\n- /var/log\n").unwrap();
        let mut command = standin::dfagent_with(&environment, LIMITS);
        command.env(CANARY, "secret of the parent");
        command.arg("process").arg(way.source(work.path()));
        command
            .arg("--to")
            .arg(at("out"))
            .arg("--filter")
            .arg(filter);
        let done = finish(&mut command);
        let manifest = lab::manifest(&at("out"));
        assert_eq!(manifest["slices"][0]["ended"]["code"], 0, "{}", done.err);
        let text = fs::read_to_string(kept(&at("out"), &done)).unwrap();
        let mut results: Self = serde_json::from_str(&text).unwrap();
        results.target = manifest["slices"][0]["command"]
            .as_array()
            .and_then(|words| words.last().cloned())
            .unwrap();
        results
    }

    fn group(&self, group: &str) -> Vec<&Probe> {
        let probes = self.probes.iter();
        probes.filter(|probe| probe.group == group).collect()
    }
}

fn script(name: &str) -> PathBuf {
    lab::root().join("tests/cage").join(name)
}

/// Plaso's log of the only slice, which is where the stand-in puts its results.
fn kept(out: &Path, done: &Finished) -> PathBuf {
    let slices = job_folder(out).join("slices");
    let mut folders = fs::read_dir(&slices).unwrap().flatten();
    let only = folders
        .next()
        .unwrap_or_else(|| panic!("a slice: {}", done.err));
    only.path().join("log2timeline.log.gz")
}

/// The things on the host that are not to be reached, made by host.py.
struct Host {
    folder: PathBuf,
    process: Child,
}

impl Host {
    fn start(work: &Path) -> Self {
        let folder = work.join("host");
        fs::create_dir(&folder).unwrap();
        let mut process = Command::new("/usr/bin/python3")
            .arg("-B")
            .arg(script("host.py"))
            .arg(&folder)
            .arg(user().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        process
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        assert_eq!(&ready, b"ready\n");
        Self { folder, process }
    }

    fn facts(&self) -> Value {
        let text = fs::read_to_string(self.folder.join("facts.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        drop(self.process.wait());
    }
}

/// The user of the cage.
fn user() -> u32 {
    let account = nix::unistd::User::from_name("dfagent-cage").unwrap_or_default();
    account.map_or(FALLBACK_USER, |account| account.uid.as_raw())
}

/// A program that calls the kernel by the interrupt of i386; none without a C compiler.
fn int80(folder: &Path) -> Option<PathBuf> {
    fs::create_dir_all(folder).unwrap();
    let (source, program) = (folder.join("int80.c"), folder.join("int80"));
    let text = "int main(void) {\n    long pid = 20; /* getpid */\n    \
                __asm__ volatile(\"int $0x80\" : \"+a\"(pid));\n    return pid <= 0;\n}\n";
    fs::write(&source, text).unwrap();
    let compiled = Command::new("cc")
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .status();
    compiled
        .is_ok_and(|status| status.success())
        .then_some(program)
}

/// Files that could be changed, run or followed by the user of the cage if only permissions protected them.
fn make_evidence(tree: &Path) {
    let open = tree.join("srv/open");
    for folder in ["var/log", "dev", "srv/open"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    fs::write(tree.join("var/log/auth.log"), "a line\n").unwrap();
    symlink("/etc/shadow", tree.join("var/log/to-shadow")).unwrap();
    symlink(
        "../".repeat(20) + "etc/shadow",
        tree.join("var/log/up-to-shadow"),
    )
    .unwrap();
    let node = tree.join("dev/null-of-evidence");
    tool(
        "mknod",
        &["-m", "666", node.to_str().unwrap(), "c", "1", "3"],
    );
    for (name, mode) in [
        ("public.log", 0o666),
        ("to-be-deleted.log", 0o666),
        ("program", 0o755),
        ("set-uid-program", 0o4755),
    ] {
        let path = open.join(name);
        if name.ends_with("program") {
            fs::copy("/usr/bin/id", &path).unwrap();
        } else {
            fs::write(&path, "a line\n").unwrap();
            chown(&path, Some(user()), Some(user())).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    chown(&open, Some(user()), Some(user())).unwrap();
}

fn nothing_gets_out(way: Way, group: &str, fewest: usize) -> Result<(), Failed> {
    let attempts = way.results().group(group);
    assert!(attempts.len() >= fewest, "{} attempts", attempts.len());
    let out: Vec<String> = attempts
        .iter()
        .filter(|probe| probe.out)
        .map(|probe| format!("{}: {}", probe.name, probe.answer))
        .collect();
    assert!(out.is_empty(), "got through: {out:#?}");
    Ok(())
}

fn has_nothing(way: Way) -> Result<(), Failed> {
    let results = way.results();
    let target = match way {
        Way::Folder | Way::Mount => "/evidence",
        Way::Device => "/evidence/disk.raw",
    };
    assert_eq!(results.target, target, "the way that is meant");
    // CAP_DAC_READ_SEARCH is bit 2 (linux/capability.h).
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(results.status[set], "0000000000000004", "{set}");
    }
    assert_eq!(results.status["NoNewPrivs"], "1");
    assert_eq!(results.status["Seccomp"], "2");
    let same = vec![user().to_string(); 4].join("\t");
    assert_eq!(results.status["Uid"], same);
    assert_eq!(results.status["Gid"], same);
    assert_eq!(results.status["Groups"], "");
    assert_eq!(
        results.descriptors,
        Vec::<u32>::new(),
        "descriptors above 2"
    );
    let known = [
        "HOME",
        "LANG",
        "LC_CTYPE",
        "PATH",
        "PWD",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHASHSEED",
        "PYTHONUNBUFFERED",
        "TMPDIR",
        "TZ",
        "OLDPWD",
        "SHLVL",
        "_",
    ];
    for (name, value) in &results.environment {
        assert!(known.contains(&name.as_str()), "{name}={value}");
        assert!(!value.contains("secret"), "{name}={value}");
    }
    Ok(())
}

/// The control: the same user with the same capability, and nothing around it.
fn get_through_without() -> Result<(), Failed> {
    let work: TempDir = tempfile::tempdir()?;
    let host = Host::start(work.path());
    let (evidence, attempt) = (work.path().join("tree"), work.path().join("attempt"));
    make_evidence(&evidence);
    fs::create_dir(&attempt)?;
    chown(&attempt, Some(user()), Some(user()))?;
    let mut facts = host.facts();
    facts["bare"] = json!(true);
    facts["evidence"] = json!(evidence);
    facts["attempt"] = json!(attempt);
    if let Some(program) = int80(&work.path().join("programs")) {
        facts["int80"] = json!(program);
    }
    let (question, answer) = (work.path().join("facts.json"), attempt.join("answer.json"));
    fs::write(&question, facts.to_string())?;
    let capability = "=-all,+dac_read_search";
    let id = user().to_string();
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .args(
            ["--bounding-set", "--inh-caps", "--ambient-caps"]
                .map(|set| format!("{set}{capability}")),
        )
        .args(["--", "/usr/bin/python3", "-B"])
        .arg(script("probe.py"))
        .args([&question, &answer])
        .env(CANARY, "secret of the parent")
        .stdin(Stdio::null());
    let done = finish(&mut command);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let results: Results = serde_json::from_str(&fs::read_to_string(answer)?)?;
    let out: Vec<String> = results
        .probes
        .iter()
        .filter(|probe| probe.out)
        .map(|probe| format!("{}: {}", probe.group, probe.name))
        .collect();
    eprintln!(
        "without the cage {} of {} get through",
        out.len(),
        results.probes.len()
    );
    assert!(out.len() >= FEWEST_WITHOUT, "{out:#?}");
    for group in [
        "net",
        "file",
        "env",
        "proc",
        "dev",
        "evidence",
        "sys",
        "proc read",
    ] {
        assert!(
            out.iter()
                .any(|name| name.starts_with(&format!("{group}: "))),
            "one of {group} at least: {out:#?}"
        );
    }
    Ok(())
}
