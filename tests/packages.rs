//! The packages and the units in them: lintian, control files, conffiles, walls, and what the maintainer scripts do.
//!
//! Packages are taken from out/deb, where `make deb` puts them; nothing is installed on this system. What needs a
//! running systemd is tried in the machine of tests/vm.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    reason = "a test fails by panicking and keeps no state that a crash may not tear"
)]

mod lab;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::Need::{self, Other, Program, Root};
use libtest_mimic::Trial;

fn main() {
    let built = || {
        Other(
            packages().len() == 2,
            "packages in out/deb (run `make deb`)",
        )
    };
    let analyze = || [Program("systemd-analyze")];
    lab::run(vec![
        trial("the_agents_unit_is_below_3_0", &analyze(), || {
            exposure_is_at_most("dfagent.service", 29);
        }),
        trial("deliverys_unit_is_at_most_1_2", &analyze(), || {
            exposure_is_at_most("dfagent-delivery.service", 12);
        }),
        trial(
            "lintian_finds_nothing",
            &[built(), Program("lintian")],
            lintian_finds_nothing,
        ),
        trial(
            "both_packages_are_for_both_processors",
            &[],
            for_both_processors,
        ),
        trial(
            "every_file_in_etc_is_a_conffile",
            &[built()],
            conffiles_are_all_of_etc,
        ),
        trial(
            "units_scripts_and_words_are_in_their_places",
            &[built()],
            files_are_in_their_places,
        ),
        trial(
            "the_packaged_plaso_is_the_locked_one",
            &[built()],
            plaso_is_the_locked_one,
        ),
        trial(
            "no_path_of_the_building_machine_is_in_the_program",
            &[built()],
            no_path_in_the_program,
        ),
        trial(
            "a_downgrade_is_refused_in_words",
            &[built()],
            downgrade_is_refused,
        ),
        trial(
            "an_upgrade_is_not_refused",
            &[built()],
            upgrade_is_not_refused,
        ),
        trial(
            "install_remove_and_purge_leave_evidence_output_and_nothing_else",
            &[built(), Root, Program("mmdebstrap")],
            life_in_a_chroot,
        ),
    ]);
}

fn trial(name: &str, needs: &[Need], test: impl FnOnce() + Send + 'static) -> Trial {
    lab::trial(name, needs, || {
        test();
        Ok(())
    })
}

fn packages() -> Vec<PathBuf> {
    let entries = fs::read_dir(lab::root().join("out/deb"))
        .into_iter()
        .flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .collect();
    found.sort();
    found
}

/// The package of this name.
fn package(name: &str) -> String {
    let start = format!("{name}_");
    let mut all = packages().into_iter();
    let found = all.find(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(&start)
    });
    found
        .expect("the package is built")
        .to_str()
        .unwrap()
        .to_owned()
}

/// Paths of the files in a package, without folders, from the root.
fn files(name: &str) -> Vec<String> {
    let listing = lab::tool("dpkg-deb", &["--contents", &package(name)]);
    let paths = listing.lines().filter(|line| !line.starts_with('d'));
    paths
        .map(|line| line.split_whitespace().nth(5).unwrap()[1..].to_owned())
        .collect()
}

fn exposure_is_at_most(unit: &str, tenths: u32) {
    let path = lab::root().join("systemd").join(unit);
    let limit = format!("--threshold={tenths}");
    let path = path.to_str().unwrap();
    lab::tool(
        "systemd-analyze",
        &["security", "--offline=yes", "--no-pager", &limit, path],
    );
}

fn lintian_finds_nothing() {
    let mut arguments = vec!["--fail-on".to_owned(), "error,warning".to_owned()];
    arguments.extend(
        packages()
            .iter()
            .map(|path| path.to_str().unwrap().to_owned()),
    );
    lab::tool("lintian", &arguments);
}

fn for_both_processors() {
    let control = fs::read_to_string(lab::root().join("debian/control")).unwrap();
    let lines = control.lines();
    let processors: Vec<&str> = lines
        .filter(|line| line.starts_with("Architecture:"))
        .collect();
    assert_eq!(processors, ["Architecture: amd64 arm64"; 2]);
}

fn conffiles_are_all_of_etc() {
    let text = lab::tool("dpkg-deb", &["--info", &package("dfagent"), "conffiles"]);
    let mut named: Vec<&str> = text.lines().collect();
    named.sort_unstable();
    let mut there = files("dfagent");
    there.retain(|path| path.starts_with("/etc/"));
    there.sort_unstable();
    assert_eq!(named, there);
    assert!(named.contains(&"/etc/dfagent/dfagent.toml"), "{named:?}");
}

