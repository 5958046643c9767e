"""The demonstration's way into a real Timesketch: servers, delivery, what a search finds, a picture.

As a program, started as root by demo.py: demo_timesketch.py OUTDIR COMMAND...
runs the command beside `dfagent deliver`, which stays outside the command's namespaces, so that the two
share their folders and nothing else.

What is found is asked for with the tests' own client. Must not believe what delivery says of itself.
"""

import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

import lab.agent as lab
from lab import browser

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "timesketch"))

import api

PYTHON = [sys.executable, "-B"]
SERVERS = os.path.join(HERE, "timesketch", "servers.py")

# A person searches for bare words, too; see the Makefile.
SETTINGS = ["--opensearch-set", "indices.query.bool.max_clause_count=8192"]

# The account of delivery in the packaged configuration; where there is none, the agent's number for it.
ACCOUNT, NUMBER = "dfagent-delivery", 60907

# Seconds between two looks at what can be found.
PACE = 1

# For the picture: what the intruder's address left on both hosts, without the 170 guesses.
STORY = '"203.0.113.66" AND NOT message:("Failed password" OR Hostname)'


# Planted lines that are looked for at each look.
AT_ONCE = 4

# Lines of those that were found early.
SHOWN = 8


def query_for(entry):
    """The search for a planted line."""
    words = entry["needle"].replace("\\", "\\\\").replace('"', '\\"')
    return f'data_type:"{entry["data_type"]}" AND message:"{words}"'


def api_events(answer, entry):
    """The events of an answer that are the planted line to the letter; none where nothing could be searched."""
    if answer.status != 200:
        return []
    events = [event["_source"] for event in answer.json()["objects"]]
    return [event for event in events if entry["needle"] in event["message"]]


class Watch(threading.Thread):
    """Searches for everything in a sketch, again and again, and notes when how much was found."""

    def __init__(self, file, case, planted):
        super().__init__(daemon=True)
        self.client, self.case = api.connect(file), case
        self.sketch = None
        self.seen = []
        # What is looked for meanwhile, and what of it was found when.
        self.wanted, self.early = list(planted), []
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(PACE):
            self.look()

    def look(self):
        """One look. A server that is too busy to answer has not found anything."""
        try:
            if self.sketch is None:
                self.sketch = next(iter(self.client.sketches(self.case)), None)
                return
            answer = self.client.search(self.sketch, "*", size=1)
            for entry in self.wanted[:AT_ONCE]:
                self.look_for(entry)
        except (OSError, api.Refused):
            return
        # Without a timeline that is ready the server refuses to search.
        if answer.status == 200:
            self.seen.append((time.monotonic(), answer.json()["meta"]["count_per_timeline"]))

    def look_for(self, entry):
        """Looks for a planted line; it is looked for again when it is not there."""
        answer = self.client.search(self.sketch, query_for(entry), size=1000, fields="message,evidence_volume")
        found = [event.get("evidence_volume", "") for event in api_events(answer, entry)]
        self.wanted.remove(entry)
        if any(volume.startswith(entry["disk"]) for volume in found):
            self.early.append((time.monotonic(), entry))
        else:
            self.wanted.append(entry)

    def end(self):
        """Looks for the last time."""
        self.ended.set()
        self.join()
        self.look()

    def reached(self, timelines, least):
        """When so many events of these timelines were found first."""
        for moment, counts in self.seen:
            if sum(counts.get(str(timeline), 0) for timeline in timelines) >= least:
                return moment
        return None


