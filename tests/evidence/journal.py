"""systemd journals, written by systemd-journal-remote (Debian package of that name)."""

import os
import subprocess
import tempfile

import clock

WRITER = "/lib/systemd/systemd-journal-remote"
LAST_OBJECT_AT = 136  # header field: offset of the last object
FIRST_ARRAY_AT = 176  # header field: offset of the first entry array
NEXT_ARRAY_AT = 16  # entry array field: offset of the next one


def entry(world, seconds, tag, text):
    """One entry in the journal's export format."""
    name, _, pid = tag.partition("[")
    pid, micros = pid.rstrip("]") or "1", int(seconds * 1e6)
    fields = {
        "__REALTIME_TIMESTAMP": micros,
        "__MONOTONIC_TIMESTAMP": micros - int(clock.START * 1e6) + 10_000_000,
        "_BOOT_ID": world.boot,
        "_MACHINE_ID": world.machine,
        "_HOSTNAME": world.host,
        "PRIORITY": 6,
        "SYSLOG_FACILITY": 3,
        "_TRANSPORT": "syslog",
        "_UID": 0,
        "_GID": 0,
        "_COMM": name,
        "_EXE": f"/usr/sbin/{name}",
        "_CMDLINE": f"/usr/sbin/{name} -D",
        "_SYSTEMD_UNIT": f"{name}.service",
        "SYSLOG_IDENTIFIER": name,
        "SYSLOG_PID": pid,
        "_PID": pid,
        "_SOURCE_REALTIME_TIMESTAMP": micros - 300,
        "MESSAGE": text.strip(),
    }
    return "".join(f"{key}={value}\n" for key, value in fields.items()) + "\n"


def write(path, entries):
    """Write a journal file from entries in the export format."""
    if not os.path.exists(WRITER):
        raise RuntimeError(f"{WRITER} is missing: install the package systemd-journal-remote")
    with tempfile.NamedTemporaryFile(suffix=".export") as export:
        export.write("".join(entries).encode())
        export.flush()
        done = subprocess.run(
            [WRITER, "--compress=yes", "--seal=no", "-o", path, export.name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    if done.returncode:
        raise RuntimeError(f"{WRITER}: {done.stderr.decode(errors='replace').strip()}")
