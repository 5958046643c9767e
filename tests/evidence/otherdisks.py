"""Disks beside the mounted filesystems of states.py: read-only filesystems,
damaged and truncated ones, partition tables, and things that are no evidence
by themselves (encrypted, LVM, RAID members, swap)."""

import contextlib
import os
import random
import struct

import image
import smalltree
from fat import Fat16
from image import SECTOR, blank, copy_sparse, patch, peek, run

MIB = 1 << 20
UUID_XFS = "0e7a4c1e-5d0b-4b7e-9a55-3f6f0d9a1c02"
EXT4_SUPERBLOCK, EXT4_CHECKSUM = 1024, 1024 + 0x3FC
FAT16_DIRTY, SECOND_FAT_ENTRY_CLEAN = 0x25, 0x80
PASSWORD = b"evidence"


def makers(make_state):
    """Every name and the function that makes it at a path."""

    def ext4(path):
        make_state(path, "ext4", "ext4", "clean")

    def same_ext4(path):
        make_state(path, "ext4", "ext4-same-uuid", "clean")

    def xfs(path):
        make_state(path, "xfs", "xfs", "clean")

    def ext3(path):
        make_state(path, "ext3", "ext3", "clean")

    return {
        "squashfs-clean": make_squashfs,
        "erofs-clean": make_erofs,
        "vfat-clean": make_vfat,
        "vfat-dirty": make_vfat_dirty,
        "iso9660-clean": make_iso,
        "errors-panic": lambda path: make_errors_panic(path, ext4),
        "luks": lambda path: make_luks(path, "luks2"),
        "luks1": lambda path: make_luks(path, "luks1"),
        "lvm": make_lvm,
        "md": make_md,
        "ntfs": make_ntfs,
        "swap": make_swap,
        "empty": lambda path: blank(path, 16 * MIB),
        "random": make_random,
        "truncated-ext4": lambda path: truncate(path, ext4, 24 * MIB),
        "truncated-xfs": lambda path: truncate(path, xfs, 100 * MIB),
        "damaged-ext4": lambda path: make_damaged(path, ext4),
        "zeroed-superblock": lambda path: make_zeroed(path, ext4),
        "gpt-two": lambda path: make_gpt_two(path, ext4, xfs),
        "gpt-damaged": lambda path: make_gpt_damaged(path, ext4, xfs),
        "mbr-two": lambda path: make_mbr_two(path, ext4, ext3),
        "mbr-vfat": make_mbr_vfat,
        "same-uuid-a": same_ext4,
        "same-uuid-b": same_ext4,
        "same-uuid-xfs-a": lambda path: make_same_xfs(path, xfs),
        "same-uuid-xfs-b": lambda path: make_same_xfs(path, xfs),
    }


# Filesystems that are made whole, without a mount.


def make_squashfs(path):
    with small_tree() as root:
        blank(path, 0)
        run("mksquashfs", root, path, "-noappend", "-quiet", "-no-progress")


def make_erofs(path):
    with small_tree() as root:
        blank(path, 0)
        run("mkfs.erofs", "--quiet", path, root)


def make_iso(path):
    with small_tree() as root:
        run("genisoimage", "-quiet", "-R", "-J", "-V", "EVIDENCE", "-o", path, root)


def make_vfat(path):
    blank(path, 16 * MIB)
    run("mkfs.vfat", "-F", "16", "-n", "EVIDENCE", path)
    with small_tree() as root:
        Fat16(path).add_tree(root)


@contextlib.contextmanager
def small_tree():
    """The tiny evidence tree in a temporary folder."""
    with image.scratch() as root:
        smalltree.write_base(root)
        yield root


def make_vfat_dirty(path):
    """A vfat volume that was never unmounted: the flag Linux sets, and the one DOS sets."""
    make_vfat(path)
    patch(path, FAT16_DIRTY, b"\x01")
    reserved, fats, fat_sectors = struct.unpack("<HB5xH", peek(path, 14, 10))
    for number in range(fats):
        high = (reserved + number * fat_sectors) * SECTOR + 3
        patch(path, high, bytes([peek(path, high, 1)[0] & ~SECOND_FAT_ENTRY_CLEAN]))


# Damage.


def make_errors_panic(path, ext4):
    """Asks the kernel to panic on errors, and has one in the inode of cron.log.

    Mounted without errors=continue, reading that file stops the machine.
    """
    ext4(path)
    place = run("debugfs", "-R", "imap /var/log/cron.log", path)
    block, offset = place.split("located at block ")[1].split(", offset ")
    size = int(run("debugfs", "-R", "show_super_stats -h", path).split("Block size:")[1].split()[0])
    at = int(block) * size + int(offset, 16)
    patch(path, at + 40, b"\xa5" * 60)  # the map of its blocks
    run("tune2fs", "-e", "panic", path)


