"""In the guest: what jobs have on this machine now, in any namespace: cages, mounts and loop devices, as JSON."""

import glob
import json
import os
import pwd

try:
    CAGE_USER = pwd.getpwnam("dfagent-cage").pw_uid
except KeyError:  # The package was purged.
    CAGE_USER = None


def read(path):
    """Text of a file of /proc or /sys; empty if it is gone by now."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def main():
    cages, mounts = set(), set()
    # The root is mounted in many places for units that may not write to it.
    root = os.stat("/").st_dev
    root = f" {os.major(root)}:{os.minor(root)} "
    for process in glob.glob("/proc/[0-9]*"):
        words = read(f"{process}/cmdline").replace("\0", " ").strip()
        status = read(f"{process}/status")
        user = status.partition("Uid:\t")[2].partition("\t")[0]
        if "bwrap" in words or "inside launch" in words or user == str(CAGE_USER):
            cages.add(f"{os.path.basename(process)}: {words or status.split()[1]}")
        for line in read(f"{process}/mountinfo").splitlines():
            if "/dev/loop" in line or "/dev/nvme" in line.partition(" - ")[2] and root not in line:
                mounts.add(line)
    loops = [f"{name}: {read(name).strip()}" for name in glob.glob("/sys/block/loop*/loop/backing_file")]
    print(json.dumps({"cages": sorted(cages), "mounts": sorted(mounts), "loops": loops}))


main()
