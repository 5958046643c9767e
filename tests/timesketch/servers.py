#!/usr/bin/env python3
"""Starts and stops a real Timesketch on a real OpenSearch, on loopback, for tests and for people.

usage:
    servers.py start  --state DIR [options]     starts all and returns when all are ready
    servers.py run    --state DIR [options]     the same, prints one line of JSON, and serves until
                                                its standard input ends, then stops all
    servers.py stop   --state DIR [NAME...]     stops all, or the named
    servers.py restart --state DIR NAME... [options]
    servers.py status --state DIR [--json]
    servers.py account --state DIR NAME         makes one more account; prints its password file

NAME is redis, opensearch, web or worker. What tests need to know stands in DIR/servers.json.
Installed by tests/timesketch/install. Must not listen anywhere but on loopback, must not end a
process that it did not start, and must not put a password into a list of processes.
"""

import argparse
import contextlib
import json
import os
import random
import secrets
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
INSTALLED = os.path.join(os.path.dirname(os.path.dirname(HERE)), "target", "timesketch")
NAMES = ("redis", "opensearch", "web", "worker")

# How long a server may take to get ready, and to end, in seconds.
START, END = 180, 10

# Below the ports that the kernel gives to outgoing connections: what is free here stays free
# between two starts of a server.
PORTS = range(20000, 32000)

DEFAULTS = {
    "opensearch": "2.19.5",
    "worker_count": 1,
    "heap": "1g",
    "tls": False,
    "user": "dfagent",
    "set": {},
    "opensearch_set": {},
}


class ServerError(Exception):
    """A server could not be started or did not get ready."""


def write(path, text, mode=0o644):
    """Writes a file as a whole, by rename."""
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(new, path)


def read(path, default=""):
    """Reads a file that may not be there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return default


def free_port(taken):
    """A port that nobody listens on and that is not taken."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in taken:
                return port


def stat(pid):
    """Of a process: state, group, session and time of start; None when there is none."""
    # The name, in brackets, may hold anything.
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (fields[0], int(fields[2]), int(fields[3]), fields[19]) if fields else None


def alive(pid, started):
    """Whether the process that was started then is there and not dead."""
    found = stat(pid)
    return found is not None and found[3] == started and found[0] not in "ZX"


