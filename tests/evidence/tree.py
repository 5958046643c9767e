"""A root folder of a Linux system that is to become evidence.

Log entries are collected first and written at the end, ordered by time, so
that a single planted line lands in the right place of the right rotated file.
A file carries the time of its last entry: readers of logs without a year
depend on that.
"""

import gzip
import os

# Shares of the entries from oldest to newest; the last one is the live log.
ROTATED = ((".4.gz", 0.2), (".3.gz", 0.2), (".2.gz", 0.2), (".1", 0.25), ("", 0.15))
HALVES = ((".1", 0.5), ("", 0.5))
LIVE = (("", 1.0),)


class Tree:
    """Files and logs below one root folder."""

    def __init__(self, root):
        self.root = os.path.abspath(root)
        self.logs = {}
        self.plans = {}
        self.owners = {}

    def add(self, path, seconds, entry):
        """Add one entry (text or bytes) to a log."""
        self.logs.setdefault(path, []).append((seconds, entry))

    def rotate(self, path, plan):
        """Have a log written as a live file and older ones."""
        self.plans[path] = plan

    def file(self, path, content, seconds, mode=0o644, owner=0):
        """Write a whole file."""
        target = self.place(path)
        data = content.encode() if isinstance(content, str) else content
        with open(target, "wb") as file:
            file.write(data)
        self.settle(target, seconds, mode, owner)

    def link(self, path, to, seconds):
        """Make a symbolic link."""
        target = self.place(path)
        os.symlink(to, target)
        os.utime(target, (seconds, seconds), follow_symlinks=False)

    def place(self, path):
        """The real path of a file; its folders are made."""
        target = os.path.join(self.root, path.lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return target

    def settle(self, target, seconds, mode, owner):
        """Give a written file its mode, owner (as far as allowed) and time."""
        os.chmod(target, mode)
        if os.geteuid() == 0:
            os.chown(target, owner, owner)
        os.utime(target, (seconds, seconds))

    def own(self, path, owner, mode=0o700):
        """Give a home to its user."""
        self.owners[path] = owner
        target = os.path.join(self.root, path.lstrip("/"))
        os.makedirs(target, exist_ok=True)
        os.chmod(target, mode)
        if os.geteuid() == 0:
            os.chown(target, owner, owner)

    def finish(self):
        """Write all logs, then give the folders the time of their newest file."""
        for path, entries in self.logs.items():
            entries.sort(key=lambda entry: entry[0])
            self.write_log(path, entries)
        for folder, _, _ in os.walk(self.root, topdown=False):
            date_folder(folder)

    def write_log(self, path, entries):
        """Write one log as its rotation plan says."""
        plan = self.plans.get(path, LIVE)
        done = 0
        for suffix, share in plan:
            last = suffix == plan[-1][0]
            until = len(entries) if last else done + int(len(entries) * share)
            if until > done:
                self.write_part(path + suffix, entries[done:until])
            done = until

    def write_part(self, path, entries):
        """Write one file of a log, packed if its name says so."""
        content = b"".join(as_bytes(entry) for _, entry in entries)
        newest = entries[-1][0]
        if path.endswith(".gz"):
            content = gzip.compress(content, 6, mtime=int(newest))
        mode, owner = self.rights(path)
        self.file(path, content, newest, mode, owner)

    def rights(self, path):
        """Mode and owner of a log: private in homes, readable elsewhere."""
        for home, owner in self.owners.items():
            if path.startswith(home + "/"):
                return 0o600, owner
        return 0o640, 0


def as_bytes(entry):
    return entry.encode() if isinstance(entry, str) else entry


def date_folder(folder):
    """Set a folder's time to that of the newest thing in it."""
    times = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(folder)]
    newest = max(times, default=0)
    if newest:
        os.utime(folder, (newest, newest))
