#!/usr/bin/env python3
"""Claims about the agent on a real machine: volumes that are plugged in and pulled, a real udevd, a real systemd.

    claims.py prepare           builds the machine, if it is not there yet
    claims.py CLAIM PROGRAM     tests one of the claims below with this dfagent; ends with a traceback if it is not true

Plaso is a stand-in that reads its evidence until it is told to finish: the machine is too slow for Plaso itself.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import ebs
import vm

FIRST, SECOND, STORE = "vol0123456789abcdef0", "vol0fedcba9876543210", "AWS0123456789ABCDEF0"
FIRST_ID, SECOND_ID = "vol-0123456789abcdef0", "vol-0fedcba9876543210"
UUID = "5d2a3f0e-9a41-4c7e-8b1c-6f2f0a7d1e55"

# src/telemetry/events.rs
READY = "7c575bf04bd4498f8efecae9dc25e3eb"
STOPPING = "4842315b92b245aba249112109195335"
INTERRUPTED = "ad02c416a3324bc2882128c1e7618ce8"

PLASO = """#!/bin/sh
if [ "$1" = -I ]; then
    echo '{"plaso":20260720,"python":"3.11.2","libfsxfs":null}'
else
    exec /usr/bin/python3 -B /plaso/standin.py "$@"
fi
"""


def make_disk(path):
    """An ext4 disk with a few logs; every one has the same identity, like volumes made from one snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        logs = os.path.join(folder, "var", "log")
        os.makedirs(logs)
        for name in ("syslog", "auth.log", "kern.log"):
            with open(os.path.join(logs, name), "w", encoding="utf-8") as file:
                file.writelines(f"Nov 20 10:00:{n % 60:02} web-01 app[1]: {name} line {n}\n" for n in range(2000))
        with open(path, "wb") as file:
            file.truncate(32 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-U", UUID, "-L", "root", "-d", folder, path], check=True)


def make_payload(path, program):
    """A disk with the program under test and what it needs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["strip", "--strip-debug", "-o", os.path.join(folder, "dfagent"), program], check=True)
        for name in ("dfagent.toml", "dfagent.service", "left.py"):
            shutil.copy(os.path.join(vm.HERE, "guest", name), folder)
        os.makedirs(os.path.join(folder, "plaso", "bin"))
        shutil.copy(os.path.join(vm.HERE, "guest", "standin.py"), os.path.join(folder, "plaso"))
        for name, text in (("python", PLASO), ("log2timeline", "")):
            with open(os.path.join(folder, "plaso", "bin", name), "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(file.name, 0o755)
        with open(path, "wb") as file:
            file.truncate(256 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-d", folder, path], check=True)


class Lab:
    """A machine with the program under test, and the disks that it is given."""

    def __init__(self, machine, program):
        self.machine = machine
        self.payload = os.path.join(machine.folder, "payload")
        make_payload(self.payload, program)
        self.disks = {}

    def install(self):
        """Plugs in the program and makes it a service."""
        self.machine.plug_plain(self.payload, 7, "payload")
        self.machine.wait("test -b /dev/disk/by-id/virtio-payload", 120)
        self.machine.run(
            "mount -o ro /dev/disk/by-id/virtio-payload /payload && cp -r /payload/plaso /opt/"
            " && cp /payload/dfagent.service /run/systemd/system/ && systemctl daemon-reload"
        )

    def start(self):
        """Starts the agent; the service manager waits until it is ready."""
        self.machine.run("systemctl start dfagent", 240)

    def plug(self, slot, serial, attachment, model=ebs.EBS):
        """Plugs in a fresh disk, or the one with this serial number again."""
        path = os.path.join(self.machine.folder, serial)
        if not os.path.exists(path):
            make_disk(path)
        before = vm.sha256(path)
        disk = self.machine.plug(path, slot, serial, attachment, model)
        self.disks[disk] = (path, before)
        return disk

    def pull(self, disk):
        """Pulls a disk, which nobody may have written to."""
        self.unchanged(disk)
        self.machine.pull(disk)
        path, before = self.disks.pop(disk)
        assert vm.sha256(path) == before, f"{path} was changed"

    def unchanged(self, disk):
        """Nothing was written to a disk."""
        path, before = self.disks[disk]
        assert self.machine.writes(disk) == 0, f"{path} was written to: {self.machine.counters(disk)}"
        assert vm.sha256(path) == before, f"{path} was changed"

    def status(self):
        """What `dfagent status --json` says."""
        done = self.machine.try_run("/payload/dfagent --config /payload/dfagent.toml status --json")
        assert done["out"], f"the agent gave no status: {done}"
        return json.loads(done["out"])

    def jobs(self):
        """Jobs by id."""
        return {job["job"]["id"]: job for job in self.status()["jobs"]}

    def wait_for(self, condition, limit=90):
        """Waits until something is true of the jobs by id; returns them."""
        end = time.monotonic() + limit
        while True:
            jobs = self.jobs()
            if condition(jobs):
                return jobs
            if time.monotonic() > end:
                raise TimeoutError(f"this stayed as it is for {limit} s: {json.dumps(jobs, indent=1)}")

    def wait_until_read(self, *ids):
        """Waits until Plaso reads these volumes."""
        return self.wait_for(lambda jobs: all(is_read(jobs.get(id)) for id in ids))

    def left(self):
        """What jobs have on the machine: cages, mounts, loops."""
        return json.loads(self.machine.run("python3 /payload/left.py"))

    def wait_until_nothing_is_left(self, limit=10):
        """Waits until no job has anything on the machine."""
        end = time.monotonic() + limit
        while any((left := self.left()).values()):
            assert time.monotonic() < end, f"left {limit} s later: {json.dumps(left, indent=1)}"

    def journal(self, *matches):
        """The agent's entries in the journal."""
        lines = self.machine.run(f"journalctl -t dfagent -o json {' '.join(matches)}")
        return [json.loads(line) for line in lines.splitlines()]


def is_read(job):
    """Whether Plaso is at work for a job, and has come further than its first lines."""
    progress = job and job["progress"]
    return bool(progress and progress["at_work"] and progress["at_work"][0]["events"] > 1)


def state(jobs, volume):
    """A job's state; none if there is no such job."""
    return jobs[volume]["job"]["state"]["name"] if volume in jobs else None


def reason(status, node):
    """Why a device is ignored; empty if it is not."""
    return next((one["reason"] for one in status["ignored"] if one["node"] == node), "")


def node_of(lab, serial):
    """The node of a disk in the guest."""
    return lab.machine.wait(f"lsblk -dnpo NAME,SERIAL | awk '$2 == \"{serial}\" {{ print $1; n = 1 }} END {{ exit !n }}'").strip()


def plugged_volumes_are_taken_and_nothing_else_is_touched(program):
    with vm.restore() as machine:
        lab = Lab(machine, program)
        lab.install()
        store = lab.plug(0, STORE, None, ebs.INSTANCE_STORE)
        store_node = node_of(lab, STORE)
        machine.run("udevadm settle")
        store_reads = machine.counters(store)["rd_operations"]
        lab.start()
        first = lab.plug(1, FIRST, "/dev/sdf")
        second = lab.plug(2, SECOND, "sdg")
        jobs = lab.wait_until_read(FIRST_ID, SECOND_ID)
        assert set(jobs) == {FIRST_ID, SECOND_ID}, jobs.keys()
        for volume, point in ((FIRST_ID, "/dev/sdf"), (SECOND_ID, "/dev/sdg")):
            assert jobs[volume]["job"]["volume"]["point"] == point, jobs[volume]
        status = lab.status()
        assert "instance store" in reason(status, store_node), status["ignored"]
        assert reason(status, "/dev/vda"), status["ignored"]
        assert "mounted at /payload" in reason(status, "/dev/vdb"), status["ignored"]
        assert machine.counters(store)["rd_operations"] == store_reads, "the agent read the instance store"
        for disk in (first, second):
            assert machine.counters(disk)["rd_bytes"] > 0
        machine.run("systemctl stop dfagent", 120)
        lab.wait_until_nothing_is_left()
        for disk in (store, first, second):
            lab.pull(disk)


def a_volume_pulled_while_it_is_read_is_interrupted_and_goes_on_when_it_is_back(program):
    with vm.restore() as machine:
        lab = Lab(machine, program)
        lab.install()
        lab.start()
        disk = lab.plug(0, FIRST, "/dev/sdf")
        lab.wait_until_read(FIRST_ID)
        left = lab.left()
        assert all(left.values()), f"a job at work has cages, mounts and loops: {left}"
        events = "/run/events"
        machine.run(f"systemd-run --quiet --unit=events -p StandardOutput=file:{events} udevadm monitor --kernel --subsystem-match=block")
        machine.wait(f"grep -q KERNEL {events}")
        lab.pull(disk)
        jobs = lab.wait_for(lambda jobs: state(jobs, FIRST_ID) != "running")
        assert state(jobs, FIRST_ID) == "interrupted", jobs
        assert not jobs[FIRST_ID]["attached"]
        lab.wait_until_nothing_is_left()
        removed = float(re.search(r"KERNEL\[([0-9.]+)\] remove +\S+/nvme0n1 ", machine.run(f"cat {events}"))[1])
        said = lab.journal(f"MESSAGE_ID={INTERRUPTED}", f"DFAGENT_JOB={FIRST_ID}")
        assert len(said) == 1, said
        took = int(said[0]["__MONOTONIC_TIMESTAMP"]) / 1e6 - removed
        print(f"interrupted {took:.2f} s after the remove event")
        assert took < 5, f"interrupted only {took} s after the remove event"

        again = lab.plug(1, FIRST, "/dev/sdf")
        jobs = lab.wait_until_read(FIRST_ID)
        assert state(jobs, FIRST_ID) == "running" and jobs[FIRST_ID]["job"]["starts"] == 2, jobs
        lab.pull(again)
        lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "interrupted")
        read = machine.run(f"find /var/lib/dfagent/jobs/{FIRST_ID} -name slice.json -o -name manifest.json")
        assert read == "", f"something counts as read: {read}"