class Timesketch:
    """Real servers, until the block is left, and what can be found in them."""

    def __init__(self, output, case, streams=False):
        self.output, self.case, self.streams = output, case, streams
        self.state = os.path.join(output, "servers")
        command = [*PYTHON, SERVERS, "run", "--fresh", "--state", self.state, *SETTINGS]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        if not said:
            sys.exit(f"demo: Timesketch could not be started (exit code {self.process.wait()})")
        self.about = json.loads(said)
        print(f"{self.about['url']} with OpenSearch {self.about['opensearch_version']}")
        self.file = os.path.join(self.state, "servers.json")
        self.watch = None
        self.volumes = {}

    def __enter__(self):
        self.configure()
        self.watch = Watch(self.file, self.case, self.planted() if self.streams else [])
        self.watch.start()
        return self

    def __exit__(self, *_):
        self.watch.ended.set()
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def planted(self):
        """The planted lines."""
        return read(os.path.join(self.output, "disks"), "planted.json")

    def configure(self):
        """Writes what agent and delivery have in common, and delivery's configuration."""
        user, number = account(self.output)
        password = os.path.join(self.output, "password")
        shutil.copyfile(self.about["password_file"], password)
        os.chmod(password, 0o600)
        if os.geteuid() == 0:
            os.chown(password, number, number)
        tables = f"""[delivery]
to = "{'stream' if self.streams else 'upload'}"
user = "{user}"
directory = "{self.output}/delivery"
[timesketch]
url = "{self.about['url']}"
user = "{self.about['user']}"
password_file = "{password}"
[opensearch]
url = "{self.about['opensearch']}"
"""
        with open(os.path.join(self.output, "timesketch.toml"), "w", encoding="utf-8") as file:
            file.write(tables)
        with open(os.path.join(self.output, "deliver.toml"), "w", encoding="utf-8") as file:
            file.write(f'[agent]\ndirectory = "{self.output}/agent"\n{tables}')

    def beside(self, command):
        """The command that runs a command beside delivery."""
        return [*PYTHON, os.path.abspath(__file__), self.output, *command]

    # What is there when the jobs are done.

    def compare(self, jobs):
        """Prints counts and times of each volume; returns whether all that was exported is found."""
        self.watch.end()
        with open(os.path.join(self.output, "attached.json"), encoding="utf-8") as file:
            attached = json.load(file)
        names = {line["id"]: line["name"] for line in self.watch.client.timelines(self.watch.sketch)}
        same = True
        for disk, job in jobs.items():
            exported = read(job, "manifest.json")["timeline"]["documents"]
            slices = read(job, "delivery.json")["slices"]
            # Of a stream all slices are one timeline.
            timelines = sorted({one["timeline"]["id"] for one in slices if one["timeline"]})
            self.volumes[disk] = timelines
            found = self.watch.client.count(self.watch.sketch, "*", timelines) if timelines else 0
            same = same and found == exported
            sign = "=" if found == exported else "BUT"
            print(f"{disk}: {exported} events exported {sign} {found} found, timelines: {len(timelines)}")
            for words, least in (("the first can be found", 1), ("all can be found", exported)):
                moment = self.watch.reached(timelines, least)
                after = "NEVER" if moment is None else f"{moment - attached[disk]:.0f} s after the attachment"
                print(f"  {words + ':':24} {after}")
            for timeline in timelines:
                print(f"  {names.pop(timeline, 'MISSING')}")
        if names:
            print(f"timelines that nobody asked for: {', '.join(names.values())}")
        return same and not names

    def find_planted(self, planted):
        """Searches for the planted lines; returns a list of (entry, number of events, first event)."""
        found = []
        for entry in planted:
            query = query_for(entry)
            timelines = self.volumes[entry["disk"]]
            answer = self.watch.client.search(self.watch.sketch, query, timelines, size=1000)
            if answer.status != 200:
                sys.exit(f"demo: the search for {query} was answered with {answer!r}")
            # The search goes by words; what was planted is compared to the letter.
            events = api_events(answer, entry)
            found.append([entry, len(events), events[0] if events else None])
        return found

    def show_early(self):
        """Prints planted lines that a search found while slices of their disk were still at work; returns how many."""
        progress = read(self.output, "progress.json")
        attached = read(self.output, "attached.json")
        lines = []
        for moment, entry in self.watch.early:
            # Only what was at work before and after the search certainly was at work then.
            before = [running for at, running in progress if at <= moment][-1:]
            after = [running for at, running in progress if at > moment][:1]
            disk = entry["disk"]
            if not (before and after and disk in before[0] and disk in after[0]):
                continue
            done, slices, names = after[0][disk]
            if done < slices:
                seconds = moment - attached[disk]
                work = ", ".join(names) or "between two slices"
                lines.append(f"{seconds:4.0f} s  {disk}: {done} of {slices} slices done, at work: {work}\n"
                             f"        found: {entry['needle'][:90]}")
        for line in lines[:SHOWN]:
            print(line)
        print(f"\n{len(lines)} of {len(self.watch.early)} planted lines were found while slices were still at work")
        return len(lines)

    def link(self, query=None):
        """The address of the sketch's page, or of a search in it."""
        page = f"{self.about['url']}/sketch/{self.watch.sketch}/explore"
        return page if query is None else f"{page}?{urllib.parse.urlencode({'q': query})}"

    def take_picture(self):
        """A picture of what an analyst sees; without one the demonstration goes on, and says so."""
        path = os.path.join(self.output, "timesketch.png")
        with open(self.about["password_file"], encoding="utf-8") as file:
            password = file.read().strip()
        try:
            with browser.Browser() as page:
                page.open(f"{self.about['url']}/login/?local_auth=1")
                page.type('//input[@name="username"]', self.about["user"])
                page.type('//input[@name="password"]', password)
                page.click('//button[@type="submit"] | //input[@type="submit"]')
                # The list of sketches, which is there when the login is done.
                page.find(f'//a[contains(@href, "/sketch/{self.watch.sketch}")]')
                page.open(self.link(STORY))
                page.find('//td[contains(., "Successful login of user: backup")]')
                page.settle()
                page.picture(path)
                if page.count('//*[contains(@class, "v-snack--active") or contains(@class, "v-dialog--active")]'):
                    print("THE PAGE SHOWS A MESSAGE that should not be in the picture")
        except browser.BrowserError as error:
            print(f"NO PICTURE: {error}")
            return
        print(path)

    def farewell(self):
        """Says how to look at it again."""
        state = os.path.relpath(self.state)
        print(f"\nto look at it yourself: /usr/bin/python3 -B {os.path.relpath(SERVERS)} try --state {state}")
        print(f"and then open {self.link()}")


