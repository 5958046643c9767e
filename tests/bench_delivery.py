#!/usr/bin/env python3
"""Measures the official importer against `dfagent deliver`, into the same real servers, in interleaved rounds.

usage: bench_delivery.py OUTDIR [--events N] [--rounds R] [--large MIB]

Both bring the same storage file into a sketch of their own and end when they are sure: the importer
when Timesketch says ready, dfagent when it finds exactly the exported events. A second file is the
first one with a table that nobody reads, as large as asked, to see whether memory grows with size.
Figures are ratios within one run. Prints, and asserts nothing but that every count is right.
"""

import argparse
import concurrent.futures
import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "timesketch"))
import api  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PROGRAM = os.path.join(ROOT, "target", "release", "dfagent")
SERVERS = os.path.join(HERE, "timesketch", "servers.py")
MIB = 1 << 20
# One slice, however much there is to read.
ONE_SLICE = {"DFAGENT__SLICES__SMALLEST_MIB": "1000000", "DFAGENT__SLICES__LARGEST_MIB": "1000000"}


@contextlib.contextmanager
def servers(state):
    """Real servers, and a client that is logged in."""
    command = ["/usr/bin/python3", "-B", SERVERS, "run", "--state", state, "--fresh"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        about = json.loads(process.stdout.readline())
        yield about, api.connect(os.path.join(state, "servers.json"))
        process.stdin.close()


def make_job(output, events):
    """A finished job with one slice; returns its folder."""
    image, everything = os.path.join(output, "disk.img"), os.path.join(output, "10-everything.yaml")
    command = ["/usr/bin/python3", "-B", os.path.join(HERE, "evidence", "disks.py"), "sized", image, str(events)]
    subprocess.run(command, check=True)
    with open(everything, "w", encoding="ascii") as file:
        file.write("description: All\ntype: include\npaths:\n- /etc\n- /home/.+\n- /root\n- /var/log\n")
    jobs = os.path.join(output, "jobs")
    subprocess.run([PROGRAM, "process", image, "--to", jobs, "--filter", everything, "--json"], check=True,
                   env={**os.environ, **ONE_SLICE}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.unlink(image)
    (manifest,) = glob.glob(os.path.join(jobs, "*", "manifest.json"))
    return os.path.dirname(manifest)


def read_json(path):
    """Reads a file of JSON."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def copy_of(job, folder, padding):
    """A copy of the job in a folder of its own, its storage file padded; returns job, storage file, documents."""
    copied = os.path.join(folder, os.path.basename(job))
    shutil.copytree(job, copied)
    path = os.path.join(copied, "manifest.json")
    manifest = read_json(path)
    (one,) = manifest["slices"]
    (record,) = [file for file in one["files"] if file["path"].endswith(".plaso")]
    storage = os.path.join(copied, record["path"])
    if padding:
        pad(storage, padding)
        with open(storage, "rb") as file:
            record["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        record["bytes"] = os.path.getsize(storage)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(manifest, file)
    return copied, storage, one["documents"]


def pad(storage, mib):
    """Adds a table that nobody reads."""
    with contextlib.closing(sqlite3.connect(storage)) as database:
        database.execute("CREATE TABLE padding (content BLOB)")
        for _ in range(mib // 16):
            database.execute("INSERT INTO padding VALUES (randomblob(?))", (16 * MIB,))
            database.commit()


def peak_of(pid, told):
    """Reads, until the process ends, what memory it had at the most: what `wait4` says counts its parent in."""
    peak = 0
    while not told.is_set():
        with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/status", encoding="ascii") as file:
            peak = int([line.split()[1] for line in file if line.startswith("VmHWM:")][0])
        told.wait(0.02)
    return peak / 1024


def measured(command, **options):
    """Runs a command; returns seconds, CPU seconds, peak memory in MiB, and what it told."""
    started, ended = time.monotonic(), threading.Event()
    with concurrent.futures.ThreadPoolExecutor() as pool, \
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options) as process:
        peak = pool.submit(peak_of, process.pid, ended)
        told = process.stderr.read().decode(errors="replace")
        ended.set()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench: {command[0]} ended with {process.returncode}: {told[-2000:]}")
    return {"all": time.monotonic() - started, "cpu": used.ru_utime + used.ru_stime,
            "peak": peak.result(), "told": told}


def importer(about, sketch, storage, home):
    """The official importer."""
    with open(about["password_file"], encoding="utf-8") as file:
        password = file.read().strip()
    command = [about["importer"], "-u", about["user"], f"--password={password}", "--host", about["url"],
               "--sketch_name", sketch, "--timeline_name", "importer", storage]
    return measured(command, env={**os.environ, "HOME": home}, stdin=subprocess.DEVNULL)


def ours(about, sketch, job):
    """dfagent."""
    environment = {"DFAGENT__TIMESKETCH__USER": about["user"],
                   "DFAGENT__TIMESKETCH__PASSWORD_FILE": about["password_file"]}
    command = [PROGRAM, "deliver", "--once", job, "--to", about["url"], "--sketch", sketch]
    figures = measured(command, env={**os.environ, **environment})
    moments = [float(re.search(rf"([0-9.]+) s  slice .*{words}", figures["told"])[1])
               for words in ("the server indexes it", "events are found")]
    figures["proof"] = moments[1] - moments[0]
    return figures


def check(client, sketch, documents):
    """Every document is found."""
    (found,) = client.sketches(sketch)
    count = client.count(found)
    if count != documents:
        sys.exit(f"bench: {sketch} has {count} events, not {documents}")


def compare(about, client, job, output, padding, rounds):
    """Both, in turn; returns pairs of figures."""
    pairs = []
    for number in range(rounds):
        work = os.path.join(output, f"{padding}-{number}")
        os.makedirs(work)
        copied, storage, documents = copy_of(job, work, padding)
        flows = {"importer": lambda sketch: importer(about, sketch, storage, work),
                 "ours": lambda sketch: ours(about, sketch, copied)}
        results = {}
        for name in ("importer", "ours") if number % 2 == 0 else ("ours", "importer"):
            sketch = f"{name} {padding} {number}"
            results[name] = flows[name](sketch)
            check(client, sketch, documents)
        results["size"] = os.path.getsize(storage) / MIB
        results["documents"] = documents
        pairs.append(results)
        shutil.rmtree(work)
    return pairs


def show(pairs):
    """Prints the figures."""
    first = pairs[0]
    print(f"\nstorage file of {first['size']:.0f} MiB, {first['documents']} events: importer / dfagent, median of {len(pairs)}")
    for key, name in (("all", "seconds to the end"), ("cpu", "CPU seconds"), ("peak", "peak memory")):
        ratios = [pair["importer"][key] / pair["ours"][key] for pair in pairs]
        both = ", ".join(f"{pair['importer'][key]:.1f} / {pair['ours'][key]:.1f}" for pair in pairs)
        print(f"{name:24} {statistics.median(ratios):6.2f}   ({both})")
    peak = max(pair["ours"]["peak"] for pair in pairs)
    print(f"dfagent's peak memory    {peak:6.1f} MiB, wanted at most 20 MB whatever the size")
    proof = statistics.median(pair["ours"]["proof"] for pair in pairs)
    print(f"last chunk to proven     {proof:6.1f} s")


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="folder for evidence and results; what is in it is replaced")
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=2048, help="MiB of the large file; 0: none")
    options = parser.parse_args()
    output = os.path.abspath(options.output)
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(output)
    job = make_job(output, options.events)
    with servers(os.path.join(output, "servers")) as (about, client):
        show(compare(about, client, job, output, 0, options.rounds))
        if options.large:
            show(compare(about, client, job, output, options.large, 1))


if __name__ == "__main__":
    main()
