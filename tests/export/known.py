#!/usr/bin/env python3
"""Makes a storage file with a real log2timeline, of evidence that is generated.

usage: known.py KIND STORE [--events N]

folder   the sample files of tests/filters, with those that are binary
host     a folder of a made-up web server's logs
disk     an ext4 image with such logs; its path specifications have several layers
demo     both disks of the demonstration, about 53,000 events (minutes, and root)

Run with the Python that has Plaso.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

TESTS = pathlib.Path(__file__).resolve().parents[1]
LOG2TIMELINE = pathlib.Path(sys.executable).parent / "log2timeline"
SYSTEM_PYTHON = "/usr/bin/python3"
PARSERS = TESTS.parent / "packaging" / "usr" / "share" / "dfagent" / "parsers"


def run(*command):
    """Runs a program that must succeed."""
    subprocess.run(list(map(str, command)), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.PIPE)


def evidence(script, *arguments):
    """Runs one of the generators of tests/evidence."""
    run(SYSTEM_PYTHON, "-B", TESTS / "evidence" / script, *arguments)


def samples(folder, count):
    """The samples; without systemd-journal-remote there is no journal in them."""
    del count
    source = folder / "samples"
    shutil.copytree(TESTS / "filters" / "samples", source)
    made = subprocess.run([SYSTEM_PYTHON, "-B", str(TESTS / "filters" / "make_binary_samples.py"), str(source)],
                          check=False)
    if made.returncode not in (0, 3):
        raise SystemExit(made.returncode)
    odd = source / "odd"
    odd.mkdir()
    for name in (b'qu"ote', b"back\\slash", b"new\nline", b"smile-\xf0\x9f\x98\x80", b"bad-\xff\xfe"):
        with open(os.fsencode(odd) + b"/" + name, "wb") as file:
            file.write(b"#1793600000\nls\n")
    return [source]


def host(folder, count):
    """A web server's folder."""
    evidence("logs.py", folder / "host", count)
    return [folder / "host"]


def disk(folder, count):
    """A web server's disk."""
    evidence("disks.py", "sized", folder / "disk.raw", count)
    return [folder / "disk.raw"]


def demo(folder, count):
    """The disks of the demonstration."""
    del count
    evidence("disks.py", "demo", folder)
    return [folder / "root.img", folder / "data.img"]


def extract(source, store, folder):
    """Plaso over one source into a storage file, which it adds to if it is there."""
    lines = PARSERS.read_text(encoding="utf-8").splitlines()
    names = [line.split("#")[0].strip() for line in lines]
    run(LOG2TIMELINE, "--unattended", "--quiet", "--status_view", "none", "--single_process", "--partitions", "all",
        "--volumes", "all", "--vss_stores", "none", "--parsers", ",".join(filter(None, names)),
        "--hashers", "md5,sha256", "--logfile", folder / "log.gz", "--storage_file", store, source)


KINDS = {"folder": samples, "host": host, "disk": disk, "demo": demo}


def main():
    """Makes evidence and the storage file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("store", type=pathlib.Path)
    parser.add_argument("--events", type=int, default=2500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for source in KINDS[options.kind](folder, options.events):
            extract(source, options.store.absolute(), folder)


if __name__ == "__main__":
    main()