def make_damaged(path, ext4):
    """A superblock whose checksum is wrong."""
    ext4(path)
    patch(path, EXT4_CHECKSUM, bytes(255 - b for b in peek(path, EXT4_CHECKSUM, 4)))


def make_zeroed(path, ext4):
    """No superblock; its copies further on are whole."""
    ext4(path)
    patch(path, EXT4_SUPERBLOCK, bytes(1024))


def truncate(path, make, size):
    """A filesystem whose end is missing."""
    make(path)
    os.truncate(path, size)


def make_random(path):
    with open(path, "wb") as file:
        file.write(random.Random(11).randbytes(4 * MIB))


# Containers of other things.


def make_luks(path, version):
    blank(path, 32 * MIB)
    costs = ("--pbkdf", "pbkdf2") if version == "luks2" else ()
    run(
        "cryptsetup",
        "luksFormat",
        "-q",
        "--type",
        version,
        *costs,
        "--pbkdf-force-iterations",
        "1000",
        path,
        "-",
        stdin=PASSWORD,
    )


def make_lvm(path):
    """A physical volume of the volume group evidence-vg."""
    blank(path, 64 * MIB)
    quiet = (
        "--config",
        " ".join(
            (
                "devices { use_devicesfile=0 }",
                "activation { udev_sync=0 udev_rules=0 monitoring=0 }",
                "backup { backup=0 archive=0 }",
            )
        ),
    )
    with image.loop(path) as device:
        run("pvcreate", *quiet, device)
        run("vgcreate", *quiet, "evidence-vg", device)


def make_md(path):
    """A member of a RAID 1 with version 1.2 metadata, written by hand: the driver may be missing."""
    size, data_at = 32 * MIB, 2048
    blank(path, size)
    sectors = size // SECTOR - data_at
    array = bytes.fromhex("5f0c2b1a6d7e4c0f8a9b3d2e1f405162")
    head = struct.pack("<IIII16s32sQII", 0xA92B4EFC, 1, 0, 0, array, b"evidence:0", 1_793_000_000, 1, 0)
    layout = struct.pack("<QIII", sectors, 0, 2, 8)  # size, chunk, members, bitmap offset
    member = struct.pack("<QQQQII16sBB6x", data_at, sectors, 8, 0, 0, 0, array[::-1], 0, 0)
    state = struct.pack("<QQQII", 1_793_000_500, 17, sectors, 0, 128)
    block = head.ljust(80, b"\0") + layout
    block = block.ljust(128, b"\0") + member
    block = (block.ljust(192, b"\0") + state).ljust(256, b"\0")
    block += struct.pack("<HH", 0, 1).ljust(256, b"\xff")  # roles of the members
    patch(path, 8 * SECTOR, block[:216] + struct.pack("<I", md_checksum(block)) + block[220:])


def md_checksum(block):
    """The sum of all words of the superblock, its own field being zero."""
    total = sum(struct.unpack("<128I", block))
    return (total & 0xFFFFFFFF) + (total >> 32) & 0xFFFFFFFF


def make_ntfs(path):
    blank(path, 16 * MIB)
    run("mkfs.ntfs", "-F", "-Q", "-q", "-L", "EVIDENCE", path)


def make_swap(path):
    blank(path, 16 * MIB)
    os.chmod(path, 0o600)
    run("mkswap", path)


# Partition tables.

GPT_TWO = """label: gpt
start=1MiB, size=64MiB, type=linux, name=system
start=66MiB, size=300MiB, type=linux, name=data
"""
MBR_TWO = """label: dos
start=1MiB, size=64MiB, type=83
start=66MiB, size=69MiB, type=5
start=68MiB, size=64MiB, type=83
"""


def make_gpt_two(path, ext4, xfs):
    blank(path, 368 * MIB)
    image.table(path, GPT_TWO)
    place(path, ext4, 1 * MIB)
    place(path, xfs, 66 * MIB)


def make_gpt_damaged(path, ext4, xfs):
    """The first header is overwritten, the one at the end is whole."""
    make_gpt_two(path, ext4, xfs)
    patch(path, SECTOR, b"\0" * 92)


def make_mbr_two(path, ext4, ext3):
    """One primary partition and one logical in an extended one."""
    blank(path, 136 * MIB)
    image.table(path, MBR_TWO)
    place(path, ext4, 1 * MIB)
    place(path, ext3, 68 * MIB)


def make_mbr_vfat(path):
    blank(path, 18 * MIB)
    image.table(path, "label: dos\nstart=1MiB, size=16MiB, type=6\n")
    place(path, make_vfat, 1 * MIB)


def place(path, make, at):
    """Make a filesystem and copy it to an offset of an image."""
    part = path + ".part"
    make(part)
    copy_sparse(part, path, at)
    os.unlink(part)


# Copies of one disk.


def make_same_xfs(path, xfs):
    xfs(path)
    run("xfs_admin", "-U", UUID_XFS, path)
