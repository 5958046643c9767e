"""System logs in both forms of rsyslog: ISO stamps and traditional ones without a year."""

import clock
from tree import HALVES, ROTATED
from world import GUESSED

SYSLOG, AUTH, KERN, CRON = "/var/log/syslog", "/var/log/auth.log", "/var/log/kern.log", "/var/log/cron.log"

UNITS = (
    "apt-daily.service - Daily apt download activities",
    "logrotate.service - Rotate log files",
    "fstrim.service - Discard unused blocks on filesystems",
    "man-db.service - Daily man-db regeneration",
    "e2scrub_all.service - Online ext4 Metadata Check for All Filesystems",
    "phpsessionclean.service - Clean php session files",
    "sysstat-collect.service - system activity accounting tool",
    "dpkg-db-backup.service - Daily dpkg database backup service",
    "motd-news.service - Message of the Day",
)
TASKS = (
    ("root", "   cd / && run-parts --report /etc/cron.hourly"),
    ("root", "command -v debian-sa1 > /dev/null && debian-sa1 1 1"),
    ("www-data", "[ -x /usr/bin/php ] && /usr/bin/php /var/www/app/cron.php"),
    ("deploy", "/opt/app/bin/queue drain --quiet"),
    ("root", "test -x /usr/sbin/anacron || run-parts --report /etc/cron.daily"),
    ("ops", "/home/ops/bin/report --since yesterday"),
)
ROOT_COMMANDS = (
    "/usr/bin/systemctl restart app@%d",
    "/usr/bin/journalctl -u app@%d -n 200",
    "/usr/bin/apt-get update",
    "/usr/bin/tail -n %d /var/log/syslog",
    "/usr/bin/docker logs --tail %d web",
    "/usr/sbin/nginx -t",
)


def iso(tree, world, path, seconds, tag, text):
    """One line with an ISO stamp."""
    tree.add(path, seconds, f"{clock.iso(seconds)} {world.host} {tag}: {text}\n")


def traditional(tree, world, path, seconds, tag, text):
    """One line with a traditional stamp."""
    tree.add(path, seconds, f"{clock.traditional(seconds)} {world.host} {tag}: {text}\n")


def fill_syslog(tree, world, count):
    tree.rotate(SYSLOG, ROTATED)
    for seconds in world.times(count):
        iso(tree, world, SYSLOG, seconds, *service(world))


def fill_auth(tree, world, count):
    tree.rotate(AUTH, ROTATED)
    for seconds in world.times(count):
        traditional(tree, world, AUTH, seconds, *login(world))


def fill_kern(tree, world, count):
    tree.rotate(KERN, HALVES)
    for seconds in world.times(count):
        iso(tree, world, KERN, seconds, "kernel", kernel(world, seconds))


def fill_cron(tree, world, count):
    tree.rotate(CRON, HALVES)
    for seconds in world.times(count):
        user, command = world.pick(TASKS)
        traditional(tree, world, CRON, seconds, f"CRON[{world.pid()}]", f"({user}) CMD ({command})")


def service(world):
    """Name with process id, and message, of a service."""
    return world.pick(SERVICE_LINES)(world)


def unit_line(world):
    verb = world.pick(("Starting", "Started", "Finished", "Stopped"))
    return "systemd[1]", f"{verb} {world.pick(UNITS)}."


def scope_line(world):
    return "systemd[1]", (
        f"session-{world.number(1, 9999)}.scope: Consumed {world.number(1, 9000) / 1000}s CPU time."
    )


def network_line(world):
    return f"systemd-networkd[{world.pid()}]", (
        f"ens5: DHCPv4 address 10.0.3.17/24, gateway 10.0.3.1 acquired from 10.0.3.1 (lease {world.number(600, 3600)}s)"
    )


def docker_line(world):
    topic = world.pick(("create", "start", "delete", "exec-added", "exec-started"))
    return f"dockerd[{world.number(800, 1200)}]", (
        f'level=info msg="ignoring event" container={world.hex(256)} '
        f"module=libcontainerd namespace=moby topic=/tasks/{topic}"
    )