class Servers:
    """The servers of one state folder."""

    def __init__(self, state):
        self.state = os.path.abspath(state)
        self.settings = json.loads(read(self.path("settings.json"), "{}"))

    def path(self, *parts):
        """A path in the state folder."""
        return os.path.join(self.state, *parts)

    # What is written before a start.

    def prepare(self, fresh=False, **options):
        """Makes the state folder, or takes what is there, and remembers the options given."""
        if fresh and os.path.exists(self.state):
            if os.listdir(self.state) and not os.path.exists(self.path("settings.json")):
                raise ServerError(f"{self.state} is not a folder of these servers: it is left as it is")
            shutil.rmtree(self.state)
            self.settings = {}
        for folder in ("accounts", "logs", "upload", "psort-logs", "redis", "home", "opensearch/config"):
            os.makedirs(self.path(folder), mode=0o700, exist_ok=True)
        self.change(**options)
        if not os.path.exists(self.path("timesketch.db")):
            shutil.copyfile(os.path.join(INSTALLED, "python", "empty.db"), self.path("timesketch.db"))
        self.add_password(self.settings["user"])
        if self.settings["tls"] and not os.path.exists(self.path("tls", "key.pem")):
            self.make_certificates()

    def change(self, **options):
        """Changes settings and writes the servers' own configurations anew."""
        settings = {**DEFAULTS, "secret": secrets.token_urlsafe(32), "ports": {}, **self.settings}
        for name, value in options.items():
            if value is None:
                continue
            settings[name] = {**settings[name], **value} if isinstance(value, dict) else value
        for name in ("redis", "opensearch", "web"):
            if name not in settings["ports"]:
                settings["ports"][name] = free_port(settings["ports"].values())
        self.settings = settings
        write(self.path("settings.json"), json.dumps(settings, indent=1), 0o600)
        lines = {
            "discovery.type": "single-node",
            "network.host": "127.0.0.1",
            "http.port": settings["ports"]["opensearch"],
            "transport.port": 0,
            # A full disk must not turn the indexes of a test read-only.
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            **settings["opensearch_set"],
        }
        text = "".join(f"{key}: {value}\n" for key, value in lines.items())
        write(self.path("opensearch", "config", "opensearch.yml"), text)
        shutil.copy(os.path.join(HERE, "opensearch", "log4j2.properties"), self.path("opensearch", "config"))
        write(self.path("timesketch.conf"), self.configuration(), 0o600)

    @property
    def url(self):
        """Where the web server is."""
        return f"{'https' if self.settings['tls'] else 'http'}://127.0.0.1:{self.settings['ports']['web']}"

    def configuration(self):
        """Timesketch's configuration. It is Python, so that what is assigned last counts."""
        share = os.path.join(INSTALLED, "python", "share", "timesketch", "")
        broker = f"redis://127.0.0.1:{self.settings['ports']['redis']}"
        values = {
            "SECRET_KEY": self.settings["secret"],
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{self.path('timesketch.db')}",
            "SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"timeout": 60}},
            "OPENSEARCH_HOSTS": [{"host": "127.0.0.1", "port": self.settings["ports"]["opensearch"]}],
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": broker,
            "UPLOAD_ENABLED": True,
            "UPLOAD_FOLDER": self.path("upload"),
            "PSORT_PATH": os.path.join(INSTALLED, "python", "bin", "psort"),
            "PLASO_LOG_FOLDER": self.path("psort-logs"),
            "DATA_FINDER_PATH": share + "data_finder.yaml",
            "PLASO_MAPPING_FILE": share + "plaso.mappings",
            "GENERIC_MAPPING_FILE": share + "generic.mappings",
            "PLASO_FORMATTERS": share + "plaso_formatters.yaml",
            "SIGMA_CONFIG": share + "sigma_config.yaml",
            "INTELLIGENCE_TAG_METADATA": share + "intelligence_tag_metadata.yaml",
            "CONTEXT_LINKS_CONFIG_PATH": share + "context_links.yaml",
            "EXTERNAL_HOST_URL": self.url,
            **self.settings["set"],
        }
        shipped = read(share + "timesketch.conf")
        return shipped + "\n" + "".join(f"{name} = {value!r}\n" for name, value in values.items())

    def add_password(self, name):
        """Makes a password for an account that has none; returns the file it is in."""
        file = self.path("accounts", name)
        if not os.path.exists(file):
            write(file, secrets.token_urlsafe(18) + "\n", 0o600)
        return file

    def make_certificates(self):
        """Makes an authority and a certificate for loopback."""
        folder = self.path("tls")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        for more in (
            ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority",
             "-addext", "keyUsage=critical,keyCertSign"],
            ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost", "-CA", "ca.pem", "-CAkey", "ca.key",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"],
        ):
            done = subprocess.run(new + more, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServerError(f"openssl made no certificate: {done.stderr.strip()}")

    # The commands.

    def command(self, name):
        """The command of a server."""
        return getattr(self, f"command_{name}")()

    def command_redis(self):
        """Redis, which keeps nothing on disk."""
        port = str(self.settings["ports"]["redis"])
        return ["redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
                "--dir", self.path("redis")]

    def command_opensearch(self):
        """OpenSearch, with the archive of classes that the installation made."""
        place = os.path.join(INSTALLED, f"opensearch-{self.settings['opensearch']}")
        java = read(os.path.join(place, "java")).strip()
        if not java:
            raise ServerError(f"OpenSearch {self.settings['opensearch']} is not in {place}: run "
                              f"OPENSEARCH_VERSION={self.settings['opensearch']} tests/timesketch/install target/timesketch")
        heap = self.settings["heap"]
        return [os.path.join(java, "bin", "java"), f"-Xms{heap}", f"-Xmx{heap}", "-XX:+UseG1GC",
                f"-XX:SharedArchiveFile={place}/classes.jsa", "-Xlog:disable", "-Xlog:all=error:stderr",
                "--enable-native-access=ALL-UNNAMED", "--add-modules=jdk.incubator.vector",
                f"-Djava.io.tmpdir={self.path('opensearch')}", "-cp", f"{place}/lib/*", "SingleNode",
                self.path("opensearch")]

    def command_web(self):
        """The web server, with as many threads as Timesketch's own."""
        tls = ["--certfile", self.path("tls", "cert.pem"), "--keyfile", self.path("tls", "key.pem")]
        return [self.program("gunicorn"), "--bind", f"127.0.0.1:{self.settings['ports']['web']}",
                "--error-logfile", "-", "--access-logfile", "-", "--no-control-socket", "--timeout", "600",
                "--graceful-timeout", "2", "--limit-request-line", "8190", "--worker-class", "gthread",
                "--workers", "1", "--threads", "4", "--pythonpath", HERE, *(tls if self.settings["tls"] else []),
                "web:application"]

    def command_worker(self):
        """The worker, which runs psort over what was uploaded."""
        return [self.program("celery"), "-A", "timesketch.lib.tasks", "worker", "--loglevel=info",
                f"--concurrency={self.settings['worker_count']}", "--without-gossip", "--without-mingle"]

    @staticmethod
    def program(name):
        """A program of Timesketch's environment."""
        return os.path.join(INSTALLED, "python", "bin", name)

    def environment(self):
        """What the servers see of the environment: nothing of the caller's but where things are."""
        return {
            "PATH": f"{os.path.join(INSTALLED, 'python', 'bin')}:/usr/local/bin:/usr/bin:/bin",
            "HOME": self.path("home"),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TIMESKETCH_SETTINGS": self.path("timesketch.conf"),
            "DFAGENT_TEST_ACCOUNTS": self.path("accounts"),
            # By this a process is known as one of these servers', or as started by one of them.
            "DFAGENT_TEST_SERVERS": self.state,
        }

    # Starting.

    def running(self):
        """The servers that run: name to (pid, start)."""
        found = {}
        for name in NAMES:
            words = read(self.path(f"{name}.pid")).split()
            if len(words) == 2 and alive(int(words[0]), words[1]):
                found[name] = (int(words[0]), words[1])
        return found

    def start(self, names=NAMES):
        """Starts servers, all at once, and returns when all are ready."""
        names = [name for name in names if name not in self.running()]
        try:
            for name in names:
                self.spawn(name)
            self.await_ready(names)
        except BaseException:
            self.stop(names)
            raise
        write(self.path("servers.json"), json.dumps(self.about(), indent=1) + "\n", 0o600)

    def spawn(self, name):
        """Starts a server in a session of its own."""
        command = self.command(name)
        log = self.path("logs", f"{name}.log")
        if os.path.exists(log):
            os.replace(log, f"{log}.1")
        with open(log, "wb") as output:
            try:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                           cwd=self.state, env=self.environment(), start_new_session=True)
            except OSError as error:
                raise ServerError(f"{name} could not be started: {error}") from error
        found = stat(process.pid)
        write(self.path(f"{name}.pid"), f"{process.pid} {found[3] if found else 0}\n")

    def await_ready(self, names):
        """Waits until the servers are ready, and gives up when one dies or takes too long."""
        end = time.monotonic() + START
        waiting = set(names)
        while waiting:
            for name in sorted(waiting):
                # Asked in this order, so that one that died after its answer is noticed next time.
                up = name in self.running()
                if self.ready(name):
                    waiting.discard(name)
                elif not up:
                    raise ServerError(f"{name} ended instead of getting ready\n{self.tail(name)}")
            if waiting and time.monotonic() > end:
                name = min(waiting)
                raise ServerError(f"{name} is not ready after {START} s\n{self.tail(name)}")
            if waiting:
                select.select([], [], [], 0.1)

    def tail(self, name):
        """The end of a server's log."""
        log = self.path("logs", f"{name}.log")
        return f"{log} ends with:\n" + "".join(read(log).splitlines(keepends=True)[-20:])

    def ready(self, name):
        """Whether a server answers."""
        if name == "worker":
            return " ready.\n" in read(self.path("logs", "worker.log"))
        if name == "redis":
            with contextlib.suppress(OSError):
                with socket.create_connection(("127.0.0.1", self.settings["ports"]["redis"]), 1) as link:
                    link.sendall(b"PING\r\n")
                    return link.recv(16).startswith(b"+PONG")
            return False
        port = self.settings["ports"]["opensearch"]
        url = f"http://127.0.0.1:{port}/_cluster/health" if name == "opensearch" else f"{self.url}/login/"
        # The servers are on loopback; no proxy that the environment names has to do with them.
        trust = ssl.create_default_context(cafile=self.path("tls", "ca.pem")) if url.startswith("https") else None
        handlers = [urllib.request.ProxyHandler({})] + ([urllib.request.HTTPSHandler(context=trust)] if trust else [])
        try:
            with urllib.request.build_opener(*handlers).open(url, timeout=5) as answer:
                return answer.status == 200
        except (OSError, urllib.error.HTTPError):
            return False

    def about(self):
        """What tests need to know."""
        return {
            "url": self.url,
            "opensearch": f"http://127.0.0.1:{self.settings['ports']['opensearch']}",
            "opensearch_version": self.settings["opensearch"],
            "redis": f"redis://127.0.0.1:{self.settings['ports']['redis']}",
            "user": self.settings["user"],
            "password_file": self.path("accounts", self.settings["user"]),
            "ca_file": self.path("tls", "ca.pem") if self.settings["tls"] else None,
            "upload_folder": self.path("upload"),
            "logs": self.path("logs"),
            "settings": self.path("timesketch.conf"),
            "importer": self.program("timesketch_importer"),
        }

    def account(self, name):
        """Makes an account beside a running server; returns its password file."""
        file = self.add_password(name)
        command = [self.program("python"), os.path.join(HERE, "web.py")]
        done = subprocess.run(command, env=self.environment(), cwd=self.state, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerError(f"the account {name} could not be made: {done.stderr[-2000:]}")
        return file

    # Stopping.

    def members(self, sessions=None):
        """The processes that were started from this state folder, in these sessions or in any."""
        mark = f"DFAGENT_TEST_SERVERS={self.state}".encode()
        for entry in os.listdir("/proc"):
            found = stat(entry) if entry.isdigit() else None
            if found is None or found[0] in "ZX" or (sessions is not None and found[2] not in sessions):
                continue
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    yield int(entry), found[3]

    def stop(self, names=NAMES):
        """Stops servers: those at the head of their sessions first, then whatever is left of them."""
        heads, sessions = [], set()
        for name in names:
            words = read(self.path(f"{name}.pid")).split()
            # Without its file a server is not missed when it ends.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(f"{name}.pid"))
            if len(words) != 2:
                continue
            sessions.add(int(words[0]))
            if alive(int(words[0]), words[1]):
                heads.append((int(words[0]), words[1]))
                # On TERM the worker would first finish what it is at, however long that takes.
                os.kill(int(words[0]), signal.SIGQUIT if name == "worker" else signal.SIGTERM)
        end = time.monotonic() + END
        while any(alive(*head) for head in heads) and time.monotonic() < end:
            select.select([], [], [], 0.05)
        # When all are to end, also one whose file was never written.
        everywhere = set(names) == set(NAMES)
        while left := list(self.members(None if everywhere else sessions)):
            for process, started in left:
                if alive(process, started):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
            select.select([], [], [], 0.02)

    def restart(self, names):
        """Stops servers and starts them again, at the same addresses."""
        self.stop(names)
        self.start(names)


def serve(servers):
    """Says that all are ready and serves until standard input ends or a signal comes."""
    # What tells the guard that this process is gone, even if it was killed.
    reader, writer = os.pipe()
    guard = subprocess.Popen([sys.executable, "-B", os.path.abspath(__file__), "guard", "--state", servers.state],
                             stdin=reader, stdout=subprocess.DEVNULL, start_new_session=True)
    os.close(reader)
    try:
        # Until here a signal ends this process at once, and the guard stops what was started.
        servers.start()
        wake, woken = os.pipe()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: os.write(woken, b"."))
        print(json.dumps(servers.about()), flush=True)
        watched = {os.pidfd_open(pid): (name, pid) for name, (pid, _) in servers.running().items()}
        while True:
            ready, _, _ = select.select([sys.stdin, wake, *watched], [], [])
            for ended in [each for each in ready if each in watched]:
                name, pid = watched.pop(ended)
                os.waitpid(pid, 0)
                os.close(ended)
                # Nobody stopped it.
                if read(servers.path(f"{name}.pid")).split()[:1] == [str(pid)]:
                    print(f"servers: {name} ended by itself\n{servers.tail(name)}", file=sys.stderr, flush=True)
            if wake in ready or (sys.stdin in ready and not os.read(sys.stdin.fileno(), 4096)):
                break
    finally:
        servers.stop()
        os.close(writer)
        guard.wait()


