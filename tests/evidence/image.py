"""Disk images: make, fill, mount and copy them without leaving anything behind.

Mounts live in a private mount namespace and every loop device is marked for
automatic release, so even a killed run leaves no mount and no loop device.
Mounting needs root; the rest does not.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SECTOR = 512


def run(*command, stdin=None):
    """Run one command, return its output, raise with its error text if it fails."""
    done = subprocess.run([str(c) for c in command], input=stdin, capture_output=True)
    if done.returncode:
        text = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}: {text}")
    return done.stdout.decode(errors="replace").strip()


def private_mounts():
    """Move this process into a mount namespace of its own."""
    if LIBC.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare: mounting needs root")
    if LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "making mounts private")


def blank(path, size):
    """Make an empty sparse file of that many bytes, replacing an old one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(path, "wb") as file:
        file.truncate(size)


@contextlib.contextmanager
def loop(path):
    """A writable loop device over an image."""
    device = run("losetup", "-f", "--show", path)
    try:
        # The read-only flag sticks to the loop number, not to the image.
        run("blockdev", "--setrw", device)
        yield device
    finally:
        release(device)


def release(device):
    """Detach a loop device; while it is mounted this marks it for automatic release."""
    for _ in range(20):
        if subprocess.run(["losetup", "-d", device], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)


@contextlib.contextmanager
def mounted(path, fs, options=""):
    """An image mounted read-write on a new empty folder; yields the folder."""
    folder = tempfile.mkdtemp(prefix="evidence.")
    try:
        with loop(path) as device:
            mount(device, folder, fs, options)
        try:
            yield folder
        finally:
            unmount(folder)
    finally:
        os.rmdir(folder)


def mount(device, folder, fs, options=""):
    """mount(2) with the exact filesystem type."""
    data = options.encode() or None
    if LIBC.mount(device.encode(), folder.encode(), fs.encode(), 0, data):
        raise OSError(ctypes.get_errno(), f"mount {device} as {fs}")


def unmount(folder):
    """umount(2); waits a little for a folder that is still busy."""
    for _ in range(20):
        if LIBC.umount2(folder.encode(), 0) == 0:
            return
        time.sleep(0.1)
    raise OSError(ctypes.get_errno(), f"umount {folder}")


def copy_sparse(source, target, at=0):
    """Copy the data of an image into another at a byte offset; holes stay holes."""
    with open(source, "rb") as reader, open(target, "r+b") as writer:
        for start, end in data_ranges(reader):
            reader.seek(start)
            writer.seek(at + start)
            copy_bytes(reader, writer, end - start)


def data_ranges(file):
    """The ranges (start, end) of a sparse file that hold data."""
    size = os.fstat(file.fileno()).st_size
    end = 0
    while end < size:
        try:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:  # no data after this point
            return
        end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        yield start, end


def copy_bytes(reader, writer, count):
    """Copy count bytes, leaving blocks of zeros unwritten."""
    while count:
        block = reader.read(min(count, 1 << 16))
        if not block:
            return
        count -= len(block)
        if block.count(0) == len(block):
            writer.seek(len(block), os.SEEK_CUR)
        else:
            writer.write(block)


def patch(path, offset, data):
    """Overwrite bytes of a file at an offset."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def peek(path, offset, count):
    """Read bytes of a file at an offset."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(count)


def table(path, script):
    """Write a partition table, given as an sfdisk script, into an image."""
    run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path, stdin=script.encode())


@contextlib.contextmanager
def scratch():
    """A temporary folder that is removed afterwards."""
    folder = tempfile.mkdtemp(prefix="evidence.")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