def a_volume_pulled_at_any_moment_before_that_is_interrupted_too(program):
    with vm.restore() as machine:
        lab = Lab(machine, program)
        lab.install()
        lab.start()
        seen = set()
        for step in range(8):
            disk = lab.plug(step % 2, FIRST, "/dev/sdf")
            lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "running")
            end = time.monotonic() + step * 0.4
            while time.monotonic() < end:
                time.sleep(0.05)
            seen.add(stage(lab))
            lab.pull(disk)
            jobs = lab.wait_for(lambda jobs: state(jobs, FIRST_ID) != "running" and not jobs[FIRST_ID]["attached"])
            assert state(jobs, FIRST_ID) == "interrupted", jobs
            lab.wait_until_nothing_is_left()
        print(f"pulled during: {sorted(seen)}")
        lab.plug(2, FIRST, "/dev/sdf")
        lab.wait_until_read(FIRST_ID)


def stage(lab):
    """What is done for the job at this moment."""
    progress = lab.jobs()[FIRST_ID]["progress"]
    return progress["stage"] if progress else ""


def a_volume_that_was_there_first_is_taken_and_the_service_manager_is_told(program):
    with vm.Machine(root="nvme", paused=True) as machine:
        lab = Lab(machine, program)
        ebs.rewrite(machine.process.pid, "vol0aaaaaaaaaaaaaaaa", "/dev/xvda")
        machine.qmp("cont")
        machine.connect()
        disk = lab.plug(0, FIRST, "sdf")
        lab.install()
        machine.run("udevadm settle")
        lab.start()
        lab.wait_until_read(FIRST_ID)
        status = lab.status()
        root = machine.run("findmnt -no SOURCE / | sed s,/dev/root,/dev/nvme0n1,").strip()
        assert "mounted at /" in reason(status, root), status["ignored"]
        shown = machine.run("systemctl status dfagent")
        assert re.search(r'Status: "running: 1 at work, 0 waiting, 0 done', shown), shown
        ready = lab.journal(f"MESSAGE_ID={READY}")
        assert len(ready) == 1 and ready[0]["_SYSTEMD_UNIT"] == "dfagent.service", ready

        machine.run("touch /opt/plaso/finish")
        lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "done")
        lab.wait_until_nothing_is_left()
        lab.unchanged(disk)
        fed = "systemctl show dfagent -P WatchdogTimestampMonotonic"
        before = machine.run(fed).strip()
        machine.wait(f"test $({fed}) -gt {before}", 120)
        machine.run("systemctl stop dfagent", 120)
        ended = machine.run("systemctl show dfagent -P Result -P NRestarts -P ExecMainStatus").split()
        assert ended == ["success", "0", "0"], ended
        assert len(lab.journal(f"MESSAGE_ID={STOPPING}")) == 1
        lab.pull(disk)


CLAIMS = {
    claim.__name__: claim
    for claim in (
        plugged_volumes_are_taken_and_nothing_else_is_touched,
        a_volume_pulled_while_it_is_read_is_interrupted_and_goes_on_when_it_is_back,
        a_volume_pulled_at_any_moment_before_that_is_interrupted_too,
        a_volume_that_was_there_first_is_taken_and_the_service_manager_is_told,
    )
}


def main():
    if sys.argv[1:] == ["prepare"]:
        vm.prepare()
    elif len(sys.argv) == 3 and sys.argv[1] in CLAIMS:
        CLAIMS[sys.argv[1]](sys.argv[2])
    else:
        sys.exit(f"{__doc__}\nThe claims: {', '.join(CLAIMS)}")


if __name__ == "__main__":
    main()
