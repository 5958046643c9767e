"""The packages under a real systemd, with a job at work: a newer one, an older one, none, and the same again."""

import glob
import json
import os
import re
import subprocess
import tempfile

import vm
from rig import FIRST, FIRST_ID, Lab, claim, node_of, state

NEWER = "99.0"
APT = "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Options::=--force-confold"
# As in guest/slices.py: what tells most comes first.
TRIAGE, LOGS = "01-triage", "02-logs"
SLICES = f"/var/lib/dfagent/jobs/{FIRST_ID}/slices"


def package():
    """The package that is on the image."""
    found = glob.glob(os.path.join(vm.TOP, "out", "deb", "dfagent_*_amd64.deb"))
    assert len(found) == 1, found
    return found[0]


def make_newer(folder):
    """A newer release of the package: another version, and a configuration file that was changed, too."""
    tree = os.path.join(folder, "tree")
    subprocess.run(["dpkg-deb", "-R", package(), tree], check=True)
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control, encoding="utf-8") as file:
        text = re.sub("^Version: .*$", f"Version: {NEWER}", file.read(), flags=re.M)
    with open(control, "w", encoding="utf-8") as file:
        file.write(text)
    with open(os.path.join(tree, "etc", "dfagent", "dfagent.toml"), "a", encoding="utf-8") as file:
        file.write("# Of the newer release.\n")
    words = ["dpkg-deb", "-Zgzip", "-z1", "-b", "--root-owner-group", tree, os.path.join(folder, "newer.deb")]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["rm", "-r", tree], check=True)


def plug_packages(lab):
    """Plugs in a disk with both packages, which is mounted at /packages."""
    path = os.path.join(lab.machine.folder, "packages")
    with tempfile.TemporaryDirectory() as folder:
        make_newer(folder)
        subprocess.run(["cp", package(), os.path.join(folder, "same.deb")], check=True)
        with open(path, "wb") as file:
            file.truncate(32 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-d", folder, path], check=True)
    lab.machine.plug_plain(path, 6, "packages")
    lab.machine.wait("test -b /dev/disk/by-id/virtio-packages", 120)
    lab.machine.run("mkdir /packages && mount -o ro /dev/disk/by-id/virtio-packages /packages")
    # The initramfs and the index of manual pages cost minutes here, and are not what is tested.
    lab.machine.run("sed -i s/update_initramfs=yes/update_initramfs=no/ /etc/initramfs-tools/update-initramfs.conf")
    lab.machine.run("rm -f /var/lib/man-db/auto-update")


def start_job(lab):
    """A job that is half done: its first slice is there, the second is read."""
    lab.install()
    lab.use_slices()
    plug_packages(lab)
    lab.finish(TRIAGE)
    lab.start()
    disk = lab.plug(0, FIRST, "/dev/sdf")
    # Both are read at once; what is read of the first is kept a moment after its last line.
    lab.machine.wait(f"test -d {SLICES}/{TRIAGE}", 240)
    wait_for_second(lab)
    return disk


def wait_for_second(lab):
    """Waits until the second slice is read; returns the jobs."""
    return lab.wait_for(lambda jobs: at_work(jobs.get(FIRST_ID)) == [LOGS], 240)


def at_work(job):
    """The slices of a job that are being read."""
    return [one["name"] for one in (job and job["progress"] or {}).get("at_work", []) if one["events"] > 1]


def first_slice(machine):
    """What is known of the slice that is done: it is never made again."""
    return machine.run(f"cd {SLICES}/{TRIAGE} && sha256sum * && stat -c '%n %i %y' *")


def finish_job(lab, first):
    """Lets the job come to its end, which is the same as without a break."""
    lab.finish()
    lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "done", 240)
    folder = f"/var/lib/dfagent/jobs/{FIRST_ID}"
    manifest = json.loads(lab.machine.run(f"cat {folder}/manifest.json"))
    assert manifest["verdict"] == {"level": "complete", "reasons": []}, manifest["verdict"]
    assert [slice["name"] for slice in manifest["slices"]] == [TRIAGE, LOGS], manifest["slices"]
    record = json.loads(lab.machine.run(f"cat {SLICES}/{TRIAGE}/slice.json"))
    assert manifest["slices"][0]["started"] == record["started"], "the first slice was read twice"
    storage = re.search(r"^\w+ +storage.plaso$", first, re.M)[0]
    assert storage in lab.machine.run(f"cd {SLICES}/{TRIAGE} && sha256sum *"), "the first slice has another storage file"
    assert lab.machine.run(f"wc -l <{folder}/timeline.jsonl") == "6\n"
    lab.machine.run(f"dfagent verify {folder}/manifest.json")
    lab.wait_until_nothing_is_left()


def agent(machine):
    """Which process the agent is, and since when."""
    return machine.run("systemctl show dfagent -P MainPID -P InvocationID -P ActiveEnterTimestampMonotonic")


