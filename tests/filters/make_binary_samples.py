#!/usr/bin/env python3
"""Writes the binary sample logs into a copy of the sample tree.

Usage: make_binary_samples.py ROOT

Writes wtmp, btmp, utmp, lastlog, an mlocate database, a gzip'd syslog and,
where systemd-journal-remote is installed, a persistent journal.
Addresses are from the documentation ranges; every value is invented.
Exit status 3: all written but the journal (systemd-journal-remote missing).
"""

import gzip
import os
import socket
import struct
import subprocess
import sys

# 2026-11-20 07:02:13 UTC
T0 = 1795158133
BOOT, NEW_TIME, LOGIN, USER, DEAD = 2, 3, 6, 7, 8
JOURNAL_REMOTE = (
    "/lib/systemd/systemd-journal-remote",
    "/usr/lib/systemd/systemd-journal-remote",
)
MACHINE_ID = "0123456789abcdef0123456789abcdef"
BOOT_ID = "fedcba9876543210fedcba9876543210"


def utmp(kind, pid, line, ident, user, host, when, address=None):
    """One record of struct utmp, 384 bytes, as glibc writes it on 64-bit Linux."""
    ip = socket.inet_aton(address) if address else bytes(4)
    record = struct.pack(
        "<hxxi32s4s32s256shhiii16s20x",
        kind, pid, line.encode(), ident.encode(), user.encode(), host.encode(),
        0, 0, 0, when, 0, ip + bytes(12))
    assert len(record) == 384
    return record


def write(root, path, data):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as stream:
        stream.write(data)


def mlocate():
    """A database of two directories, as updatedb of mlocate writes it."""
    def directory(path, when, entries):
        data = struct.pack(">QI4x", when, 0) + path.encode() + b"\0"
        for kind, name in entries:
            data += bytes([kind]) + name.encode() + b"\0"
        return data + b"\x02"
    config = b"prune_bind_mounts\x001\0\0"
    return (b"\0mlocate" + struct.pack(">IBBxx", len(config), 0, 0) + b"/\0" + config
            + directory("/home/deploy", T0, [(0, ".bash_history"), (1, "bin")])
            + directory("/home/deploy/bin", T0 + 60, [(0, "sync.sh"), (0, "removed-tool")]))


def journal(root):
    tool = next((p for p in JOURNAL_REMOTE if os.path.exists(p)), None)
    if not tool:
        return False
    entries = []
    for number, (name, pid, text) in enumerate((
            ("sshd", 2301, "Accepted publickey for deploy from 198.51.100.23 port 51130 ssh2"),
            ("sudo", 2333, "deploy : TTY=pts/0 ; PWD=/home/deploy ; USER=root ; COMMAND=/usr/bin/id"),
            ("systemd", 1, "Stopped nginx.service - A high performance web server."))):
        entries.append("\n".join((
            f"__REALTIME_TIMESTAMP={(T0 + number) * 1000000}",
            f"__MONOTONIC_TIMESTAMP={(100 + number) * 1000000}",
            f"_BOOT_ID={BOOT_ID}", f"_MACHINE_ID={MACHINE_ID}", "_HOSTNAME=web01",
            "PRIORITY=6", f"SYSLOG_IDENTIFIER={name}", f"_PID={pid}", "_UID=0",
            "_TRANSPORT=syslog", f"MESSAGE={text}")) + "\n\n")
    path = os.path.join(root, "var/log/journal", MACHINE_ID, "system.journal")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        os.remove(path)
    subprocess.run([tool, "-o", path, "-"], input="".join(entries).encode(), check=True,
                   stderr=subprocess.DEVNULL)
    return True


def main(root):
    write(root, "var/log/wtmp",
          utmp(BOOT, 0, "~", "~~", "reboot", "6.1.0-28-amd64", T0 - 3600)
          + utmp(USER, 2301, "pts/0", "ts/0", "deploy", "198.51.100.23", T0, "198.51.100.23")
          + utmp(DEAD, 2301, "pts/0", "", "", "", T0 + 900))
    write(root, "var/log/btmp",
          utmp(LOGIN, 2299, "ssh:notty", "", "admin", "203.0.113.77", T0 - 30, "203.0.113.77")
          + utmp(LOGIN, 2300, "ssh:notty", "", "root", "203.0.113.77", T0 - 20, "203.0.113.77"))
    # Two records: Plaso takes a file of a single record for something else.
    write(root, "var/run/utmp",
          utmp(BOOT, 0, "~", "~~", "reboot", "6.1.0-28-amd64", T0 - 3600)
          + utmp(USER, 2301, "pts/0", "ts/0", "deploy", "198.51.100.23", T0, "198.51.100.23"))
    # Indexed by uid, 292 bytes each; Plaso has no parser for it, only its file times count.
    write(root, "var/log/lastlog",
          struct.pack("<i32s256s", T0, b"pts/1", b"192.0.2.15") + bytes(292 * 999)
          + struct.pack("<i32s256s", T0, b"pts/0", b"198.51.100.23"))
    write(root, "var/lib/mlocate/mlocate.db", mlocate())
    lines = (
        "2026-11-18T06:25:01.118204+00:00 web01 CRON[911]: (root) CMD (cd / && run-parts /etc/cron.daily)\n"
        "2026-11-18T06:25:02.004411+00:00 web01 systemd[1]: Starting logrotate.service...\n")
    write(root, "var/log/syslog.2.gz", gzip.compress(lines.encode(), mtime=T0))
    return 0 if journal(root) else 3


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
