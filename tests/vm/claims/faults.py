"""What goes wrong on the machine while a volume is read: its power, its processes, its disk, its clock. The same timeline
comes out.

Plaso's part is played from a recording (recording.py), so that all runs must end with the same bytes. The agent's folder
is on a disk of its own where power is cut: the machine that comes after is one that has booted, with that disk as the
power left it.
"""

import json
import os
import subprocess
import tempfile

import recording
import vm
from rig import FIRST, FIRST_ID, Lab, claim, state

FOLDER = "/var/lib/dfagent"
JOB = f"{FOLDER}/jobs/{FIRST_ID}"
SLOW = "echo 4 >/opt/standin/log0/delay; echo 4 >/opt/standin/export-delay"


def stage(text):
    """A shell command that ends when the agent that runs now says that it is at this stage."""
    since = "_SYSTEMD_INVOCATION_ID=$(systemctl show dfagent -P InvocationID)"
    return f"grep -q -m1 -F '{text}' < <(journalctl -f -n all -o cat -t dfagent {since})"


def process(pattern):
    """A shell command that ends when there is such a process; the pattern must not match itself."""
    return f"until pgrep -f '{pattern}' >/dev/null; do :; done"


MOMENTS = {
    # Only before the first reading.
    "hashing": stage("hashing the whole source"),
    "opening": stage("setting the source read-only"),
    "probing": stage("looking for partitions and filesystems"),
    "census": stage("taking the census of"),
    "reading": process("[r]eplay.py .*log2timeline"),
    "exporting": process("sleep [4]"),
    "the next slice": f"until test -e {JOB}/slices/01-part; do :; done",
    "joining": stage("joining the slices into one timeline"),
    "releasing": stage("releasing the source"),
    "done": f"until test -e {JOB}/manifest.json; do :; done",
}


def make_work(path):
    """An empty filesystem for the agent's folder."""
    with open(path, "wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)


def start_on(lab, work):
    """Starts the installed agent with its folder on this disk."""
    lab.machine.plug_plain(work, 6, "work", read_only=False)
    lab.install()
    lab.machine.run(
        f"systemctl stop dfagent dfagent-delivery && mount /dev/disk/by-id/virtio-work {FOLDER} && systemd-tmpfiles --create dfagent.conf"
        f" && {SLOW}"
    )
    lab.start()
    # What goes down with it three times without getting on is not tried by itself again.
    if state(lab.jobs(), FIRST_ID) == "parked":
        lab.machine.run(f"dfagent retry {FIRST_ID}")


def assert_same_timeline(lab, broken_off=True):
    """The job is done with the recorded timeline, complete, as if nothing had happened."""
    manifest = json.loads(lab.machine.run(f"cat {JOB}/manifest.json"))
    assert manifest["verdict"]["level"] == "complete", manifest["verdict"]
    assert manifest["custody"]["differences"] == [], manifest["custody"]
    assert (manifest["resumed"] > 0) == broken_off, manifest["resumed"]
    made = lab.machine.run(f"sha256sum {JOB}/timeline.jsonl").split()[0]
    assert made == vm.sha256(recording.TIMELINE), "the timeline is another one"
    assert len(lab.jobs()) == 1, "a second job"
    lab.wait_until_nothing_is_left()


@claim
def a_power_cut_at_any_stage_ends_in_the_same_timeline():
    with tempfile.TemporaryDirectory(prefix="dfagent-vm-") as folder:
        work = os.path.join(folder, "work")
        make_work(work)
        for name, moment in MOMENTS.items():
            cut_power_when(moment, work, name)
        with vm.restore() as machine:
            lab = Lab(machine, recording.make_plaso)
            start_on(lab, work)
            lab.plug(0, FIRST, "/dev/sdf", make=recording.make_disk)
            lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "done")
            assert_same_timeline(lab)
            lab.all_unchanged()


def cut_power_when(moment, work, name):
    """Begins the job or goes on with it, until this moment."""
    with vm.restore() as machine:
        lab = Lab(machine, recording.make_plaso)
        start_on(lab, work)
        machine.channel.send({"run": moment, "limit": 120})
        disk = lab.plug(0, FIRST, "/dev/sdf", make=recording.make_disk)
        done = machine.channel.receive(180)
        assert done["code"] == 0, f"{name} never came: {done}"
        lab.unchanged(disk)
        machine.power_cut()
        print(f"power cut: {name}")