@claim
def a_newer_package_goes_on_with_the_job_at_work_and_an_older_one_is_refused_without_touching_it():
    with vm.restore() as machine:
        lab = Lab(machine)
        disk = start_job(lab)
        first, before = first_slice(machine), agent(machine)
        machine.run("sed -i '1i # Ours.' /etc/dfagent/dfagent.toml; echo '# Ours.' >>/etc/update-motd.d/60-dfagent")
        owners = "stat -c '%n %U %G %a' /var/lib/dfagent/outbox /var/lib/dfagent/receipts"
        given = machine.run(owners)
        assert "outbox root dfagent-delivery 750" in given, given
        machine.run(f"{APT} install /packages/newer.deb", 400)
        assert machine.run("dpkg-query -W -f '${Version} ${db:Status-Status}' dfagent") == f"{NEWER} installed"
        assert agent(machine) != before, "the agent of the older release is still at work"
        jobs = wait_for_second(lab)
        assert jobs[FIRST_ID]["job"]["starts"] == 2, jobs
        assert first_slice(machine) == first, "the slice that was done was made again"
        for path in ("/etc/dfagent/dfagent.toml", "/etc/update-motd.d/60-dfagent"):
            assert "# Ours." in machine.run(f"cat {path}"), f"{path} was overwritten"
        assert "newer release" in machine.run("cat /etc/dfagent/dfagent.toml.dpkg-dist")
        machine.run("test -e /etc/dfagent/conf.d/test.toml")
        assert machine.run(owners) == given, "an agent that starts takes these folders from delivery"

        before = agent(machine)
        refused = machine.try_run("dpkg -i /packages/same.deb", 240)
        assert refused["code"] != 0, refused
        said = re.findall(r"^dfagent: .*$", refused["err"], re.M)
        assert len(said) == 1 and f"is not installed over {NEWER}" in said[0], refused
        assert machine.run("dpkg-query -W -f '${Version} ${db:Status-Status}' dfagent") == f"{NEWER} installed"
        assert agent(machine) == before, "a package that was refused has restarted the agent"
        assert wait_for_second(lab)[FIRST_ID]["job"]["starts"] == 2
        assert machine.run("dpkg --audit; systemctl --failed --no-legend --plain") == ""
        finish_job(lab, first)
        lab.pull(disk)


@claim
def removed_and_purged_packages_leave_the_work_and_the_same_packages_go_on_with_it():
    with vm.restore() as machine:
        lab = Lab(machine)
        disk = start_job(lab)
        first = first_slice(machine)
        machine.run("install -d -m 700 /etc/credstore && echo secret >/etc/credstore/dfagent.timesketch-password")
        machine.run("dpkg -L dfagent >/run/brought")
        assert all(lab.left().values()), "a job is at work"

        machine.run("dpkg -r dfagent", 240)
        gone(lab)
        assert first_slice(machine) == first
        machine.run(f"test -e {SLICES}/{LOGS}.run && test -e /etc/dfagent/dfagent.toml && test -e /var/lib/dfagent/ledger.db")

        purged = machine.try_run("dpkg -P dfagent", 240)
        assert purged["code"] == 0, purged
        assert "timelines and manifests are kept in /var/lib/dfagent" in purged["err"], purged
        gone(lab)
        assert machine.run("ls -A /var/lib/dfagent") == "jobs\n"
        assert first_slice(machine) == first
        # Besides the image's own, and the other package's.
        named = "find / -xdev -name '*dfagent*' ! -path '/var/lib/dfagent*' ! -path '/var/log/*' ! -path '/opt/*' ! -name 'dfagent-plaso*'"
        image = {"/usr/lib/udev/rules.d/02-dfagent-root.rules", "/usr/lib/dfagent-image", "/etc/grub.d/10_dfagent"}
        image.add("/etc/initramfs-tools/hooks/dfagent-root")
        found = set(machine.run(named, 120).split())
        assert found == image, f"left, or taken from the image: {found ^ image}"
        left = "while read -r path; do [ -d \"$path\" ] || [ ! -e \"$path\" ] || echo \"$path\"; done </run/brought"
        assert machine.run(left, 120) == ""
        assert machine.run("ls -d /run/*dfagent* /run/udev/rules.d/*dfagent* 2>/dev/null || true") == ""
        assert machine.run("getent passwd dfagent-cage dfagent-delivery || true") == ""
        assert "dfagent" not in machine.run("journalctl --list-catalog")
        # What was guarded stays guarded until it is pulled.
        assert machine.run(f"lsblk -dno RO {node_of(lab, FIRST)}").strip() == "1"
        lab.unchanged(disk)

        machine.run("dpkg -i /packages/same.deb", 400)
        assert machine.run("systemctl is-enabled dfagent dfagent-delivery") == "enabled\nenabled\n"
        # The agent takes up its configuration again when dpkg touches it.
        machine.wait("test \"$(systemctl is-active dfagent dfagent-delivery | xargs)\" = 'active active'", 120)
        assert machine.run("systemctl --failed --no-legend --plain; dpkg --audit") == ""
        # Quiet: nothing says that this volume is evidence.
        jobs = lab.jobs()
        assert state(jobs, FIRST_ID) == "interrupted" and not any(lab.left().values()), jobs
        lab.pull(disk)
        machine.run("mkdir -p /etc/dfagent/conf.d && cp /payload/test.toml /etc/dfagent/conf.d/")
        lab.start()
        again = lab.plug(1, FIRST, "/dev/sdf")
        wait_for_second(lab)
        assert first_slice(machine) == first
        finish_job(lab, first)
        lab.pull(again)

        machine.run("dpkg -P dfagent-plaso", 240)
        assert machine.try_run("ls -d /opt/dfagent")["code"] != 0


def gone(lab):
    """No service, and nothing of the job's but files."""
    assert not any((left := lab.left()).values()), left
    assert lab.machine.try_run("pgrep -x dfagent")["code"] == 1, "a process of the package is there"
    active = lab.machine.run("systemctl list-units --no-legend --plain 'dfagent*'; systemctl --failed --no-legend --plain")
    assert active == "", active
