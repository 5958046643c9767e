#!/usr/bin/env python3
"""A Plaso that does one bad thing, inside the cage.

usage: standin.py DEED SCRIPT ARGUMENTS...

SCRIPT is what Plaso's Python was called with: log2timeline or the export script.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import sys
import time

ATTEMPT = "/attempt"
STORAGE = f"{ATTEMPT}/storage.plaso"
LOG = f"{ATTEMPT}/log2timeline.log.gz"
FILTER = f"{ATTEMPT}/filter.yaml"
SHADOW = "/etc/shadow"
MIB = 1 << 20


def wait_for_ever():
    while True:
        signal.pause()


def exit_3():
    sys.exit(3)


def segmentation_fault():
    os.kill(os.getpid(), signal.SIGSEGV)


def hang():
    print("Main (PID: 8) status: running, event data produced: 7, events produced: 0, file: OS:/evidence/x")
    wait_for_ever()


def take_memory():
    soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
    try:
        return bytearray(soft)
    except MemoryError:
        sys.exit(42)


def take_memory_of_many():
    """As many processes as it takes, each below its own limit."""
    soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
    for _ in range(8):
        if os.fork() == 0:
            taken = bytearray(soft // 4)
            taken[::4096] = b"x" * len(taken[::4096])
            wait_for_ever()
    os.wait()


def family():
    """Processes that heed no signal and leave their session."""
    for _ in range(10):
        if os.fork() == 0:
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            os.execv("/usr/bin/sleep", ["sleep", "86397"])
    wait_for_ever()


def descriptors():
    """Which are open, while another cage is at work, too."""
    links = {}
    for name in os.listdir("/proc/self/fd"):
        # The one that lists is closed again.
        with contextlib.suppress(FileNotFoundError):
            links[name] = os.readlink(f"/proc/self/fd/{name}")
    found = {name: link for name, link in links.items() if int(name) > 2}
    with open(LOG, "w", encoding="utf-8") as file:
        json.dump(found, file)
    time.sleep(1)


def storage_is_a_link():
    os.symlink(SHADOW, STORAGE)


def storage_is_a_socket():
    socket.socket(socket.AF_UNIX).bind(STORAGE)


def storage_is_a_pipe():
    """Nobody can make one: it takes mknod."""
    try:
        os.mkfifo(STORAGE)
    except OSError:
        sys.exit(42)


def storage_has_two_names():
    with open(f"{ATTEMPT}/other", "w", encoding="ascii") as file:
        file.write("x")
    os.link(f"{ATTEMPT}/other", STORAGE)


def storage_is_a_folder():
    os.mkdir(STORAGE)


def log_is_a_link():
    os.symlink(SHADOW, LOG)


def filter_is_a_link():
    os.unlink(FILTER)
    os.symlink(SHADOW, FILTER)


def summary_is_a_link():
    """The summary is written in place of a link, or the link is refused."""
    shutil.copyfile("/plaso/storage.plaso", STORAGE)
    for name in ("summary.json", "summary.json.new", "receipt.json", "documents.jsonl"):
        os.symlink(SHADOW, f"{ATTEMPT}/{name}")


def deep_folders():
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")


def good_extraction():
    shutil.copyfile("/plaso/storage.plaso", STORAGE)
    print("Processing completed.")


def write_receipt(text):
    with open(f"{ATTEMPT}/documents.jsonl", "w", encoding="ascii") as file:
        file.write('{"timestamp": 1}\n')
    with open(f"{ATTEMPT}/receipt.json", "w", encoding="ascii") as file:
        file.write(text)


def huge_receipt():
    write_receipt('{"documents": 1}' + " " * 100 * MIB)


def receipt_of_more_than_there_is():
    write_receipt('{"documents": 1000000}')


def documents_are_a_link():
    write_receipt('{"documents": 1}')
    os.unlink(f"{ATTEMPT}/documents.jsonl")
    os.symlink(SHADOW, f"{ATTEMPT}/documents.jsonl")


def slow_documents():
    """A disk that gets full while the documents are written."""
    with open(f"{ATTEMPT}/documents.jsonl", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * MIB)
            time.sleep(0.05)


def large_documents():
    count, filling = 12 * 1024, "x" * 1000
    with open(f"{ATTEMPT}/documents.jsonl", "w", encoding="ascii") as file:
        for number in range(count):
            print(json.dumps({"timestamp": number, "message": filling}), file=file)
    with open(f"{ATTEMPT}/receipt.json", "w", encoding="ascii") as file:
        json.dump({"documents": count}, file)


def flood():
    for _ in range(300):
        sys.stdout.write("x" * MIB)
        sys.stderr.write("\x1b[2J" * (MIB // 4))


def probe():
    """The attempts of probe.py, with the evidence of this run."""
    os.execv(sys.executable, [sys.executable, "/plaso/probe.py", "/plaso/facts.json", LOG, sys.argv[-1]])


# Deeds of the export; the extraction before it is good.
OF_THE_EXPORT = (
    huge_receipt,
    receipt_of_more_than_there_is,
    documents_are_a_link,
    slow_documents,
    large_documents,
)


def main():
    deed = globals()[sys.argv[1]]
    exporting = "export" in sys.argv[2]
    if deed in OF_THE_EXPORT and not exporting:
        deed = good_extraction
    deed()


if __name__ == "__main__":
    main()
