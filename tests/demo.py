#!/usr/bin/env python3
"""The demonstration: two volumes are attached, the agent does the rest, and the intrusion is found.

usage: demo.py OUTDIR [--to timesketch|stream]

Makes a GPT disk with an ext4 root (about 50,000 events and a planted intrusion) and an XFS data
disk without a partition table. Starts a udevd and the agent in namespaces of their own, attaches
both disks as new loop devices, and shows the live status until both jobs are done. Then looks for
the planted lines in the timelines. Leaves nothing but OUTDIR. Exits with 1 if a verdict is not
complete or a planted line is missing.

With --to timesketch the events also go to a real Timesketch on loopback, and are looked for there, too. With --to
stream they go straight into its OpenSearch, and have to be found while later slices are still at work.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

import demo_timesketch
import lab.agent as lab

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
NAMESPACE = os.path.join(HERE, "lab", "udev.sh")
DISKS = ("root.img", "data.img")
CASE = "demo"


class Steps:
    """Times the steps and shows them at the end."""

    def __init__(self):
        self.taken = []

    def run(self, name, function, *arguments):
        """Runs a step and returns what it returns."""
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        result = function(*arguments)
        self.taken.append((name, time.monotonic() - started))
        return result


def make_disks(folder):
    """Makes the evidence disks."""
    command = ["/usr/bin/python3", "-B", os.path.join(HERE, "evidence", "disks.py"), "demo", folder]
    subprocess.run(command, check=True)


def run_agent(output, timesketch=None):
    """Lets the agent do its work in namespaces of its own; returns the folders of its jobs by disk."""
    command = [NAMESPACE, "/usr/bin/python3", "-B", os.path.abspath(__file__), output, "--inside"]
    if timesketch:
        command = timesketch.beside(command)
    if os.geteuid() != 0:
        command.insert(0, "sudo")
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        sys.exit(f"demo: the agent's part ended with exit code {code}")
    with open(os.path.join(output, "jobs.json"), encoding="utf-8") as file:
        return json.load(file)


def inside(output):
    """Attaches the disks beside a running agent and shows its status until both are done."""
    attached, progress = {}, []
    with lab.Loops(len(DISKS)) as loops:
        config = os.path.join(output, "dfagent.toml")
        more = read(os.path.join(output, "timesketch.toml"))
        lab.configure(config, os.path.join(output, "agent"), loops.nodes, more, case=CASE)
        with lab.Agent(config) as agent:
            for disk in DISKS:
                attached[disk] = time.monotonic()
                loops.attach(os.path.join(output, "disks", disk))
            with lab.watching(config):
                jobs = agent.wait_until_done(len(DISKS), lambda status: progress.append(at_work(status)))
    folders = {disk: folder for disk in DISKS for id, folder in jobs.items() if id.startswith(disk)}
    for name, value in (("jobs.json", folders), ("attached.json", attached), ("progress.json", progress)):
        with open(os.path.join(output, name), "w", encoding="utf-8") as file:
            json.dump(value, file)
    if os.environ.get("SUDO_UID"):
        owner = (int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
        for folder, _, files in os.walk(output):
            for name in [folder] + [os.path.join(folder, file) for file in files]:
                os.lchown(name, *owner)


def at_work(status):
    """When it is, and of each disk whose job is at work: slices done, slices in all, and the names of those at work."""
    running = {}
    for job in status["jobs"]:
        progress = job["progress"]
        if job["job"]["state"]["name"] == "running" and progress and progress["slices"]:
            names = [one["name"] for one in progress["at_work"]]
            disk = next(disk for disk in DISKS if job["job"]["id"].startswith(disk))
            running[disk] = [progress["slices_done"], progress["slices"], names]
    return [time.monotonic(), running]


def read(path):
    """A file's text; nothing where there is no file."""
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        return file.read()
    return ""