@claim
def killed_or_frozen_services_are_started_again_and_the_timeline_is_the_same():
    with vm.restore() as machine:
        lab = Lab(machine, recording.make_plaso)
        lab.install()
        drop_in = "/run/systemd/system/dfagent.service.d/test.conf"
        machine.run(f"{SLOW}; mkdir -p $(dirname {drop_in}); printf '[Service]\\nWatchdogSec=20\\n' >{drop_in}; systemctl daemon-reload")
        lab.start()
        disk = lab.plug(0, FIRST, "/dev/sdf", make=recording.make_disk)
        machine.run(MOMENTS["reading"], 120)
        ended(machine, "dfagent", "kill --kill-whom=main --signal=KILL")
        ended(machine, "dfagent-delivery", "kill --kill-whom=main --signal=KILL")
        machine.run(MOMENTS["exporting"], 120)
        ended(machine, "dfagent", "kill --kill-whom=all --signal=KILL")
        machine.run(MOMENTS["the next slice"], 120)
        ended(machine, "dfagent", "kill --kill-whom=main --signal=STOP")
        assert "watchdog" in machine.run("journalctl -u dfagent -o cat").lower()
        jobs = lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "done")
        assert jobs[FIRST_ID]["job"]["starts"] == 4, jobs
        assert_same_timeline(lab)
        lab.pull(disk)


def ended(machine, unit, how):
    """Ends a service's process, or all of its processes; systemd starts it again."""
    before = machine.run(f"systemctl show {unit} -P NRestarts").strip()
    machine.run(f"systemctl {how} {unit}")
    machine.wait(f"test $(systemctl show {unit} -P NRestarts) -gt {before} && systemctl is-active --quiet {unit}", 120)
    # Five starts in ten minutes are the limit, for a fault that stays.
    machine.run(f"systemctl reset-failed {unit}")


@claim
def a_full_work_disk_is_said_and_the_job_goes_on_by_itself_when_there_is_room():
    with vm.restore() as machine:
        lab = Lab(machine, recording.make_plaso)
        work = os.path.join(machine.folder, "work")
        make_work(work)
        start_on(lab, work)
        machine.channel.send({"run": MOMENTS["reading"], "limit": 120})
        disk = lab.plug(0, FIRST, "/dev/sdf", make=recording.make_disk)
        assert machine.channel.receive(180)["code"] == 0
        free = int(machine.run(f"df --output=avail -B1 {FOLDER} | tail -1"))
        machine.run(f"fallocate -l {free - (4 << 20)} {FOLDER}/filler")
        jobs = lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "waiting")
        said = json.dumps(jobs[FIRST_ID]["job"]["state"])
        assert "MiB are free" in said and "goes on by itself" in said, said
        for text in (machine.try_run("dfagent status")["out"], machine.run("journalctl -t dfagent -o cat")):
            assert "MiB are free" in text, text
        lab.wait_until_nothing_is_left()
        # To the last byte, and the machine started again.
        machine.try_run(f"dd if=/dev/zero of={FOLDER}/more bs=4k")
        machine.run("systemctl restart dfagent", 240)
        assert state(lab.jobs(), FIRST_ID) == "waiting", lab.jobs()
        machine.run(f"rm {FOLDER}/filler {FOLDER}/more")
        lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "done", 180)
        assert_same_timeline(lab)
        lab.pull(disk)


@claim
def a_clock_that_jumps_a_year_either_way_means_nothing_to_a_job_at_work():
    with vm.restore() as machine:
        lab = Lab(machine, recording.make_plaso)
        lab.install()
        machine.run("for log in log0 log1; do echo 20 >/opt/standin/$log/delay; done")
        lab.start()
        disk = lab.plug(0, FIRST, "/dev/sdf", make=recording.make_disk)
        for number, jump in enumerate(("+1 year", "-2 years"), 1):
            machine.run(MOMENTS["reading"], 120)
            machine.run(f"date --set='{jump}'")
            machine.run(f"test ! -e {JOB}/slices/0{number}-part")
            machine.run(f"until test -e {JOB}/slices/0{number}-part; do :; done", 120)
        jobs = lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "done", 180)
        assert jobs[FIRST_ID]["job"]["starts"] == 1, jobs
        assert_same_timeline(lab, broken_off=False)
        assert machine.run("systemctl show dfagent -P NRestarts").strip() == "0"
        lab.pull(disk)
