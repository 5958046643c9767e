#!/usr/bin/env python3
"""Evidence made to hurt the one who reads it. The image needs root (a mount).

usage: hostile.py OUT.img                  ext4 with hostile names, links and nodes
       hostile.py --journal-loop FILE      a journal whose list of entries never ends
       hostile.py --journal-truncated FILE a journal that is cut in the middle

Every hostile file name holds one line of auth.log with its number, so that it
can be seen in the timeline which of them were read.
"""

import argparse
import os
import shutil
import socket
import stat
import struct

import clock
import image
import journal
import syslogs
from clock import END
from world import World

MIB, GIB = 1 << 20, 1 << 30
HOST = "hostile-01"
DEPTH = 300
FIRST_ADDRESS = "192.0.2"

# Names of log files; what each of them attacks is said beside it.
NAMES = (
    b"escape-\x1b[2J\x1b[31mred\x1b[0m.log",  # the terminal
    b"title-\x1b]0;owned\x07.log",  # the terminal's title
    b"line\nbreak.log",  # lists with one name a line
    b"trailing-newline.log\n",
    b"carriage\rreturn.log",
    b"tab\tand\x0bvertical.log",
    b"bad-utf8-\xff\xfe\xc3\x28.log",
    b"half-utf8-\xe2\x82.log",
    b"surrogate-\xed\xa0\x80.log",
    b"n" * 255,  # the longest name
    "\u00e4".encode() * 127,  # the longest name, two bytes each
    b"-rf",
    b"--help",
    b"-",
    b"%{x}.log",
    b"{x}.log",
    b"%s%n%x.log",
    b"$(touch owned).log",
    b"`touch owned`.log",
    b"; touch owned;.log",
    b"| touch owned.log",
    b'quote".log',
    b"quote'.log",
    b"back\\slash.log",
    b"*.log",
    b" leading and trailing space ",
    b"...",
    "\u202egol.txt".encode(),  # shown right to left
    "zero\u200bwidth.log".encode(),
    "e\u0301.log".encode(),  # two spellings of one letter
    "\u00e9.log".encode(),
    b"<script>alert(1)<!--.log",
    b"comma,semicolon;.log",
    b"auth.log.plaso",
)

LINKS = {
    "var/log/to-shadow": "/etc/shadow",
    "var/log/to-passwd-by-dots": "../" * 40 + "etc/passwd",
    "var/log/loop-a": "loop-b",
    "var/log/loop-b": "loop-a",
    "var/log/loop-self": "loop-self",
    "var/log/folder-out": "/etc",
    "var/log/folder-root": "/",
    "var/log/folder-up": "../..",
    "var/log/folder-inside": "plain",
    "var/log/dangling": "/nowhere/at/all",
    "var/log/to-process": "/proc/self/environ",
    "var/log/long-target": "x/" * 2000,
    "root/.bash_history": "/root/.bash_history",
    "etc/localtime": "/usr/share/zoneinfo/Asia/Tokyo",
    "etc/machine-id": "/etc/machine-id",
}

NODES = {
    "var/log/zero": (stat.S_IFCHR, os.makedev(1, 5)),
    "var/log/random": (stat.S_IFCHR, os.makedev(1, 8)),
    "var/log/terminal": (stat.S_IFCHR, os.makedev(5, 0)),
    "var/log/disk": (stat.S_IFBLK, os.makedev(8, 0)),
    "var/log/loop": (stat.S_IFBLK, os.makedev(7, 0)),
    "var/log/pipe": (stat.S_IFIFO, 0),
    "etc/timezone": (stat.S_IFIFO, 0),
}


def make_image(path):
    """The image with everything in it."""
    image.blank(path, 128 * MIB)
    image.run("mkfs.ext4", "-q", "-F", "-b", "4096", path)
    image.private_mounts()
    with image.mounted(path, "ext4") as root:
        fill(root)