def show(servers, as_json):
    """Prints what runs and where."""
    running = servers.running()
    if as_json:
        print(json.dumps({**servers.about(), "running": sorted(running)}))
        return
    for name in NAMES:
        state = f"runs as process {running[name][0]}" if name in running else "does not run"
        print(f"{name:10} {state}")
    for key, value in servers.about().items():
        print(f"{key:18} {value}")


def pair(text):
    """Reads NAME=VALUE, where VALUE is JSON or else a plain word."""
    name, _, value = text.partition("=")
    try:
        return {name: json.loads(value)}
    except ValueError:
        return {name: value}


def arguments():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["start", "run", "stop", "restart", "status", "account", "guard"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="redis, opensearch, web, worker, or an account")
    parser.add_argument("--state", required=True, help="the folder in which everything is kept")
    parser.add_argument("--fresh", action="store_true", help="begin with nothing of what the folder holds")
    parser.add_argument("--worker-count", type=int, help="imports at the same time (1)")
    parser.add_argument("--opensearch", metavar="VERSION", help="2.19.5 or 3.8.0")
    parser.add_argument("--heap", help="memory of OpenSearch (1g)")
    parser.add_argument("--user", help="the first account (dfagent)")
    parser.add_argument("--tls", action="store_true", default=None, help="serve HTTPS, with an authority of its own")
    parser.add_argument("--upload", choices=["on", "off"], help="whether the server takes uploads")
    parser.add_argument("--web-port", type=int, help="instead of a free one")
    parser.add_argument("--set", action="append", type=pair, default=[], metavar="NAME=JSON",
                        help="a setting of Timesketch; SECRET_KEY ends all sessions")
    parser.add_argument("--opensearch-set", action="append", type=pair, default=[], metavar="NAME=VALUE",
                        help="a setting of OpenSearch")
    parser.add_argument("--json", action="store_true", help="status as JSON")
    return parser.parse_intermixed_args()


