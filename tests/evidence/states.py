#!/usr/bin/env python3
"""Small disks in every state that evidence comes in. Needs root for most.

usage: states.py OUTDIR [NAME...]     make NAME.img (without names: all)
       states.py --list               the names

Every filesystem holds /etc/hostname, /root/.bash_history and 30 lines in
/var/log/auth.log, synced. What else depends on the state:

  clean    unmounted in order
  dirty    /var/log/syslog (10 lines) fsynced last, then the filesystem stopped:
           the log needs replay. Without it ext shows all files, btrfs lacks
           syslog, XFS shows no file at all
  snap     like dirty, /var/log/cron.log deleted last, and copied while mounted:
           what a snapshot of a running host looks like. Without replay syslog
           is missing and cron.log is still there (ext2 has no log: all is right)
  orphan   unlinked but open files when it stopped
  error    the superblock says that the filesystem had errors
"""

import argparse
import fcntl
import os
import struct
import sys

import image
import otherdisks
import smalltree
from image import run

MIB = 1 << 20
FS_IOC_SHUTDOWN, EXT4_IOC_CHECKPOINT = 0x8004587D, 0x4004662B
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
FLUSH_LOG = 1  # FS_IOC_SHUTDOWN: write the log, then stop
HAD_ERRORS, ERRORS_AND_DIRTY = 2, 3

MKFS = {
    "ext2": ("mkfs.ext2", "-q", "-F"),
    "ext3": ("mkfs.ext3", "-q", "-F"),
    "ext4": ("mkfs.ext4", "-q", "-F", "-O", "^orphan_file"),
    "ext4+file": ("mkfs.ext4", "-q", "-F", "-O", "orphan_file"),
    # Given at birth: tune2fs changes it only where no second passed since the last check.
    "ext4-same-uuid": ("mkfs.ext4", "-q", "-F", "-O", "^orphan_file", "-U", "0e7a4c1e-5d0b-4b7e-9a55-3f6f0d9a1c01"),
    "ext4-journal": ("mkfs.ext4", "-q", "-F", "-O", "^has_journal"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
SIZES = {"ext2": 64 * MIB, "ext3": 64 * MIB, "ext4": 64 * MIB, "xfs": 300 * MIB, "btrfs": 128 * MIB}

# name: (filesystem, way to make it, state)
MOUNTED = {
    "ext2-clean": ("ext2", "ext2", "clean"),
    "ext2-unclean": ("ext2", "ext2", "dirty"),
    "ext2-error": ("ext2", "ext2", "error"),
    "ext2-snap": ("ext2", "ext2", "snap"),
    "ext3-clean": ("ext3", "ext3", "clean"),
    "ext3-dirty": ("ext3", "ext3", "dirty"),
    "ext3-orphan": ("ext3", "ext3", "orphan"),
    "ext3-error": ("ext3", "ext3", "error"),
    "ext3-snap": ("ext3", "ext3", "snap"),
    "ext4-clean": ("ext4", "ext4", "clean"),
    "ext4-dirty": ("ext4", "ext4", "dirty"),
    "ext4-orphan": ("ext4", "ext4", "orphan"),
    "ext4-orphan-file": ("ext4", "ext4+file", "orphan"),
    "ext4-dirty-orphan": ("ext4", "ext4", "dirty-orphan"),
    "ext4-error": ("ext4", "ext4", "error"),
    "ext4-dirty-error": ("ext4", "ext4", "dirty-error"),
    "ext4-snap": ("ext4", "ext4", "snap"),
    "ext4-nojournal-unclean": ("ext4", "ext4-journal", "dirty"),
    "xfs-clean": ("xfs", "xfs", "clean"),
    "xfs-dirty": ("xfs", "xfs", "dirty"),
    "xfs-orphan": ("xfs", "xfs", "dirty-orphan"),
    "xfs-snap": ("xfs", "xfs", "snap"),
    "btrfs-clean": ("btrfs", "btrfs", "clean"),
    "btrfs-dirty": ("btrfs", "btrfs", "dirty"),
    "btrfs-orphan": ("btrfs", "btrfs", "dirty-orphan"),
    "btrfs-snap": ("btrfs", "btrfs", "snap"),
}


def make_state(path, fs, way, state):
    """A filesystem of that kind in that state."""
    image.blank(path, SIZES[fs])
    run(*MKFS[way], path)
    use(path, fs, state)
    if state.endswith("error"):
        flag = ERRORS_AND_DIRTY if state == "dirty-error" else HAD_ERRORS
        run("debugfs", "-w", "-R", f"set_super_value state {flag}", path)


def use(path, fs, state):
    """Mount it, work in it as the state asks, and stop."""
    copied = path + ".copy"
    # A long commit time keeps btrfs from writing its trees before the copy.
    options = "commit=300" if fs == "btrfs" else ""
    with image.mounted(path, fs, options) as root:
        smalltree.write_base(root)
        settle(root, fs)
        if state == "snap" and fs == "xfs":
            freeze(root)
        held = open_orphans(root, fs) if "orphan" in state else []
        if "dirty" in state or state == "snap":
            smalltree.write_late(root)
        if state == "snap":
            smalltree.delete_last(root)
        if copies(fs, state):
            copy_live(path, copied)
        elif state not in ("clean", "error"):
            control(root, FS_IOC_SHUTDOWN, FLUSH_LOG)
        for file in held:
            file.close()
    if os.path.exists(copied):
        os.replace(copied, path)


def copies(fs, state):
    """btrfs knows no shutdown; a copy of the live image is its dirty state."""
    return state == "snap" or (fs == "btrfs" and "dirty" in state)


def settle(root, fs):
    """Have what was written reach its final place, not only the log."""
    os.sync()
    if fs == "ext4":
        checkpoint(root)


def checkpoint(root):
    """Empty the journal of ext4 into the filesystem."""
    try:
        control(root, EXT4_IOC_CHECKPOINT, 0)
    except OSError:  # there is no journal
        pass


def freeze(root):
    """Stop and resume the filesystem, which empties the log of XFS."""
    control(root, FIFREEZE, 0)
    control(root, FITHAW, 0)


def open_orphans(root, fs):
    """Files that are open, unlinked and known as such on disk."""
    names = [os.path.join(root, f"orphan{i}") for i in range(20)]
    for name in names:
        with open(name, "wb") as file:
            file.write(b"x" * 50_000)
    os.sync()
    held = [open(name, "rb") for name in names]
    for name in names:
        os.unlink(name)
    settle(root, fs)
    return held


def copy_live(path, copied):
    """Copy the backing file while the filesystem is in use."""
    image.blank(copied, os.path.getsize(path))
    image.copy_sparse(path, copied)


def control(root, number, value):
    """One ioctl with one integer on a folder."""
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, number, struct.pack("I", value))
    finally:
        os.close(handle)


def makers():
    """Every name and the function that makes it at a path."""

    def state(row):
        return lambda path: make_state(path, *row)

    return {**{name: state(row) for name, row in MOUNTED.items()}, **otherdisks.makers(make_state)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("outdir", nargs="?")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names")
    options = parser.parse_args()
    known = makers()
    if options.list:
        print("\n".join(known))
        return
    if not options.outdir:
        parser.error("OUTDIR is missing")
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; see --list")
    make_all(options.outdir, options.names or known, known)


def make_all(outdir, names, known):
    """Make the images, printing each name when it is there."""
    os.makedirs(outdir, exist_ok=True)
    image.private_mounts()
    for name in names:
        known[name](os.path.join(outdir, f"{name}.img"))
        print(name, flush=True)


if __name__ == "__main__":
    sys.exit(main())