def agent_line(world):
    return f"amazon-ssm-agent[{world.number(800, 1200)}]", (
        f"INFO [ssm-agent-worker] [MessageService] [Association] Schedule manager refreshed with "
        f"{world.number(0, 9)} associations, {world.number(0, 99)} new associations associated"
    )


def worker_line(world):
    level = world.pick(("INFO", "INFO", "INFO", "WARNING", "ERROR"))
    return f"app[{world.pid()}]", f"{level} worker-{world.number(1, 17)} {world.sentence()}"


def nginx_line(world):
    return f"nginx[{world.pid()}]", (
        f"*{world.number(1, 10**6)} upstream timed out (110: Connection timed out) while connecting to upstream, "
        f'client: {world.visitor()}, upstream: "http://{world.inside()}:8080/"'
    )


def time_line(world):
    return (
        f"chronyd[{world.number(500, 900)}]",
        f"Selected source {world.inside()} (offset {world.random.gauss(0, 1):+.6f} ms)",
    )


SERVICE_LINES = (
    unit_line,
    scope_line,
    network_line,
    docker_line,
    agent_line,
    worker_line,
    worker_line,
    worker_line,
    nginx_line,
    time_line,
)


def login(world):
    """Name with process id, and message, of something that checks who you are."""
    chosen = world.random.random()
    for share, line in LOGIN_LINES:
        chosen -= share
        if chosen < 0:
            return line(world)
    return pam_line(world)


def failed_line(world):
    user = world.pick(GUESSED)
    kind = "" if user in ("root", "deploy", "backup") else "invalid user "
    return (
        f"sshd[{world.pid()}]",
        f"Failed password for {kind}{user} from {world.visitor()} port {world.port()} ssh2",
    )


def invalid_line(world):
    return f"sshd[{world.pid()}]", (
        f"Invalid user {world.pick(GUESSED)}{world.number(1, 99)} from {world.visitor()} port {world.port()}"
    )


def closed_line(world):
    return f"sshd[{world.pid()}]", (
        f"Connection closed by authenticating user {world.pick(GUESSED)} {world.visitor()} "
        f"port {world.port()} [preauth]"
    )


def key_line(world):
    user = world.pick(("deploy", "ops", "build"))
    return f"sshd[{world.pid()}]", (
        f"Accepted publickey for {user} from {world.inside()} port {world.port()} ssh2: "
        f"ED25519 SHA256:{world.base64(43)}"
    )


def sudo_line(world):
    command = world.pick(ROOT_COMMANDS)
    command = command % world.number(1, 500) if "%d" in command else command
    user = world.pick(("deploy", "ops"))
    return (
        "sudo",
        f"   {user} : TTY=pts/{world.number(0, 4)} ; PWD=/home/{user} ; USER=root ; COMMAND={command}",
    )


def pam_line(world):
    state = world.pick(("opened", "closed"))
    by = "(uid=0) by (uid=0)" if state == "opened" else ""
    return f"CRON[{world.pid()}]", f"pam_unix(cron:session): session {state} for user root{by}"


LOGIN_LINES = (
    (0.42, failed_line),
    (0.15, invalid_line),
    (0.12, closed_line),
    (0.08, key_line),
    (0.06, sudo_line),
)


def kernel(world, seconds):
    """A message of the kernel with its own stamp since boot."""
    up = f"[{(seconds - clock.START) + 40:12.6f}]"
    if world.chance(0.7):
        return f"{up} {blocked(world)}"
    return (
        f'{up} audit: type=1400 audit({seconds:.3f}:{world.number(100, 99999)}): apparmor="STATUS" '
        f'operation="profile_replace" profile="unconfined" name="docker-default" '
        f'pid={world.pid()} comm="apparmor_parser"'
    )


def blocked(world):
    """A packet the firewall refused."""
    return (
        f"[UFW BLOCK] IN=ens5 OUT= MAC=02:{world.number(10, 99)}:5e:{world.number(10, 99)}:7a:{world.number(10, 99)} "
        f"SRC={world.visitor()} DST=10.0.3.17 LEN={world.number(40, 60)} TOS=0x00 PREC=0x00 TTL={world.number(40, 250)} "
        f"ID={world.number(1, 65535)} PROTO=TCP SPT={world.port()} DPT={world.port()} WINDOW=1024 RES=0x00 SYN URGP=0"
    )
