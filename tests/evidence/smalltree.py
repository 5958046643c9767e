"""The tiny evidence tree that the disks of states.py hold."""

import os

import clock
from clock import END

HOST = "small-01"
AUTH_LINES, LATE_LINES = 30, 10


def write_base(root):
    """What was there long before: host name, a history, logs and some bulk."""
    write(root, "etc/hostname", f"{HOST}\n")
    write(root, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
    write(root, "root/.bash_history", f"#{END - 500}\nls -la /srv\n#{END - 480}\nsystemctl status app\n")
    write(root, "var/log/auth.log", "".join(auth_line(i) for i in range(AUTH_LINES)))
    write(root, "var/log/cron.log", "".join(cron_line(i) for i in range(LATE_LINES)))
    for number in range(60):
        write(root, f"srv/base/file{number:03d}", f"base {number}\n" * 60)


def write_late(root):
    """What was written last, and forced to disk."""
    write(root, "var/log/syslog", "".join(late_line(i) for i in range(LATE_LINES)))
    for number in range(40):
        write(root, f"srv/late/file{number:03d}", f"late {number}\n" * 60)
    for name in ("var/log/syslog", "var/log", "srv/late", "srv", "."):
        force(os.path.join(root, name))


def delete_last(root):
    """What was deleted last."""
    os.unlink(os.path.join(root, "var/log/cron.log"))
    for number in range(20):
        os.unlink(os.path.join(root, f"srv/base/file{number:03d}"))
    for name in ("var/log", "srv/base"):
        force(os.path.join(root, name))


def auth_line(number):
    seconds = END - 4000 + number * 60
    return (
        f"{clock.traditional(seconds)} {HOST} sshd[{900 + number}]: Failed password for root "
        f"from 192.0.2.{number + 1} port {40_000 + number} ssh2\n"
    )


def cron_line(number):
    seconds = END - 3900 + number * 300
    return f"{clock.traditional(seconds)} {HOST} CRON[{1200 + number}]: (root) CMD (run-parts /etc/cron.hourly)\n"


def late_line(number):
    return f"{clock.iso(END - 600 + number)} {HOST} app[77]: late message {number}\n"


def write(root, name, text):
    """Write one file; logs get the time of the evidence, not of today."""
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.utime(path, (END, END))


def force(path):
    """fsync a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
