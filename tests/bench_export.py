#!/usr/bin/env python3
"""Measures our export of a storage file against psort's, in interleaved rounds.

usage: bench_export.py OUTDIR [--events N ...] [--rounds R] [--psort N]

Both write the same documents of the same storage files (tests/export/large.py); of those with more events than
--psort says only ours is measured. Each runs on one core and on two. CPU seconds are of the process and all that it
started, peak memory is of the process. Figures are ratios within one run. Prints, and asserts nothing but that
documents and counts are equal.
"""

import argparse
import contextlib
import glob
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys

from bench_delivery import MIB, measured

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PROGRAM = os.path.join(ROOT, "target", "release", "dfagent")
PYTHON = os.path.join(ROOT, "target", "plaso", "bin", "python")
SCRIPT = os.path.join(ROOT, "packaging", "usr", "lib", "dfagent", "export_documents.py")
CORES = sorted(os.sched_getaffinity(0))
FORMATTERS = os.path.join(ROOT, "target", "plaso", "lib", "python3*", "site-packages", "plaso", "data", "formatters")


def export(name, cores, store, output):
    """One export; returns its figures and its receipt, and leaves its documents."""
    documents, receipt = os.path.join(output, f"{name}.jsonl"), os.path.join(output, f"{name}.json")
    for path in (documents, receipt):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if name == "psort":
        command = [PYTHON, "-B", SCRIPT, store, documents, "--receipt", receipt]
    else:
        (formatters,) = glob.glob(FORMATTERS)
        command = [PROGRAM, "inside", "export", store, formatters, documents, receipt, PYTHON, SCRIPT]
    # What is started inherits it.
    os.sched_setaffinity(0, CORES[:cores])
    figures = measured(command, env={**os.environ, "PYTHONHASHSEED": "0"})
    os.sched_setaffinity(0, CORES)
    with open(receipt, encoding="utf-8") as file:
        figures["receipt"] = json.load(file)
    return figures


def rounds_of(store, output, rounds, with_psort):
    """Both exports in turn, on one core and on two; returns figures by exporter and cores."""
    arms = [(name, cores) for cores in (1, 2)[:len(CORES)] for name in ("psort", "ours") if name == "ours" or with_psort]
    found = {arm: [] for arm in arms}
    for number in range(rounds):
        for name, cores in arms if number % 2 == 0 else reversed(arms):
            found[name, cores].append(export(name, cores, store, output))
        if with_psort and number == 0:
            check(found, output)
    return found


def check(found, output):
    """Documents and counts are equal."""
    compare = [sys.executable, "-B", os.path.join(HERE, "export", "compare.py")]
    subprocess.run([*compare, os.path.join(output, "psort.jsonl"), os.path.join(output, "ours.jsonl")], check=True,
                   stdout=subprocess.DEVNULL)
    receipts = [found[name, 1][0]["receipt"] for name in ("psort", "ours")]
    for key in ("documents", "duplicates", "events"):
        if receipts[0][key] != receipts[1][key]:
            sys.exit(f"bench: {key} are {receipts[1][key]}, not {receipts[0][key]}")


def show(store, found):
    """Prints the figures."""
    ours = found["ours", 1]
    events = ours[0]["receipt"]["events"]
    print(f"\n{events} events, storage file of {os.path.getsize(store) / MIB:.0f} MiB, median of {len(ours)}")
    print(f"{'':32}{'psort':>9}{'ours':>9}{'ratio':>8}")
    rows = (("CPU per event (us)", "cpu", 1e6 / events, 1), ("seconds", "all", 1, 2),
            ("peak memory (MiB)", "peak", 1, 1))
    for (name, key, factor, digits), cores in itertools.product(rows, sorted({cores for _, cores in found})):
        ours, psort = found["ours", cores], found.get(("psort", cores))
        name += f", {cores} core{'s'[:cores - 1]}"
        mine = statistics.median(figures[key] for figures in ours) * factor
        if not psort:
            print(f"{name:32}{'':9}{mine:9.{digits}f}")
            continue
        theirs = statistics.median(figures[key] for figures in psort) * factor
        ratio = statistics.median(one[key] / other[key] for one, other in zip(psort, ours))
        print(f"{name:32}{theirs:9.{digits}f}{mine:9.{digits}f}{ratio:8.1f}")


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="folder for storage files and documents; what is in it is replaced")
    parser.add_argument("--events", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--psort", type=int, default=50_000, help="the most events for psort (1 million: minutes)")
    options = parser.parse_args()
    output = os.path.abspath(options.output)
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(output)
    for events in options.events:
        store = os.path.join(output, f"{events}.plaso")
        subprocess.run([sys.executable, "-B", os.path.join(HERE, "export", "large.py"), store, str(events)], check=True)
        show(store, rounds_of(store, output, options.rounds, events <= options.psort))
    shutil.rmtree(output)


if __name__ == "__main__":
    main()
