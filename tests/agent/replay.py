#!/usr/bin/env python3
"""Plaso's part, played from a recording of a real run: a slice takes as long as its file `delay` says, by then.
With a file `deaf` beside that it heeds no wish to stop.

usage: replay.py SCRIPT ARGUMENTS...

SCRIPT is what Plaso's Python was called with: log2timeline or the export script. The recording of a slice is in
/plaso/LOG, where LOG is the log that its filter takes. The disk's number is read off the disk in the cage, so a
timeline tells of which disk it really is.
"""

import json
import os
import re
import shutil
import signal
import sys
import time

ATTEMPT = "/attempt"
NUMBER = f"{ATTEMPT}/number"


def extract(evidence):
    """What log2timeline leaves."""
    with open(evidence, "rb") as disk:
        number = re.search(rb"disk-(\d+) sshd", disk.read()).group(1)
    with open(NUMBER, "wb") as file:
        file.write(number)
    if os.path.exists(f"{recording()}/deaf"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("Main (PID: 8) status: running, event data produced: 7, events produced: 0, file: OS:/evidence/x", flush=True)
    begun = time.monotonic()
    while time.monotonic() - begun < delay():
        time.sleep(0.05)
    shutil.copyfile(f"{recording()}/storage.plaso", f"{ATTEMPT}/storage.plaso")
    print("Processing completed.")


def export():
    """What the export leaves."""
    with open(NUMBER, encoding="ascii") as file:
        number = file.read()
    with open(f"{recording()}/documents.jsonl", encoding="utf-8") as file:
        text = file.read()
    with open(f"{ATTEMPT}/documents.jsonl", "w", encoding="utf-8") as file:
        file.write(text.replace("disk-1", f"disk-{number}"))
    with open(f"{ATTEMPT}/receipt.json", "w", encoding="ascii") as file:
        json.dump({"documents": text.count("\n")}, file)


def delay():
    """How long this slice takes, in seconds."""
    with open(f"{recording()}/delay", encoding="ascii") as file:
        return float(file.read())


def recording():
    """The recording of this slice."""
    with open(f"{ATTEMPT}/filter.yaml", encoding="utf-8") as file:
        log = re.search(r"log\d+", file.read()).group()
    return os.path.join("/plaso", log)


def main():
    if "export" in sys.argv[1]:
        export()
    else:
        extract(sys.argv[-1])


if __name__ == "__main__":
    main()
