#!/usr/bin/env python3
"""What the agent adds and how fast it is, beside what was wanted. Nothing here passes or fails.

usage: tests/lab/udev.sh bench_agent.py OUTDIR [--volumes N] [--events N]

Measures from the attachment to the first process of Plaso; `dfagent status` while jobs run; resident
memory; how often an idle agent wakes up; from a kill to the work going on; and N volumes attached at
once against `dfagent process` over the same volumes, one after the other.
"""

import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import time

import lab.agent as lab

HERE = os.path.dirname(os.path.abspath(__file__))


def row(name, found, wanted):
    """Prints one figure."""
    print(f"{name:58} {found:>22}   wanted {wanted}", flush=True)


def make_volumes(folder, count, events):
    """Makes the volumes: different contents, one size."""
    os.makedirs(folder)
    script = os.path.join(HERE, "evidence", "disks.py")
    images = [os.path.join(folder, f"volume{number:02}.img") for number in range(count)]
    for number, image in enumerate(images):
        command = ["/usr/bin/python3", "-B", script, "sized", image, str(events)]
        subprocess.run([*command, "--seed", str(number)], check=True, stdout=subprocess.DEVNULL)
    return images


def plaso_runs():
    """Whether any log2timeline of ours is at work in this machine."""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"bin/python") and any(word.endswith(b"log2timeline") for word in words):
            return True
    return False


def wait_for(condition):
    """Waits for a condition and returns the seconds that took."""
    started = time.monotonic()
    while not condition():
        time.sleep(0.005)
    return time.monotonic() - started


def resident(pid):
    """Resident memory in MB, and the part of it that is not a mapped file."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    return [int(lines[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "RssAnon")]


def wake_ups(pid):
    """How often the process's threads gave up the processor by themselves."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path, encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("voluntary_"))
    return total


def idle(agent):
    """An agent with nothing to do."""
    time.sleep(2)
    before = wake_ups(agent.process.pid)
    time.sleep(130)
    row("wake-ups of an idle agent in 130 s (2 reconciles)", str(wake_ups(agent.process.pid) - before), "few")
    memory = resident(agent.process.pid)
    row("resident, idle", f"{memory[0]:.1f} MB ({memory[1]:.1f} own)", "<= 20 MB")


def one_volume(config, image):
    """From the attachment to Plaso, and from a kill to the work going on."""
    with lab.Loops(1) as loops:
        lab.configure(config, config + ".one", loops.nodes)
        agent = lab.Agent(config)
        agent.__enter__()
        loops.attach(image)
        row("attach to first Plaso process", f"{wait_for(plaso_runs):.2f} s", "<= 1.5 s")
        agent.process.kill()
        agent.process.wait()
        started = time.monotonic()
        with lab.Agent(config) as agent:
            working = lambda: any(job["job"]["state"]["name"] == "running" for job in agent.status()["jobs"])
            wait_for(working)
            row("restart to the job being at work again", f"{time.monotonic() - started:.2f} s", "<= 1 s")
            agent.wait_until_done(1)


def many_volumes(config, images):
    """All at once; returns the seconds and the folders."""
    with lab.Loops(len(images)) as loops:
        lab.configure(config, config + ".many", loops.nodes)
        with lab.Agent(config) as agent:
            started = time.monotonic()
            for image in images:
                loops.attach(image)
            memory, times = [0, 0], []
            while True:
                asked = time.monotonic()
                jobs = agent.status()["jobs"]
                times.append(time.monotonic() - asked)
                memory = max(memory, resident(agent.process.pid))
                done = [job for job in jobs if job["job"]["state"]["name"] == "done"]
                if len(done) == len(images):
                    break
                # Often enough for a hundredth part; what the looks take is missing to the jobs.
                time.sleep(0.5)
            seconds = time.monotonic() - started
    times.sort()
    median, worst = statistics.median(times), times[int(len(times) * 0.99)]
    row("dfagent status --json, median and 99 %", f"{median * 1000:.1f}, {worst * 1000:.1f} ms", "<= 20 ms")
    row(f"resident with {len(images)} volumes, peak", f"{memory[0]:.1f} MB ({memory[1]:.1f} own)", "<= 20 MB")
    return seconds, [job["job"]["folder"] for job in done]


def triage_order(folders):
    """Whether every triage slice had ended before any later one began."""
    slices = []
    for path in (path for folder in folders for path in glob.glob(f"{folder}/slices/*/slice.json")):
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        end = os.stat(path).st_mtime
        slices.append(("triage" in record["name"], end - record["seconds"], end))
    last = max(end for triage, _, end in slices if triage)
    first = min(begin for triage, begin, _ in slices if not triage)
    row("first later slice after the last triage slice", f"{first - last:+.2f} s", ">= 0")


def one_after_the_other(images, output):
    """The same volumes given to `dfagent process`."""
    started = time.monotonic()
    environment = {**os.environ, "DFAGENT__PLASO__ENVIRONMENT": lab.PLASO}
    for image in images:
        command = [lab.PROGRAM, "process", image, "--to", output]
        subprocess.run(command, check=False, env=environment, capture_output=True)
    return time.monotonic() - started


def main():
    """Measures everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    parser.add_argument("--volumes", type=int, default=20)
    parser.add_argument("--events", type=int, default=2000)
    arguments = parser.parse_args()
    output = os.path.abspath(arguments.output)
    shutil.rmtree(output, ignore_errors=True)
    images = make_volumes(os.path.join(output, "volumes"), arguments.volumes, arguments.events)
    config = os.path.join(output, "dfagent.toml")
    one_volume(config, images[0])
    seconds, folders = many_volumes(config, images)
    triage_order(folders)
    sequential = one_after_the_other(images, os.path.join(output, "process"))
    name = f"{len(images)} volumes at once / one after the other"
    row(name, f"{seconds:.0f} s / {sequential:.0f} s = {seconds / sequential:.2f}", "<= 1")
    idle_config = os.path.join(output, "idle", "dfagent.toml")
    os.makedirs(os.path.dirname(idle_config))
    lab.configure(idle_config, config + ".idle", ["/dev/dfagent-none"])
    with lab.Agent(idle_config) as agent:
        idle(agent)


if __name__ == "__main__":
    main()
