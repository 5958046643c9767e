"""What the tests of delivery rely on: the real servers start, keep to themselves, and end.

Runs with the system's Python; needs what tests/timesketch/install makes.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import api
import configuration
import servers

PROGRAM = [sys.executable, "-B", os.path.join(HERE, "servers.py")]
LINES = 120


def run(state, *options):
    """Starts `servers.py run`; returns the process and what it said when all were ready."""
    process = subprocess.Popen([*PROGRAM, "run", "--state", state, *options],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, json.loads(process.stdout.readline() or "null")


def end(process):
    """Ends a run as its owner does, by closing its standard input."""
    process.stdin.close()
    process.stdout.close()
    return process.wait()


def storage_file(folder):
    """Makes a storage file with LINES events of a log; returns its content."""
    logs = os.path.join(folder, "tree", "var", "log")
    os.makedirs(logs)
    with open(os.path.join(logs, "syslog"), "w", encoding="utf-8") as log:
        for number in range(LINES):
            minute = f"{number // 60:02}:{number % 60:02}"
            log.write(f"2026-11-01T{minute}:00.000000+00:00 host app[1]: request {number} took {number} ms\n")
    file = os.path.join(folder, "test.plaso")
    command = [configuration.Configuration.program("log2timeline"), "-u", "-q", "--status_view", "none",
               "--logfile", os.path.join(folder, "log.gz"), "--parsers", "text/syslog",
               "--storage_file", file, os.path.join(folder, "tree")]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(file, "rb") as content:
        return content.read()


def listening(pids):
    """The addresses, as the kernel writes them, on which these processes listen."""
    sockets = set()
    for pid in pids:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            try:
                sockets.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
            except FileNotFoundError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in configuration.read(f"/proc/net/{table}").splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                found.add(words[1].partition(":")[0])
    return found


class Locks(unittest.TestCase):
    """What is installed."""

    def test_the_server_has_the_plaso_of_the_agent(self):
        root = os.path.dirname(os.path.dirname(HERE))
        locks = [os.path.join(folder, "requirements.txt") for folder in (HERE, os.path.join(root, "packaging", "plaso"))]
        versions = [[line for line in configuration.read(lock).splitlines() if line.startswith("plaso==")] for lock in locks]
        self.assertEqual(versions[0], versions[1])
        self.assertEqual(len(versions[0]), 1)


class Running(unittest.TestCase):
    """Servers that run, with TLS and one worker."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.state = os.path.join(cls.folder.name, "state")
        cls.process, cls.about = run(cls.state, "--tls")
        cls.addClassCleanup(end, cls.process)
        cls.servers = servers.Servers(cls.state)
        cls.file = os.path.join(cls.state, "servers.json")
        cls.content = storage_file(cls.folder.name)

    def test_they_listen_on_loopback_only(self):
        pids = [pid for pid, _ in self.servers.members()]
        loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
        found = listening(pids)
        self.assertTrue(found)
        self.assertLessEqual(found, loopback)

    def test_no_password_is_in_a_command_or_an_environment(self):
        with open(self.servers.account("second"), encoding="utf-8") as file:
            password = file.read().strip()
        for account in ("second", self.about["user"]):
            self.assertEqual(os.stat(self.servers.path("accounts", account)).st_mode & 0o777, 0o600)
        secrets = [password, configuration.read(self.about["password_file"]).strip(), self.servers.settings["secret"]]
        for pid, _ in self.servers.members():
            seen = configuration.read(f"/proc/{pid}/cmdline") + configuration.read(f"/proc/{pid}/environ")
            for secret in secrets:
                self.assertNotIn(secret, seen)
        api.Client(self.about["url"], "second", password, self.about["ca_file"])

    def test_a_wrong_password_is_refused(self):
        # The server answers with the page for login again.
        with self.assertRaisesRegex(api.Refused, "answered with 200"):
            api.Client(self.about["url"], self.about["user"], "wrong", self.about["ca_file"])

    def test_an_upload_waits_for_the_worker_and_is_then_found_whole(self):
        client = api.connect(self.file)
        sketch = client.make_sketch("waits")
        self.servers.stop(["worker"])
        answer = client.upload(sketch, "one", self.content, "label")
        self.assertEqual(answer.status, 201)
        timeline = answer.json()["objects"][0]["id"]
        found, _ = client.timeline(sketch, timeline)
        self.assertEqual(found["datasources"][0]["status"][0]["status"], "queueing")
        subprocess.run([*PROGRAM, "start", "--state", self.state], check=True, stdout=subprocess.DEVNULL)
        client.await_timeline(sketch, timeline, LINES)
        self.assertEqual(client.count(sketch, 'message:"request 7 took"'), 1)
        messages = {event["message"] for event in client.events(sketch, timeline)}
        self.assertEqual(len(messages), LINES)
        self.assertEqual(client.sketches("waits"), [sketch])

    def test_a_setting_changes_with_a_restart_and_the_address_stays(self):
        command = [*PROGRAM, "restart", "web", "--state", self.state, "--upload"]
        for value, version in (("off", "N/A"), ("on", "20260720")):
            subprocess.run([*command, value], check=True)
            client = api.connect(self.file)
            self.assertEqual(client.url, self.about["url"])
            self.assertEqual(client.get("version/")["meta"]["plaso_version"], version)


class Ending(unittest.TestCase):
    """Servers that end, wanted or not."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = os.path.join(folder.name, "state")

    def left(self):
        """The processes that are left."""
        return list(servers.Servers(self.state).members())

    def test_all_end_when_standard_input_does(self):
        process, _ = run(self.state)
        self.assertEqual(len(servers.Servers(self.state).running()), 4)
        self.assertEqual(end(process), 0)
        self.assertEqual(self.left(), [])

    def test_all_end_when_the_one_who_started_them_is_killed(self):
        process, _ = run(self.state)
        # The end of its standard output, which its guard does not have, would come too early: what
        # is awaited is the end of the servers themselves.
        waiting = [os.pidfd_open(pid) for pid, _ in servers.Servers(self.state).running().values()]
        os.kill(process.pid, signal.SIGKILL)
        end(process)
        for descriptor in waiting:
            self.assertTrue(servers.select.select([descriptor], [], [], 30)[0])
            os.close(descriptor)

    def test_a_server_that_cannot_start_is_named_with_the_end_of_its_log(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            command = [*PROGRAM, "start", "web", "--state", self.state, "--web-port", port]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("servers: web ", done.stderr)
        self.assertIn("logs/web.log ends with:", done.stderr)
        self.assertEqual(self.left(), [])

    def test_a_folder_of_somebody_else_is_not_begun_anew(self):
        os.makedirs(self.state)
        kept = os.path.join(self.state, "kept")
        with open(kept, "w", encoding="utf-8"):
            pass
        done = subprocess.run([*PROGRAM, "start", "--fresh", "--state", self.state], capture_output=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertTrue(os.path.exists(kept))


if __name__ == "__main__":
    unittest.main()
