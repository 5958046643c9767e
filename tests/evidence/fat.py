"""Put files into a fresh FAT16 filesystem, as the tools at hand cannot.

Every file and folder gets a long name entry, so names keep their case.
"""

import os
import struct

import clock

BOOT = struct.Struct("<11xHBHBHHBHHHII")
LONG_NAME, FOLDER = 0x0F, 0x10
LAST, END_OF_CHAIN = 0x40, 0xFFFF
ENTRY = struct.Struct("<11sB10xHHHI")
ROOT = 0  # how a folder in the root folder names its parent


class Fat16:
    """The tables of a FAT16 image, open for writing."""

    def __init__(self, path):
        self.file = open(path, "r+b")
        fields = BOOT.unpack(self.file.read(BOOT.size))
        sector, per_cluster, reserved, self.fats, root_entries, _, _, fat_sectors = fields[:8]
        self.cluster = sector * per_cluster
        self.fat_at = reserved * sector
        self.fat_size = fat_sectors * sector
        self.root_at = self.fat_at + self.fats * self.fat_size
        self.data_at = self.root_at + root_entries * 32
        self.chain = {}
        self.next = 2

    def add_tree(self, root):
        """Copy a folder of the host as the root folder."""
        label = ENTRY.size
        self.put(self.root_at + label, self.entries(root, ROOT))
        for number in range(self.fats):
            for cluster, link in self.chain.items():
                self.put(self.fat_at + number * self.fat_size + cluster * 2, struct.pack("<H", link))
        self.file.close()

    def entries(self, folder, own):
        """The entries of a folder at cluster own; what it holds gets stored on the way."""
        return b"".join(self.entry(item, number, own) for number, item in enumerate(listed(folder)))

    def entry(self, item, number, parent):
        """The entries (long and short) of one file or folder."""
        if item.is_dir():
            first, size, kind = self.add_folder(item.path, parent), 0, FOLDER
        else:
            content = read(item.path)
            first, size, kind = self.allocate(len(content)), len(content), 0
            self.put(self.at(first), content)
        short = f"FILE{number:04d}   ".encode()
        stamp = dos_stamp(item.stat().st_mtime)
        return long_entries(item.name, short) + ENTRY.pack(short, kind, *stamp, first, size)

    def add_folder(self, path, parent):
        """Store a folder and what it holds; returns its first cluster."""
        names = b"".join(long_entries(item.name, bytes(11)) for item in listed(path))
        own = self.allocate(len(names) + (len(listed(path)) + 2) * ENTRY.size)
        stamp = dos_stamp(os.stat(path).st_mtime)
        dots = ENTRY.pack(b".".ljust(11), FOLDER, *stamp, own, 0) + ENTRY.pack(
            b"..".ljust(11), FOLDER, *stamp, parent, 0
        )
        self.put(self.at(own), dots + self.entries(path, own))
        return own

    def allocate(self, size):
        """Take the next free clusters for that many bytes; returns the first one."""
        count = max(1, -(-size // self.cluster))
        first, self.next = self.next, self.next + count
        for cluster in range(first, first + count):
            self.chain[cluster] = cluster + 1
        self.chain[first + count - 1] = END_OF_CHAIN
        return first

    def at(self, cluster):
        return self.data_at + (cluster - 2) * self.cluster

    def put(self, offset, data):
        self.file.seek(offset)
        self.file.write(data)


def listed(folder):
    return sorted(os.scandir(folder), key=lambda item: item.name)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def dos_stamp(seconds):
    """Time and date as FAT keeps them."""
    d = clock.date(seconds)
    return d.hour << 11 | d.minute << 5 | d.second // 2, (d.year - 1980) << 9 | d.month << 5 | d.day


def long_entries(name, short):
    """The long name of a file, last part first."""
    units = name.encode("utf-16-le")
    units += b"\0\0" if len(units) % 26 else b""
    units += b"\xff" * (-len(units) % 26)
    parts = [units[i : i + 26] for i in range(0, len(units), 26)]
    rows = []
    for number, part in reversed(list(enumerate(parts, 1))):
        order = number | (LAST if number == len(parts) else 0)
        rows.append(
            struct.pack(
                "<B10sBBB12sH4s", order, part[:10], LONG_NAME, 0, checksum(short), part[10:22], 0, part[22:]
            )
        )
    return b"".join(rows)


def checksum(short):
    """What ties a long name to its short one."""
    total = 0
    for byte in short:
        total = ((total >> 1) | (total << 7 & 0xFF)) + byte & 0xFF
    return total