def find_planted(planted, jobs):
    """Finds the planted lines; returns a list of (entry, number of events, first event)."""
    found = [[entry, 0, None] for entry in planted]
    for disk, job in jobs.items():
        wanted = [row for row in found if row[0]["disk"] == disk]
        with open(os.path.join(job, "timeline.jsonl"), encoding="utf-8") as timeline:
            for line in timeline:
                event = json.loads(line)
                for row in wanted:
                    same = event["data_type"] == row[0]["data_type"]
                    if same and row[0]["needle"] in event["message"]:
                        row[1] += 1
                        row[2] = row[2] or event
    return found


def show_found(found):
    """Prints the planted lines as they stand in the timelines, in order of time."""
    for entry, count, event in sorted(found, key=lambda row: row[2]["timestamp"] if row[2] else 0):
        if event is None:
            print(f"MISSING  {entry['disk']}: {entry['needle']}")
            continue
        message = event["message"]
        message = message if len(message) <= 100 else message[:99] + "…"
        print(f"{event['datetime'][:19]}  {entry['disk']:8} {count:4} x  {message}")


def show_results(jobs, steps):
    """Prints verdicts, counts, places and times; returns whether all is complete."""
    complete = True
    for disk, job in jobs.items():
        with open(os.path.join(job, "manifest.json"), encoding="utf-8") as file:
            manifest = json.load(file)
        level = manifest["verdict"]["level"]
        complete = complete and level == "complete"
        documents = manifest["timeline"]["documents"]
        print(f"{disk:8} {level:8} {documents:6} events in {len(manifest['slices'])} slices  {job}")
    print("\ntime:")
    for name, seconds in steps.taken:
        print(f"{seconds:6.1f} s  {name}")
    print(f"{sum(seconds for _, seconds in steps.taken):6.1f} s  in all")
    return complete


def look_into(timesketch, steps, jobs, planted):
    """Looks for all events and for the planted lines in Timesketch; returns whether all are there."""
    same = steps.run("the events, counted in the files and found in Timesketch", timesketch.compare, jobs)
    found = steps.run("the planted intrusion, as a search in Timesketch finds it", timesketch.find_planted, planted)
    show_found(found)
    missing = sum(1 for _, count, _ in found if count == 0)
    print(f"\n{len(found) - missing} of {len(found)} planted lines found in Timesketch")
    if timesketch.streams:
        early = steps.run("what a search found while slices were still at work", timesketch.show_early)
        same = same and early > 0
    steps.run("a picture of Timesketch's own page", timesketch.take_picture)
    timesketch.farewell()
    return same and not missing


def demonstrate(output, to):
    """Makes the disks, lets the agent work, and shows what was found; returns the exit code."""
    disks = os.path.join(output, "disks")
    os.makedirs(disks)
    steps = Steps()
    steps.run("making two evidence disks", make_disks, disks)
    with contextlib.ExitStack() as stack:
        timesketch = None
        if to:
            begin = demo_timesketch.Timesketch
            name = "a real Timesketch starts on loopback"
            timesketch = stack.enter_context(steps.run(name, begin, output, CASE, to == "stream"))
        jobs = steps.run("two volumes are attached beside a running agent", run_agent, output, timesketch)
        with open(os.path.join(disks, "planted.json"), encoding="utf-8") as file:
            planted = json.load(file)
        found = steps.run("the planted intrusion, as found in the timelines", find_planted, planted, jobs)
        show_found(found)
        there = look_into(timesketch, steps, jobs, planted) if timesketch else True
    print("\n== results")
    complete = show_results(jobs, steps)
    missing = sum(1 for _, count, _ in found if count == 0)
    print(f"\n{len(found) - missing} of {len(found)} planted lines found")
    return 0 if complete and there and not missing else 1


def main():
    """Runs the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="folder for disks and results; what is in it is replaced")
    parser.add_argument("--to", choices=["timesketch", "stream"], help="where the events go besides")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    output = os.path.abspath(arguments.output)
    if arguments.inside:
        return inside(output)
    if os.path.isdir(output):
        shutil.rmtree(output)
    return demonstrate(output, arguments.to)


if __name__ == "__main__":
    sys.exit(main())
