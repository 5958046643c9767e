"""Disks with what a machine likes to assemble, activate or use by itself."""

import os
import subprocess
import sys

import vm

sys.path.append(os.path.join(vm.TOP, "tests", "evidence"))

import image  # noqa: E402
import otherdisks  # noqa: E402

QUIET = "devices { use_devicesfile=0 } activation { udev_sync=0 udev_rules=0 monitoring=0 } backup { backup=0 archive=0 }"


def make_lvm(path):
    """A volume group with a logical volume."""
    otherdisks.make_lvm(path)
    with image.loop(path) as device:
        words = ["lvcreate", "-q", "--devices", device, "--config", QUIET, "--driverloaded", "n"]
        words += ["-an", "-Zn", "-Wn", "-L", "8M", "-n", "data", "evidence-vg"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_twin(path):
    """A copy of the root: the same UUIDs, labels and partitions."""
    subprocess.run(["cp", "--sparse=always", vm.ROOT, path], check=True)


def make_typed(path):
    """A partition with the type that says: mount me at /srv."""
    otherdisks.blank(path, 64 << 20)
    kind = "3b8f8425-20e0-4f3b-907f-1a25a76f98e8"
    subprocess.run(["sgdisk", "--new", "1:2048:0", "--typecode", f"1:{kind}", path], check=True, stdout=subprocess.DEVNULL)


SIGNATURES = {"lvm": make_lvm, "md": otherdisks.make_md, "swap": otherdisks.make_swap, "typed": make_typed}
