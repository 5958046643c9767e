"""The binary log-in records: wtmp, btmp and lastlog, in the layout of x86-64."""

import struct

from clock import END, START
from world import GUESSED, PEOPLE

WTMP, BTMP, LASTLOG = "/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog"
BOOT, FAILED, OPENED, CLOSED = 2, 6, 7, 8
RECORD = struct.Struct("<hxxi32s4s32s256shhiii4s12x20x")


def record(seconds, kind, user, line, host, pid):
    """One utmp record of 384 bytes."""
    micros = int(seconds % 1 * 1e6)
    return RECORD.pack(
        kind,
        pid,
        line.encode(),
        line[-4:].encode(),
        user.encode(),
        host.encode(),
        0,
        0,
        0,
        int(seconds),
        micros,
        packed(host),
    )


def packed(host):
    """The four bytes of an address, zeros for anything else."""
    parts = host.split(".")
    numeric = len(parts) == 4 and all(part.isdigit() for part in parts)
    return bytes(int(part) for part in parts) if numeric else bytes(4)


def fill_wtmp(tree, world, count):
    """A boot and sessions that open and close."""
    tree.add(WTMP, START + 40, record(START + 40, BOOT, "reboot", "~", "6.1.0-28-cloud-amd64", 0))
    for seconds in world.times(count // 2):
        session(tree, world, seconds, world.pick(("deploy", "ops", "build")), world.inside())


def session(tree, world, seconds, user, host):
    """One session: opened, and closed some minutes later."""
    pid, line = world.number(400, 32000), f"pts/{world.number(0, 5)}"
    end = min(seconds + world.number(60, 7200), END)
    tree.add(WTMP, seconds, record(seconds, OPENED, user, line, host, pid))
    tree.add(WTMP, end, record(end, CLOSED, "", line, "", pid))


def fill_btmp(tree, world, count):
    """Log-ins that failed."""
    for seconds in world.times(count):
        failed(tree, world, seconds, world.pick(GUESSED), world.visitor())


def failed(tree, world, seconds, user, host):
    tree.add(BTMP, seconds, record(seconds, FAILED, user, "ssh:notty", host, world.number(400, 32000)))


def write_lastlog(tree, last):
    """lastlog: one slot for each user id; last is {uid: (seconds, line, host)}."""
    slots = max(uid for uid, *_ in PEOPLE.values()) + 1
    rows = [last.get(uid, (0, "", "")) for uid in range(slots)]
    content = b"".join(
        struct.pack("<I32s256s", int(t), line.encode(), host.encode()) for t, line, host in rows
    )
    tree.file(LASTLOG, content, END, 0o664)
