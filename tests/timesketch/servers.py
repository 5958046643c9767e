#!/usr/bin/env python3
"""Starts and stops a real Timesketch on a real OpenSearch, on loopback, for tests and for people.

usage:
    servers.py start  --state DIR [options]     starts all and returns when all are ready
    servers.py run    --state DIR [NAME...] [options]   the same, or only the named, prints one line of
                                                JSON, and serves until its standard input ends, then stops all
    servers.py try    --state DIR [options]     the same for a person, until Ctrl-C
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
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

from configuration import HERE, NAMES, Configuration, ServerError, read, write

# How long a server may take to get ready, and to end, in seconds.
START, END = 180, 10

# `guard` is for `run` itself: it stops all when the process that it was started by is gone.
ACTIONS = ("start", "run", "try", "stop", "restart", "status", "account", "guard")


def stat(pid):
    """Of a process: state, group, session and time of start; None when there is none."""
    # The name, in brackets, may hold anything.
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (fields[0], int(fields[2]), int(fields[3]), fields[19]) if fields else None


def alive(pid, started):
    """Whether the process that was started then is there and not dead."""
    found = stat(pid)
    return found is not None and found[3] == started and found[0] not in "ZX"


class Servers(Configuration):
    """The servers of one state folder."""

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
                process = subprocess.Popen(command, executable=self.executable(name), cwd=self.state,
                                           env=self.environment(), start_new_session=True,
                                           stdin=subprocess.DEVNULL, stdout=output, stderr=output)
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

    @staticmethod
    def farewell(name, everywhere):
        """The signal to end a server with."""
        # With Redis all that waits is forgotten anyway; only OpenSearch has something to put in order.
        if everywhere and name != "opensearch":
            return signal.SIGKILL
        # On TERM the worker would first finish what it is at, however long that takes; on QUIT it
        # gives back what it has not begun.
        return signal.SIGQUIT if name == "worker" else signal.SIGTERM

    def stop(self, names=NAMES):
        """Stops servers: those at the head of their sessions first, then whatever is left of them."""
        everywhere = set(names) == set(NAMES)
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
                os.kill(int(words[0]), self.farewell(name, everywhere))
        end = time.monotonic() + END
        while any(alive(*head) for head in heads) and time.monotonic() < end:
            select.select([], [], [], 0.05)
        # When all are to end, also one whose file was never written.
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


def greet(about, state):
    """Tells a person what to do with the servers."""
    config, password = os.path.join(state, "dfagent.toml"), os.path.join(state, "password")
    root = "" if os.geteuid() == 0 else "sudo "
    authority = f'\nca_file = "{about["ca_file"]}"' if about["ca_file"] else ""
    print(f"""
Timesketch runs at  {about['url']}
with OpenSearch     {about['opensearch_version']} at {about['opensearch']}
log in as           {about['user']}
with the password   in {about['password_file']}

Open the address and log in. A disk, an image or a folder comes there with these lines, in another
terminal; SOURCE is yours, and `make build` makes target/release/dfagent:

{root}install -m 600 {about['password_file']} {password}
cat >{config} <<'END'
[timesketch]
user = "{about['user']}"
password_file = "{password}"{authority}
END
{root}target/release/dfagent --config {config} process SOURCE --to {about['url']} --work out/jobs

A storage file (.plaso) can also be uploaded in a sketch there, or with the official importer,
{about['importer']}.
Logs are in {about['logs']}. Ctrl-C ends all of it; what was loaded is there again at the next start.
""", flush=True)


def serve(servers, names, person):
    """Says that they are ready and serves: a person until Ctrl-C, else until standard input ends."""
    # What tells the guard that this process is gone, even if it was killed.
    reader, writer = os.pipe()
    guard = subprocess.Popen([sys.executable, "-B", os.path.abspath(__file__), "guard", "--state", servers.state],
                             stdin=reader, stdout=subprocess.DEVNULL, start_new_session=True)
    os.close(reader)
    try:
        # Until here a signal ends this process at once, and the guard stops what was started.
        servers.start(names)
        wake, woken = os.pipe()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: os.write(woken, b"."))
        if person:
            greet(servers.about(), servers.state)
        else:
            print(json.dumps(servers.about()), flush=True)
        calls = [wake] if person else [wake, sys.stdin]
        watched = {os.pidfd_open(pid): (name, pid) for name, (pid, _) in servers.running().items()}
        while True:
            ready, _, _ = select.select([*calls, *watched], [], [])
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
    parser.add_argument("action", choices=ACTIONS)
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
    unknown = set(given.names) - set(NAMES)
    if unknown and given.action != "account":
        raise ServerError(f"no server has the name {min(unknown)}: there are {', '.join(NAMES)}")
    names = given.names or NAMES
    if given.action in ("start", "run", "try"):
        if given.fresh and servers.running():
            raise ServerError(f"servers run in {servers.state}: stop them before all is begun anew")
        servers.prepare(given.fresh, **options(given))
        if given.action == "start":
            servers.start(names)
            show(servers, given.json)
        else:
            serve(servers, names, given.action == "try")
        return
    if not servers.settings:
        raise ServerError(f"there are no servers in {servers.state}: start them first")
    if given.action == "account":
        for name in given.names:
            print(servers.account(name))
        return
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
