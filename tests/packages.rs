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

use std::collections::BTreeSet;
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
            "the_packages_files_are_the_listed_ones",
            &[built()],
            files_are_the_listed_ones,
        ),
        trial(
            "the_units_have_no_mistakes",
            &analyze(),
            units_have_no_mistakes,
        ),
        trial(
            "the_packaged_plaso_runs_where_it_will_be",
            &[built(), Program("bwrap")],
            packaged_plaso_runs,
        ),
        trial(
            "no_time_of_the_building_machine_is_in_the_packages",
            &[built()],
            no_time_of_the_building_machine,
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
            "copying_plaso_through_a_link_leaves_the_original_as_it_is",
            &[],
            copy_leaves_the_original,
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

/// Documents come and go with docs/, and are not listed.
fn files_are_the_listed_ones() {
    let mut there = files("dfagent");
    there.retain(|path| !path.starts_with("/usr/share/doc/"));
    there.sort_unstable();
    let listed = fs::read_to_string(lab::root().join("tests/packages/dfagent.files")).unwrap();
    let listed: Vec<&str> = listed.lines().collect();
    assert_eq!(
        there, listed,
        "left: the package; right: tests/packages/dfagent.files"
    );
}

fn units_have_no_mistakes() {
    let units = lab::root().join("systemd");
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]);
    for unit in [
        "dfagent.service",
        "dfagent.socket",
        "dfagent-delivery.service",
    ] {
        command.arg(units.join(unit));
    }
    let done = lab::finish(&mut command);
    // The package is not installed here, so its program is not there; nothing else may be said of its units.
    let about_ours = done.err.lines().filter(|line| line.contains("dfagent"));
    let mistakes: Vec<&str> = about_ours
        .filter(|line| !line.contains("Command /usr/bin/dfagent is not executable"))
        .collect();
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}

/// As pip compares names.
fn normal(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

/// Name and version of all that the packaged environment holds must be what the lock says, and the other way round.
fn plaso_is_the_locked_one() {
    let lock = fs::read_to_string(lab::root().join("packaging/plaso/requirements.txt")).unwrap();
    let locked: BTreeSet<(String, String)> = lock
        .lines()
        .filter(|line| !line.starts_with([' ', '#']))
        .filter_map(|line| line.split([' ', ';']).next()?.split_once("=="))
        .map(|(name, version)| (normal(name), version.to_owned()))
        .collect();
    let there = files("dfagent-plaso");
    let packaged: BTreeSet<(String, String)> = there
        .iter()
        .filter_map(|path| path.strip_suffix(".dist-info/METADATA"))
        // Not what a package carries inside of itself.
        .filter_map(|path| path.rsplit_once("/site-packages/")?.1.split_once('-'))
        .filter(|(name, _)| !name.contains('/'))
        .map(|(name, version)| (normal(name), version.to_owned()))
        .collect();
    assert!(
        locked.iter().any(|(name, _)| name == "plaso"),
        "the lock is read wrongly"
    );
    assert_eq!(packaged, locked, "left: the package; right: the lock");
    let outside: Vec<&String> = there
        .iter()
        .filter(|path| !path.starts_with("/opt/dfagent/plaso/") && !path.starts_with("/usr/share/"))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}

/// At its final place, which this system does not have: only the two programs see it there.
fn packaged_plaso_runs() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    lab::tool("dpkg-deb", &["--extract", &package("dfagent-plaso"), to]);
    let from = format!("{to}/opt/dfagent");
    for program in ["log2timeline", "psort"] {
        let program = format!("/opt/dfagent/plaso/bin/{program}");
        let said = lab::tool(
            "bwrap",
            &[
                "--ro-bind",
                "/",
                "/",
                "--dev",
                "/dev",
                "--tmpfs",
                "/tmp",
                "--tmpfs",
                "/opt",
                "--ro-bind",
                &from,
                "/opt/dfagent",
                &program,
                "--version",
            ],
        );
        assert!(said.contains("plaso - "), "{program}: {said}");
    }
}

/// Every file has the changelog's time, whatever the times of the checkout and the environment are.
fn no_time_of_the_building_machine() {
    for name in ["dfagent", "dfagent-plaso"] {
        let listing = lab::tool("dpkg-deb", &["--contents", &package(name)]);
        let times: BTreeSet<String> = listing
            .lines()
            .map(|line| {
                line.split_whitespace()
                    .skip(3)
                    .take(2)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        assert_eq!(times.len(), 1, "{name}: {times:?}");
    }
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
