"""The attempts of tests/cage/probe.py, and those that only make sense under the unit: sockets of the system, secrets of
the other service, the cage's own limits. In the place of Plaso, inside the cage.

usage: unit_probe.py FACTS ANSWER EVIDENCE

It stays until /plaso/finish is there, and 40 processes with it, so that the cage can be looked at from outside. The
answer says as `crowd` how many could be had.
"""

import glob
import json
import os
import signal
import socket
import sys
import time

import probe

SOCKETS = {
    "the agent": "/run/dfagent/dfagent.sock",
    "systemd": "/run/systemd/private",
    "systemd's notifications": "/run/systemd/notify",
    "the journal": "/run/systemd/journal/socket",
    "the journal's stdout": "/run/systemd/journal/stdout",
    "syslog": "/dev/log",
    "D-Bus": "/run/dbus/system_bus_socket",
    "udev": "/run/udev/control",
}
SECRETS = (
    "/etc/credstore", "/run/credentials", "/run/credentials/dfagent-delivery.service/timesketch-password",
    "/var/lib/dfagent", "/var/lib/dfagent-delivery", "/run/dfagent", "/etc/dfagent",
)  # fmt: skip
# What the service manager tells the agent, which is nobody else's.
NAMES = ("NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "LISTEN_FDS", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM")


def reached(path):
    """Whether anybody listens, whatever kind of socket it is."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as end:
            try:
                end.connect(path)
                return "connected"
            except OSError as error:
                last = error
    raise last


def seen_in_proc(marker):
    """Where the secret stands in what can be read about processes."""
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        try:
            if marker in probe.read_all(path):
                return path
        except OSError:
            continue
    return None


def names_of_the_unit(path):
    content = probe.read_all(path)
    return content if b"dfagent.service" in content else None


def unit(facts):
    attempts = {f"the socket of {name}": lambda path=path: reached(path) for name, path in SOCKETS.items()}
    attempts |= {path: lambda path=path: probe.done(os.stat, path) for path in SECRETS}
    attempts |= {f"${name}": lambda name=name: os.environ.get(name) for name in NAMES}
    return attempts | {
        "the secret in /proc": lambda: seen_in_proc(facts["marker"].encode()),
        "seeing its cgroup": lambda: names_of_the_unit("/proc/self/cgroup"),
        "cgroups": lambda: os.listdir("/sys/fs/cgroup"),
        "raising its memory limit": lambda: probe.write("/sys/fs/cgroup/memory.max", b"max"),
        "leaving its cgroup": lambda: probe.write("/sys/fs/cgroup/cgroup.procs", b"0"),
    }


def crowd(most):
    """Processes that stay; fewer where there is a limit."""
    for count in range(most):
        try:
            if os.fork() == 0:
                signal.pause()
        except BlockingIOError:
            return count
    return most


def main():
    probe.GROUPS["unit"] = unit
    answer = sys.argv[2]
    sys.argv[2] = f"{answer}.new"
    probe.main()
    with open(f"{answer}.new", "r+", encoding="utf-8") as file:
        told = json.load(file) | {"crowd": crowd(40)}
        file.seek(0)
        json.dump(told, file)
        file.truncate()
    os.rename(f"{answer}.new", answer)
    while not os.path.exists("/plaso/finish"):
        time.sleep(0.2)


if __name__ == "__main__":
    main()
