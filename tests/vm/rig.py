"""What claims about the machine have in common: disks, the installed agent with a stand-in for Plaso, its status.

A claim is a function of a file in claims/, with `@claim` above it; it ends with an exception if it is not true. Plaso is
a stand-in that reads its evidence until it is told to finish: the machine is too slow for Plaso itself.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time

import ebs
import vm

FIRST, SECOND, STORE = "vol0123456789abcdef0", "vol0fedcba9876543210", "AWS0123456789ABCDEF0"
FIRST_ID, SECOND_ID = "vol-0123456789abcdef0", "vol-0fedcba9876543210"
UUID = "5d2a3f0e-9a41-4c7e-8b1c-6f2f0a7d1e55"

# By name.
CLAIMS = {}

PLASO = """#!/bin/sh
if [ "$1" = -I ]; then
    echo '{"plaso":20260720,"python":"3.11.2","libfsxfs":null}'
else
    exec /usr/bin/python3 -B /plaso/standin.py "$@"
fi
"""


def claim(function):
    """Registers a claim."""
    CLAIMS[function.__name__] = function
    return function


def make_logs(path, logs, size=8 << 20):
    """An ext4 disk with these logs; every one has the same identity, like volumes made from one snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.join(folder, "var", "log")
        os.makedirs(place)
        for name, lines in logs.items():
            with open(os.path.join(place, name), "w", encoding="utf-8") as file:
                file.writelines(lines)
        with open(path, "wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-U", UUID, "-L", "root", "-d", folder, path], check=True)


def make_disk(path):
    """A disk with a few logs."""
    names = ("syslog", "auth.log", "kern.log")
    make_logs(path, {name: [f"Nov 20 10:00:{n % 60:02} web-01 app[1]: {name} line {n}\n" for n in range(2000)] for name in names}, 32 << 20)


def make_standin(folder):
    """A stand-in that reads until it is told to finish, and a configuration for it."""
    shutil.copy(os.path.join(vm.HERE, "guest", "test.toml"), folder)
    os.makedirs(os.path.join(folder, "plaso", "bin"))
    for name in ("standin.py", "slices.py"):
        shutil.copy(os.path.join(vm.HERE, "guest", name), os.path.join(folder, "plaso"))
    for name, text in (("python", PLASO), ("log2timeline", "")):
        with open(os.path.join(folder, "plaso", "bin", name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(file.name, 0o755)


def make_payload(path, make_plaso=make_standin):
    """A disk with what stands for Plaso and what the tests look with."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(os.path.join(vm.HERE, "guest", "left.py"), folder)
        make_plaso(folder)
        with open(path, "wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-d", folder, path], check=True)


class Lab:
    """A machine with the program under test, and the disks that it is given."""

    def __init__(self, machine, make_plaso=make_standin):
        self.machine = machine
        self.payload = os.path.join(machine.folder, "payload")
        make_payload(self.payload, make_plaso)
        self.disks = {}

    def install(self):
        """Plugs in the program and makes it a service."""
        self.machine.plug_plain(self.payload, 7, "payload")
        self.machine.wait("test -b /dev/disk/by-id/virtio-payload", 120)
        self.machine.run(
            "mkdir -p /payload /opt/standin && mount -o ro /dev/disk/by-id/virtio-payload /payload"
            " && cp -r /payload/plaso/. /opt/standin/ && mkdir -p /etc/dfagent/conf.d"
            " && cp /payload/test.toml /etc/dfagent/conf.d/"
        )

    def use_slices(self):
        """From now on Plaso is the stand-in whose slices come to their end (guest/slices.py), when finish() says so."""
        self.machine.run("sed -i s/standin.py/slices.py/ /opt/standin/bin/python")

    def finish(self, slice=None):
        """Lets the stand-in come to its end: in all slices, or in those of this name."""
        self.machine.run(f"touch /opt/standin/finish{f'-{slice}' if slice else ''}")

    def start(self):
        """Starts the agent; the service manager waits until it is ready."""
        self.machine.run("systemctl restart dfagent", 240)

    def plug(self, slot, serial, attachment, model=ebs.EBS, make=make_disk):
        """Plugs in a fresh disk, or the one with this serial number again."""
        path = os.path.join(self.machine.folder, serial)
        if not os.path.exists(path):
            make(path)
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

    def all_unchanged(self):
        """Nothing was written to any disk."""
        for disk in self.disks:
            self.unchanged(disk)

    def unchanged(self, disk):
        """Nothing was written to a disk."""
        path, before = self.disks[disk]
        assert self.machine.writes(disk) == 0, f"{path} was written to: {self.machine.counters(disk)}"
        assert vm.sha256(path) == before, f"{path} was changed"

    def status(self):
        """What `dfagent status --json` says."""
        done = self.machine.try_run("dfagent status --json")
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
        """Entries of the agent that was started last in the journal."""
        matches = (*matches, "_SYSTEMD_INVOCATION_ID=$(systemctl show dfagent -P InvocationID)")
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