fn files_are_in_their_places() {
    let there = files("dfagent");
    for wanted in [
        "/usr/bin/dfagent",
        "/lib/systemd/system/dfagent.service",
        "/lib/systemd/system/dfagent.socket",
        "/lib/systemd/system/dfagent-delivery.service",
        "/usr/lib/sysusers.d/dfagent.conf",
        "/usr/lib/tmpfiles.d/dfagent.conf",
        "/usr/lib/udev/rules.d/01-dfagent.rules",
        "/usr/lib/systemd/catalog/dfagent.catalog",
        "/usr/share/man/man1/dfagent.1.gz",
        "/usr/share/bash-completion/completions/dfagent",
        "/usr/share/zsh/vendor-completions/_dfagent",
        "/usr/share/fish/vendor_completions.d/dfagent.fish",
    ] {
        assert!(
            there.iter().any(|path| path == wanted),
            "{wanted} is missing: {there:#?}"
        );
    }
}

fn plaso_is_the_locked_one() {
    let lock = fs::read_to_string(lab::root().join("packaging/plaso/requirements.txt")).unwrap();
    let start = lock.lines().find_map(|line| line.strip_prefix("plaso=="));
    let version = start.unwrap().split([' ', '\\']).next().unwrap();
    let folder = format!("/plaso-{version}.dist-info/METADATA");
    let there = files("dfagent-plaso");
    assert!(
        there.iter().any(|path| path.ends_with(&folder)),
        "no {folder}"
    );
    let outside: Vec<&String> = there
        .iter()
        .filter(|path| !path.starts_with("/opt/dfagent/plaso/") && !path.starts_with("/usr/share/"))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}

fn no_path_in_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    lab::tool("dpkg-deb", &["--extract", &package("dfagent"), to]);
    let program = fs::read(folder.path().join("usr/bin/dfagent")).unwrap();
    let checkout = lab::root();
    for path in [checkout.to_str().unwrap(), "/.cargo/registry/"] {
        let found = program
            .windows(path.len())
            .any(|part| part == path.as_bytes());
        assert!(!found, "{path} stands in the program");
    }
}

/// Names, kinds and content of all that is below a folder.
fn state(folder: &Path) -> String {
    let script = "cd \"$1\" && find . -printf '%p %y %m %l\\n' | sort && find . -type f -exec sha256sum {} + | sort";
    lab::tool("sh", &["-c", script, "sh", folder.to_str().unwrap()])
}

/// A stand-in for an environment: a Python, a script that names its folder, and a pip.
fn copy_leaves_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    let library = original.join("lib/python3.11/site-packages");
    fs::create_dir_all(library.join("pip")).unwrap();
    fs::create_dir_all(original.join("bin")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/python3", original.join("bin/python")).unwrap();
    let settings = format!("home = /usr/bin\ncommand = venv {}\n", original.display());
    fs::write(original.join("pyvenv.cfg"), settings).unwrap();
    let script = original.join("bin/log2timeline");
    fs::write(&script, format!("#!{}/bin/python\n", original.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for name in [
        "bin/pip",
        "bin/activate",
        "lib/python3.11/site-packages/pip/__init__.py",
    ] {
        fs::write(original.join(name), "").unwrap();
    }
    let before = state(&original);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&original, &link).unwrap();

    let to = folder.path().join("root");
    let program = lab::root().join("packaging/plaso/copy");
    let arguments = [
        link.to_str().unwrap(),
        to.to_str().unwrap(),
        "/opt/dfagent/plaso",
    ];
    lab::tool(program.to_str().unwrap(), &arguments);

    assert_eq!(state(&original), before);
    let copied = to.join("opt/dfagent/plaso");
    assert!(fs::symlink_metadata(&copied).unwrap().is_dir());
    assert!(!copied.join("bin/pip").exists());
    let first = fs::read_to_string(copied.join("bin/log2timeline")).unwrap();
    assert_eq!(first, "#!/opt/dfagent/plaso/bin/python\n");
}

/// Runs the package's preinst as dpkg does.
fn preinst(old: &str, new: &str) -> lab::Finished {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    lab::tool("dpkg-deb", &["--control", &package("dfagent"), to]);
    let mut command = Command::new(folder.path().join("preinst"));
    lab::finish(command.args(["upgrade", old, new]))
}

fn downgrade_is_refused() {
    let done = preinst("9.1", "0.1.0");
    assert_eq!(done.code, 1, "{}", done.err);
    for part in ["9.1", "0.1.0", "allow-downgrade"] {
        assert!(done.err.contains(part), "{}", done.err);
    }
}

fn upgrade_is_not_refused() {
    let done = preinst("0.1.0~rc1", "0.1.0");
    assert_eq!(done.code, 0, "{}", done.err);
}

/// All in one system, because making it takes most of the time.
fn life_in_a_chroot() {
    let folder = tempfile::tempdir().unwrap();
    let script = lab::root().join("tests/packages/life");
    let to = folder.path().to_str().unwrap();
    lab::tool(script.to_str().unwrap(), &[to, &package("dfagent")]);
}