def fill(root):
    """All the hostile things, and plain logs beside them."""
    for folder in ("etc", "root", "var/log/plain", "var/log/names", "var/log/case"):
        os.makedirs(os.path.join(root, folder))
    add_plain(root)
    add_names(os.path.join(root, "var/log/names").encode())
    add_case(os.path.join(root, "var/log/case"))
    for name, target in LINKS.items():
        os.symlink(target, os.path.join(root, name))
    for name, (kind, device) in NODES.items():
        os.mknod(os.path.join(root, name), kind | 0o644, device)
    add_socket(os.path.join(root, "var/log/socket"))
    add_sparse(os.path.join(root, "var/log/syslog"))
    add_deep(os.path.join(root, "var/log/deep"))


def line(number, text):
    """One line of auth.log."""
    return f"{clock.traditional(END - 3600 + number)} {HOST} sshd[{500 + number}]: {text}\n".encode()


def write(path, content):
    """Write a file and give it the time of the evidence."""
    with open(path, "wb") as file:
        file.write(content)
    os.utime(path, (END, END))


def add_plain(root):
    """What must be read in spite of the rest."""
    write(os.path.join(root, "etc/hostname"), f"{HOST}\n".encode())
    write(os.path.join(root, "etc/passwd"), b"root:x:0:0:root:/root:/bin/bash\n")
    lines = (
        line(i, f"Failed password for root from {FIRST_ADDRESS}.{i + 1} port 40001 ssh2") for i in range(30)
    )
    write(os.path.join(root, "var/log/auth.log"), b"".join(lines))
    write(os.path.join(root, "var/log/plain/auth.log"), line(31, "plain log in a folder"))


def add_names(folder):
    """One log for each hostile name."""
    for number, name in enumerate(NAMES):
        write(os.path.join(folder, name), line(100 + number, f"hostile name {number:02d}"))


def add_case(folder):
    """Two logs whose names differ only in case."""
    write(os.path.join(folder, "auth.log"), line(201, "small letters"))
    write(os.path.join(folder, "AUTH.LOG"), line(202, "capital letters"))


def add_socket(path):
    """A socket that nobody listens on. Bound by a short name, as its path may be too long."""
    with socket.socket(socket.AF_UNIX) as end:
        handle = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            end.bind(f"/proc/self/fd/{handle}/{os.path.basename(path)}")
        finally:
            os.close(handle)


def add_sparse(path):
    """200 GiB with one line at the start."""
    write(path, line(203, "one line before a hole of 200 GiB"))
    os.truncate(path, 200 * GIB)
    os.utime(path, (END, END))


def add_deep(path):
    """A chain of folders with a log at its end."""
    os.mkdir(path)
    for number in range(DEPTH):
        path = os.path.join(path, f"d{number:03d}")
        os.mkdir(path)
    write(os.path.join(path, "auth.log"), line(204, "at the end of a deep chain"))


def make_journal(path, count=400):
    """A sound journal."""
    world = World(3, HOST)
    entries = [journal.entry(world, seconds, *syslogs.service(world)) for seconds in world.times(count)]
    with image.scratch() as folder:  # the writer wants this name and no old file
        made = os.path.join(folder, "system.journal")
        journal.write(made, entries)
        shutil.copyfile(made, path)


def make_journal_loop(path):
    """A journal whose first array of entries names itself as the next one."""
    make_journal(path)
    first = struct.unpack("<Q", image.peek(path, journal.FIRST_ARRAY_AT, 8))[0]
    image.patch(path, first + journal.NEXT_ARRAY_AT, struct.pack("<Q", first))


def make_journal_truncated(path):
    """A journal cut in the middle of what it holds."""
    make_journal(path)
    last = struct.unpack("<Q", image.peek(path, journal.LAST_OBJECT_AT, 8))[0]
    os.truncate(path, last * 3 // 4)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("image", nargs="?", metavar="OUT.img")
    what.add_argument("--journal-loop", metavar="FILE")
    what.add_argument("--journal-truncated", metavar="FILE")
    options = parser.parse_args()
    if options.journal_loop:
        make_journal_loop(options.journal_loop)
    elif options.journal_truncated:
        make_journal_truncated(options.journal_truncated)
    else:
        make_image(options.image)


if __name__ == "__main__":
    main()
