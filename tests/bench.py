#!/usr/bin/env python3
"""Measures today's flow against dfagent on the same evidence, in interleaved rounds.

usage: bench.py OUTDIR [--events N] [--rounds R]

Today's flow is one `log2timeline --workers 2` with the same filter and parsers, then one
`psort -o json_line`. Figures are ratios within one run; absolute times belong to this machine.
CPU time and peak memory are of the whole tree of processes, by a control group (v2) of its own.
Prints, and asserts nothing but that both flows give the same documents.
"""

import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PROGRAM = os.path.join(ROOT, "target", "release", "dfagent")
PLASO = os.path.join(ROOT, "target", "plaso")
SHARE = os.path.join(ROOT, "packaging", "usr", "share", "dfagent")
EXPORTER = os.path.join(ROOT, "packaging", "usr", "lib", "dfagent", "export_documents.py")

# Takes all that the generated disk holds, each path once: a stock run would make the events
# of a path that is named twice two times.
EVERYTHING = """\
description: Everything that the generated disk holds
type: include
paths:
- /etc
- /home/.+
- /root
- /var/lib/cloud
- /var/lib/docker
- /var/log
- /var/spool
"""

LOOK_SECONDS = 0.2


class Group:
    """A control group for one flow: CPU time and memory of everything in it."""

    def __init__(self, name):
        with open("/proc/self/mountinfo", encoding="ascii") as file:
            mounts = [line.split() for line in file if " - cgroup2 " in line]
        self.folder = os.path.join(mounts[0][4], name) if mounts else None
        if self.folder:
            os.makedirs(self.folder, exist_ok=True)

    def enter(self):
        """Moves the calling process into the group."""
        if self.folder:
            with open(os.path.join(self.folder, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write("0")

    def cpu_seconds(self):
        """CPU time used by everything that ever was in the group."""
        if not self.folder:
            return float("nan")
        with open(os.path.join(self.folder, "cpu.stat"), encoding="ascii") as file:
            return int(file.readline().split()[1]) / 1e6

    def processes(self):
        """Ids of the processes in it now."""
        found = []
        for folder, _, files in os.walk(self.folder or "/nonexistent"):
            if "cgroup.procs" in files:
                with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as file:
                    found += file.read().split()
        return found

    def memory_mib(self):
        """Memory of the processes in it now, shared pages shared out (PSS)."""
        return sum(field("smaps_rollup", pid, "Pss:") for pid in self.processes()) / 1024

    def close(self):
        """Removes the group."""
        if self.folder:
            for folder, _, _ in os.walk(self.folder, topdown=False):
                os.rmdir(folder)


def field(file, pid, name):
    """A number of kB from a file of /proc; 0 when the process is gone."""
    try:
        with open(f"/proc/{pid}/{file}", encoding="ascii") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
    except (OSError, ProcessLookupError):
        return 0


def run(name, commands, is_there):
    """Runs commands one after the other; returns the figures of the flow."""
    group = Group(f"dfagent-bench-{os.getpid()}-{name}")
    figures = {"first": None, "peak": 0.0, "own": 0}
    started = time.monotonic()
    for command in commands:
        child = subprocess.Popen(
            command, preexec_fn=group.enter, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        while child.poll() is None:
            if figures["first"] is None and is_there():
                figures["first"] = time.monotonic() - started
            figures["peak"] = max(figures["peak"], group.memory_mib())
            figures["own"] = max(figures["own"], field("status", child.pid, "VmHWM:") / 1024)
            time.sleep(LOOK_SECONDS)
        if child.returncode not in (0, 3):
            sys.exit(f"bench: {command[0]} ended with exit code {child.returncode}")
    figures["all"] = time.monotonic() - started
    figures["first"] = figures["first"] or figures["all"]
    figures["cpu"] = group.cpu_seconds()
    group.close()
    return figures


def has_events(pattern):
    """Says whether a file of this pattern is there and holds something."""
    return lambda: any(os.path.getsize(path) for path in glob.glob(pattern))


def today(image, work, filter_file, parsers):
    """Today's flow."""
    python = os.path.join(PLASO, "bin", "python")
    store, output = os.path.join(work, "whole.plaso"), os.path.join(work, "whole.jsonl")
    extract = [
        python, os.path.join(PLASO, "bin", "log2timeline"), "--unattended", "--quiet",
        "--status_view", "none", "--workers", "2", "--hashers", "none", "--timezone", "Etc/UTC",
        "--logfile", os.path.join(work, "l.gz"), "--storage_file", store, "--parsers", parsers,
        "--file_filter", filter_file, image,
    ]
    sort = [
        python, os.path.join(PLASO, "bin", "psort"), "--unattended", "--quiet", "--status_view", "none",
        "--logfile", os.path.join(work, "p.gz"), "-o", "json_line", "-w", output, store,
    ]
    return run("today", [extract, sort], has_events(output))


def ours(image, work, filters):
    """dfagent's flow."""
    command = [PROGRAM, "process", image, "--to", os.path.join(work, "jobs"), "--json"]
    for path in filters:
        command += ["--filter", path]
    documents = os.path.join(work, "jobs", "*", "slices", "*", "documents.jsonl")
    return run("ours", [command], has_events(documents))


def documents(path, place):
    """The documents of a timeline in a form that can be compared."""
    found = set()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line.replace(place, "/evidence/disk.raw"))
            # libfsext tells these only the first time it opens an inode: see ARCHITECTURE.md.
            document.pop("attribute_names", None)
            # Plaso's single-process mode marks some events "corrupted", its other mode none.
            document.pop("tag", None)
            if "path_spec" in document:
                document["path_spec"] = json.loads(document["path_spec"])
            found.add(json.dumps(document, sort_keys=True))
    return found


def compare(image, today_work, our_work):
    """Compares the documents of both flows and prints what is different."""
    whole = os.path.join(today_work, "documents.jsonl")
    command = [os.path.join(PLASO, "bin", "python"), EXPORTER, os.path.join(today_work, "whole.plaso"),
               whole, "--receipt", whole + ".receipt"]
    subprocess.run(command, check=True)
    (timeline,) = glob.glob(os.path.join(our_work, "jobs", "*", "timeline.jsonl"))
    theirs, mine = documents(whole, image), documents(timeline, image)
    print(f"documents: {len(theirs)} today, {len(mine)} dfagent, "
          f"{len(theirs - mine)} only today, {len(mine - theirs)} only dfagent")
    for document in list(theirs ^ mine)[:5]:
        print("  different:", document[:300])
    return theirs == mine


def show(rounds):
    """Prints the figures as ratios, median and range over the rounds."""
    def line(name, key, wanted):
        ratios = [a[key] / b[key] for a, b in rounds]
        low, high = min(ratios), max(ratios)
        print(f"{name:28} {statistics.median(ratios):6.2f}  ({low:.2f} to {high:.2f})  {wanted}")
    print("\ntoday / dfagent               median  (range)")
    line("first events on disk", "first", "wanted >= 15 at 230,000 events")
    line("all events on disk", "all", "wanted >= 1.7 on 2 cores")
    line("CPU seconds", "cpu", "")
    line("peak memory of the tree", "peak", "")
    own = max(b["own"] for _, b in rounds)
    print(f"\ndfagent's own peak memory    {own:6.1f} MiB  wanted <= 20")
    for number, (a, b) in enumerate(rounds, 1):
        for name, flow in (("today", a), ("dfagent", b)):
            print(f"round {number} {name:8} first {flow['first']:6.1f} s  all {flow['all']:6.1f} s  "
                  f"cpu {flow['cpu']:6.1f} s  peak {flow['peak']:5.0f} MiB")


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="folder for evidence and results; what is in it is replaced")
    parser.add_argument("--events", type=int, default=230_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    output = os.path.abspath(options.output)
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(output)
    image = os.path.join(output, "disk.img")
    command = ["/usr/bin/python3", "-B", os.path.join(HERE, "evidence", "disks.py"), "sized", image,
               str(options.events)]
    subprocess.run(command, check=True)
    everything = os.path.join(output, "20-everything.yaml")
    with open(everything, "w", encoding="ascii") as file:
        file.write(EVERYTHING)
    with open(os.path.join(SHARE, "parsers"), encoding="ascii") as file:
        parsers = ",".join(name for name in (line.split("#")[0].strip() for line in file) if name)
    subprocess.run(["cargo", "bench", "--locked", "--quiet", "--bench", "cage"], cwd=ROOT, check=True)
    rounds, same = [], True
    for number in range(1, options.rounds + 1):
        works = [os.path.join(output, f"{name}-{number}") for name in ("today", "ours")]
        for work in works:
            os.makedirs(work)
        flows = [lambda: today(image, works[0], everything, parsers),
                 lambda: ours(image, works[1], [os.path.join(SHARE, "filters", "10-triage.yaml"), everything])]
        order = (0, 1) if number % 2 else (1, 0)
        results = {index: flows[index]() for index in order}
        rounds.append((results[0], results[1]))
        same = compare(image, *works) and same
        print(f"round {number} done", flush=True)
    show(rounds)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
