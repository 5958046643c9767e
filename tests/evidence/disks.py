#!/usr/bin/env python3
"""Make the disks of the demo, or one disk of a given size.

usage: disks.py demo OUTDIR
       disks.py sized OUT.img N [--fs ext4|xfs] [--seed S]

demo makes
  root.img      GPT, a BIOS boot partition and an ext4 root; about 50,000 events
                and a planted intrusion
  data.img      XFS without a partition table, about 3,000 events: the root of a
                database container, a volume that its host had mounted below
                /var/lib/machines, so its logs lie in the usual places
  planted.json  what was planted and the text it must show in the timeline

sized makes one bare filesystem with about N events. XFS needs root (a mount).
"""

import argparse
import json
import os
import shutil

import image
import logs
from intrusion import Story

MIB = 1 << 20
SEED = 7
ROOT_LINES, DATA_LINES = 47_500, 3_200
ROOT_SIZE, ROOT_START = 320 * MIB, 2 * MIB
DATA_SIZE = 300 * MIB  # the least mkfs.xfs takes
ROOT_TABLE = """label: gpt
label-id: 5D1B5F0A-7C52-4B8D-9B0E-2A6F3C1D0E01
start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name="bios"
start=2MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="root"
"""


def make_demo(outdir):
    """Both disks and the list of what was planted."""
    os.makedirs(outdir, exist_ok=True)
    story = Story()
    make_root(os.path.join(outdir, "root.img"), story)
    make_data(os.path.join(outdir, "data.img"), story)
    with open(os.path.join(outdir, "planted.json"), "w") as file:
        json.dump(story.planted, file, indent=1)
        file.write("\n")


def make_root(path, story):
    """The disk of the web host."""
    image.blank(path, ROOT_SIZE)
    image.table(path, ROOT_TABLE)
    with image.scratch() as root:
        host = logs.web_host(root, ROOT_LINES, SEED)
        story.plant_web_host(host, "root.img")
        host.finish()
        make_ext4(path, root, ROOT_SIZE - ROOT_START - MIB, ROOT_START)


def make_data(path, story):
    """The volume of the database container."""
    with image.scratch() as root:
        host = logs.database_host(root, DATA_LINES, SEED)
        story.plant_database_host(host, "data.img")
        host.finish()
        make_xfs(path, root, DATA_SIZE)


def make_sized(path, count, fs, seed):
    """One bare filesystem with about count events."""
    size = max(DATA_SIZE, (128 + count // 1000) * MIB)
    with image.scratch() as root:
        logs.web_host(root, count, seed).finish()
        if fs == "xfs":
            make_xfs(path, root, size)
        else:
            image.blank(path, size)
            make_ext4(path, root, size)


def make_ext4(path, root, size, start=0):
    """An ext4 filesystem holding a folder, at an offset of an image; needs no mount."""
    blocks = size // 4096
    image.run("mkfs.ext4", "-q", "-F", "-b", "4096", "-d", root, "-E", f"offset={start}", path, blocks)


def make_xfs(path, root, size):
    """An XFS filesystem holding a folder."""
    image.blank(path, size)
    image.run("mkfs.xfs", "-q", "-f", path)
    with image.mounted(path, "xfs") as folder:
        image.run("cp", "-a", f"{root}/.", folder)
        shutil.copystat(root, folder)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo")
    demo.add_argument("outdir")
    sized = commands.add_parser("sized")
    sized.add_argument("image")
    sized.add_argument("count", type=int, metavar="N")
    sized.add_argument("--fs", choices=("ext4", "xfs"), default="ext4")
    sized.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    if options.command == "demo":
        image.private_mounts()
        make_demo(options.outdir)
        return
    if options.fs == "xfs":
        image.private_mounts()
    make_sized(options.image, options.count, options.fs, options.seed)


if __name__ == "__main__":
    main()
