"""Logs of auditd: the enriched format of Debian 12 and, in older files, the plain one.

The enriched format adds the names that belong to the numbers after a group
separator (byte 0x1d).
"""

from tree import HALVES
from world import SUBJECTS

LOG, OLD = "/var/log/audit/audit.log", "/var/log/audit/audit.log.2"

COMMANDS = (
    ("ls", "/usr/bin/ls", ("ls", "-la", "/opt/app/{word}")),
    ("ps", "/usr/bin/ps", ("ps", "-ef")),
    ("grep", "/usr/bin/grep", ("grep", "-r", "{word}", "/etc/app")),
    ("cat", "/usr/bin/cat", ("cat", "/srv/{word}/{word}.conf")),
    ("systemctl", "/usr/bin/systemctl", ("systemctl", "status", "app@{n}")),
    ("df", "/usr/bin/df", ("df", "-h")),
    ("rsync", "/usr/bin/rsync", ("rsync", "-a", "/srv/{word}", "10.0.4.{n}:/srv")),
    ("find", "/usr/bin/find", ("find", "/var/tmp", "-mtime", "+{n}")),
)


class Serial:
    """Numbers the audit events of a host."""

    def __init__(self):
        self.last = 1000

    def next(self):
        self.last += 1
        return self.last


def fill(tree, world, count):
    """About count lines; the oldest ones are plain, the rest is enriched."""
    tree.rotate(LOG, HALVES)
    serial = Serial()
    events = count // 2  # two lines each on average
    for number, seconds in enumerate(world.times(events)):
        event(tree, world, serial, seconds, enriched=number > events // 4)


def event(tree, world, serial, seconds, enriched):
    """One event of a random kind."""
    path = LOG if enriched else OLD
    lines = execution(world, *command(world)) if world.chance(0.5) else login(world)
    record(tree, path, serial.next(), seconds, lines, enriched)


def record(tree, path, serial, seconds, lines, enriched):
    """Write the lines of one event: (type, body, names)."""
    for kind, body, names in lines:
        tail = f"\x1d{names}" if enriched and names else ""
        tree.add(path, seconds, f"type={kind} msg=audit({seconds:.3f}:{serial}): {body}{tail}\n")


def command(world):
    """A command that someone runs: name, program, arguments."""
    name, program, arguments = world.pick(COMMANDS)
    return name, program, [a.format(word=world.pick(SUBJECTS), n=world.number(2, 200)) for a in arguments]


def execution(world, name, program, arguments, login_id=1000, user="deploy"):
    """A program started: system call, arguments, folder."""
    call = (
        f"arch=c000003e syscall=59 success=yes exit=0 a0=55{world.hex(40)} a1=55{world.hex(40)} "
        f"a2=55{world.hex(40)} a3=8 items=2 ppid={world.number(400, 32000)} pid={world.number(400, 32000)} "
        f"auid={login_id} uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts{world.number(0, 4)} "
        f'ses={world.number(1, 900)} comm="{name}" exe="{program}" subj=unconfined key="exec"'
    )
    kinds = "UID GID EUID SUID FSUID EGID SGID FSGID".split()
    names = f'ARCH=x86_64 SYSCALL=execve AUID="{user}" ' + " ".join(f'{kind}="root"' for kind in kinds)
    listed = " ".join(f'a{i}="{a}"' for i, a in enumerate(arguments))
    return [
        ("SYSCALL", call, names),
        ("EXECVE", f"argc={len(arguments)} {listed}", ""),
        ("CWD", f'cwd="/home/{user}"', ""),
    ]


def login(world):
    """A log-in that failed, or cron becoming root."""
    if world.chance(0.5):
        return [user_login(world, world.pick(("root", "admin", "test", "deploy")), world.visitor(), "failed")]
    body = (
        f"pid={world.number(400, 32000)} uid=0 auid=4294967295 ses=4294967295 subj=unconfined "
        f'msg=\'op=PAM:setcred grantors=pam_permit acct="root" exe="/usr/sbin/cron" '
        f"hostname=? addr=? terminal=cron res=success'"
    )
    return [("CRED_ACQ", body, 'UID="root" AUID="unset"')]


def user_login(world, user, address, result):
    """sshd's own report of a log-in."""
    body = (
        f"pid={world.number(400, 32000)} uid=0 auid=4294967295 ses=4294967295 subj=unconfined "
        f'msg=\'op=login acct="{user}" exe="/usr/sbin/sshd" hostname=? addr={address} terminal=sshd res={result}\''
    )
    return "USER_LOGIN", body, 'UID="root" AUID="unset"'