def account(output):
    """Name and number of delivery's account: whoever is behind sudo, or else nobody."""
    number = os.getuid() or int(os.environ.get("SUDO_UID", 0))
    if number:
        return pwd.getpwuid(number).pw_name, number
    folder = output
    while folder != "/":
        if not os.stat(folder).st_mode & 0o001:
            print(f"delivery runs as root: nobody else may pass through {folder}")
            return "root", 0
        folder = os.path.dirname(folder)
    try:
        return ACCOUNT, pwd.getpwnam(ACCOUNT).pw_uid
    except KeyError:
        return ACCOUNT, NUMBER


def read(job, name):
    """A record in a job's folder."""
    with open(os.path.join(job, name), encoding="utf-8") as file:
        return json.load(file)


def main():
    """Runs a command beside delivery, and ends it when delivery ends by itself."""
    output, command = sys.argv[1], sys.argv[2:]
    path = os.path.join(output, "deliver.log")
    with open(path, "wb") as log:
        deliver = subprocess.Popen([lab.PROGRAM, "--config", os.path.join(output, "deliver.toml"), "deliver"],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    # In a group of its own, to be ended as Ctrl-C would end it: in order, loop devices removed.
    agent = subprocess.Popen(command, process_group=0)
    try:
        select.select([os.pidfd_open(process.pid) for process in (deliver, agent)], [], [])
    except KeyboardInterrupt:
        print("stopping", flush=True)
    finally:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGINT)
    code = agent.wait()
    deliver.terminate()
    if deliver.wait() != 0:
        sys.exit(f"demo: delivery ended with exit code {deliver.returncode}; {path} says why")
    sys.exit(code)


if __name__ == "__main__":
    main()