def options(given):
    """The settings that the command line changes."""
    changed = {name: getattr(given, name) for name in ("worker_count", "opensearch", "heap", "user", "tls")}
    changed["set"] = {name: value for each in given.set for name, value in each.items()}
    if given.upload:
        changed["set"]["UPLOAD_ENABLED"] = given.upload == "on"
    changed["opensearch_set"] = {name: value for each in given.opensearch_set for name, value in each.items()}
    if given.web_port:
        changed["ports"] = {"web": given.web_port}
    return changed


def main():
    """Does what the command line asks for."""
    given = arguments()
    servers = Servers(given.state)
    if given.action == "guard":
        os.read(sys.stdin.fileno(), 1)
        servers.stop()
        return
    if given.action in ("start", "run"):
        servers.prepare(given.fresh, **options(given))
        if given.action == "run":
            serve(servers)
        else:
            servers.start()
            show(servers, given.json)
        return
    if not servers.settings:
        raise ServerError(f"there are no servers in {servers.state}: start them first")
    if given.action == "account":
        for name in given.names:
            print(servers.account(name))
        return
    unknown = set(given.names) - set(NAMES)
    if unknown:
        raise ServerError(f"no server has the name {min(unknown)}: there are {', '.join(NAMES)}")
    names = given.names or NAMES
    if given.action == "stop":
        servers.stop(names)
    elif given.action == "restart":
        servers.change(**options(given))
        servers.restart(names)
    else:
        show(servers, given.json)


if __name__ == "__main__":
    try:
        main()
    except ServerError as error:
        sys.exit(f"servers: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
