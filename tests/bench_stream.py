#!/usr/bin/env python3
"""Measures how events get into a real OpenSearch and a real Timesketch: psort, the official importer, ours.

usage: bench_stream.py OUTDIR [--events N] [--rounds R] [--way N]

Two comparisons, in interleaved rounds, figures as ratios within one run:

1. The documents of one storage file of N events into OpenSearch: `psort -o opensearch_ts`, `dfagent deliver`
   (stream, OpenSearch alone), and a bare load of the same documents that only sends prepared bodies.
2. The whole way of a disk of about N events, from its start to what Timesketch's search finds: today's flow (one
   log2timeline, the official importer, the server's psort) against `upload` and `stream`.

Prints, and asserts nothing but that every event is found.
"""

import argparse
import gzip
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse

import bench_delivery as delivery
from bench import EVERYTHING, HERE, PLASO, PROGRAM, SHARE

sys.path.insert(0, os.path.join(HERE, "timesketch"))
import api  # noqa: E402

TIMESKETCH = os.path.join(os.path.dirname(PLASO), "timesketch")
# Documents in one request, as Timesketch tells psort.
BULK = 5000
CONNECTIONS = 2
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pid):
    """CPU seconds that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def server_pid(state, name="opensearch"):
    """The id of a server's process."""
    with open(os.path.join(state, f"{name}.pid"), encoding="ascii") as file:
        return int(file.read().split()[0])


def ask(base, method, path, body=None):
    """One request to OpenSearch; the answer as JSON."""
    link = http.client.HTTPConnection(urllib.parse.urlsplit(base).netloc, timeout=600)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    link.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers)
    answer = link.getresponse().read()
    link.close()
    return json.loads(answer)


def count(base, index):
    """The documents that are found."""
    ask(base, "POST", f"/{index}/_refresh")
    return ask(base, "GET", f"/{index}/_count")["count"]


# Into OpenSearch.

def psort(base, store, index, work):
    """psort, as Timesketch calls it."""
    where = urllib.parse.urlsplit(base)
    python = os.path.join(TIMESKETCH, "python", "bin")
    mappings = os.path.join(TIMESKETCH, "python", "share", "timesketch", "plaso.mappings")
    command = [os.path.join(python, "psort"), "-o", "opensearch_ts", "--server", where.hostname, "--port",
               str(where.port), "--status_view", "none", "--unattended", "--index_name", index, "--logfile",
               os.path.join(work, "psort.log.gz"), "--opensearch_mappings", mappings, "--timeline_identifier", "1",
               "--flush_interval", str(BULK), store]
    return delivery.measured(command, cwd=work, stdin=subprocess.DEVNULL)


def bodies(documents, index):
    """The bodies of a bare load, made before the clock runs."""
    made, lines = [], []
    with open(documents, "rb") as file:
        for line in file:
            lines.append(b'{"create":{}}\n' + line)
            if len(lines) == BULK:
                made.append(gzip.compress(b"".join(lines), 1))
                lines = []
    if lines:
        made.append(gzip.compress(b"".join(lines), 1))
    return made


def bare(base, prepared, index):
    """Sends prepared bodies and reads nothing of the answers."""
    started, left, lock = time.monotonic(), list(reversed(prepared)), threading.Lock()

    def send():
        link = http.client.HTTPConnection(urllib.parse.urlsplit(base).netloc, timeout=600)
        while True:
            with lock:
                if not left:
                    return
                body = left.pop()
            headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
            link.request("POST", f"/{index}/_bulk", body, headers)
            link.getresponse().read()

    senders = [threading.Thread(target=send) for _ in range(CONNECTIONS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return {"all": time.monotonic() - started, "cpu": float("nan")}


def make_index(base, index, mappings):
    """An index as ours is."""
    settings = {"number_of_shards": 1, "auto_expand_replicas": "0-1", "index.mapping.total_fields.limit": 5000}
    ask(base, "PUT", f"/{index}", {"settings": settings, "mappings": mappings})


def into_opensearch(about, state, job, output, rounds):
    """All three, in turn; returns a list of rounds."""
    base, pid = about["opensearch"], server_pid(state)
    mappings_file = os.path.join(TIMESKETCH, "python", "share", "timesketch", "plaso.mappings")
    mappings = delivery.read_json(mappings_file)
    results = []
    for number in range(rounds):
        work = os.path.join(output, f"into-{number}")
        os.makedirs(work)
        copied, store, documents = delivery.copy_of(job, work, 0)
        prepared = bodies(os.path.join(copied, "timeline.jsonl"), "bare")

        def with_psort():
            return psort(base, store, f"psort-{number}", work), f"psort-{number}"

        def with_bare():
            make_index(base, f"bare-{number}", mappings)
            return bare(base, prepared, f"bare-{number}"), f"bare-{number}"

        def with_ours():
            return stream_alone(base, copied), "df*"

        arms = [("psort", with_psort), ("bare", with_bare), ("ours", with_ours)]
        round_ = {}
        for name, arm in arms[number % 3:] + arms[:number % 3]:
            before = cpu_of(pid)
            figures, index = arm()
            found = count(base, index)
            figures["server"] = cpu_of(pid) - before
            if found != documents:
                sys.exit(f"bench: {name} brought {found} of {documents} documents")
            round_[name] = figures
            ask(base, "DELETE", f"/{index}")
        round_["documents"] = documents
        results.append(round_)
        shutil.rmtree(work)
        print(f"into OpenSearch: round {number + 1} done", flush=True)
    return results


def stream_alone(base, job):
    """dfagent into OpenSearch alone."""
    command = [PROGRAM, "deliver", "--once", job, "--stream", "--opensearch", base]
    return delivery.measured(command, stdin=subprocess.DEVNULL)


def show_into(results):
    """Prints the figures of the first comparison."""
    documents = results[0]["documents"]
    print(f"\n{documents} documents into OpenSearch, median of {len(results)}")
    for name in ("psort", "bare", "ours"):
        wall = statistics.median(one[name]["all"] for one in results)
        cpu = statistics.median(one[name]["cpu"] for one in results)
        server = statistics.median(one[name]["server"] for one in results)
        print(f"{name:8} {wall:7.1f} s   client {cpu:7.1f} CPU s ({cpu / documents * 1e6:5.1f} us a document)   "
              f"server {server:7.1f} CPU s")
    share = statistics.median(one["ours"]["cpu"] / one["ours"]["server"] for one in results)
    wall = statistics.median(one["ours"]["all"] / one["bare"]["all"] for one in results)
    saved = statistics.median(one["psort"]["all"] / one["ours"]["all"] for one in results)
    print(f"client CPU / server CPU      {share:6.3f}   wanted <= 0.10")
    print(f"wall / bare load             {wall:6.2f}   wanted <= 1.25")
    print(f"psort's wall / ours          {saved:6.2f}")


# The whole way.

class Watch:
    """Asks Timesketch's search, until all is found, when the first and the last event was."""

    def __init__(self, client, sketch):
        self.client, self.sketch = client, sketch
        self.started = time.monotonic()
        self.first, self.found, self.last, self.over = None, 0, None, threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        """Every second until there is something, then seldom: each question takes time from what is measured."""
        while not self.over.wait(5.0 if self.found else 1.0):
            self.once()

    def once(self):
        """Asks."""
        sketch = self.sketch()
        try:
            found = self.client.count(sketch) if sketch else 0
        except api.Refused:
            # It has no timeline yet that can be searched.
            found = 0
        now = time.monotonic() - self.started
        if found and self.first is None:
            self.first = now
        if found > self.found:
            self.found, self.last = found, now

    def close(self):
        """The figures, once all is done."""
        self.over.set()
        self.thread.join()
        self.once()
        return {"first": self.first, "all": self.last, "found": self.found}


def sketch_named(client, name):
    """The sketch once it is there."""
    known = []

    def find():
        if not known:
            known.extend(client.sketches(name))
        return known[0] if known else None
    return find


def today(about, client, image, output, name, filter_file, parsers):
    """One log2timeline, the official importer, the server's psort."""
    work = os.path.join(output, name)
    os.makedirs(work)
    store = os.path.join(work, "whole.plaso")
    watch = Watch(client, sketch_named(client, name))
    extract = [os.path.join(PLASO, "bin", "python"), os.path.join(PLASO, "bin", "log2timeline"), "--unattended",
               "--quiet", "--status_view", "none", "--workers", "2", "--hashers", "none", "--timezone", "Etc/UTC",
               "--logfile", os.path.join(work, "l.gz"), "--storage_file", store, "--parsers", parsers,
               "--file_filter", filter_file, image]
    subprocess.run(extract, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    delivery.importer(about, name, store, work)
    return watch.close()


def ours(about, client, image, output, name, filters, how):
    """dfagent, by upload or by stream."""
    work = os.path.join(output, name)
    environment = {**os.environ, "DFAGENT__TIMESKETCH__USER": about["user"],
                   "DFAGENT__TIMESKETCH__PASSWORD_FILE": about["password_file"]}
    command = [PROGRAM, "process", image, "--to", about["url"], "--work", work, "--sketch", name, "--json"]
    if how == "stream":
        command += ["--stream", "--opensearch", about["opensearch"]]
    for path in filters:
        command += ["--filter", path]
    watch = Watch(client, sketch_named(client, name))
    with open(os.path.join(output, f"{name}.log"), "wb") as log:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=log, check=False)
    figures = watch.close()
    if done.returncode not in (0, 3):
        sys.exit(f"bench: dfagent ended with {done.returncode}: see {log.name}")
    return figures


def whole_way(about, client, output, events, rounds):
    """All three flows, in turn; returns a list of rounds."""
    image, everything = os.path.join(output, "disk.img"), os.path.join(output, "20-everything.yaml")
    command = ["/usr/bin/python3", "-B", os.path.join(HERE, "evidence", "disks.py"), "sized", image, str(events)]
    subprocess.run(command, check=True)
    with open(everything, "w", encoding="ascii") as file:
        file.write(EVERYTHING)
    with open(os.path.join(SHARE, "parsers"), encoding="ascii") as file:
        parsers = ",".join(name for name in (line.split("#")[0].strip() for line in file) if name)
    filters = [os.path.join(SHARE, "filters", "10-triage.yaml"), everything]
    results = []
    for number in range(rounds):
        flows = [
            ("today", lambda name: today(about, client, image, output, name, everything, parsers)),
            ("upload", lambda name: ours(about, client, image, output, name, filters, "upload")),
            ("stream", lambda name: ours(about, client, image, output, name, filters, "stream")),
        ]
        round_ = {}
        for name, flow in flows[number % 3:] + flows[:number % 3]:
            round_[name] = flow(f"{name}-{number}")
            print(f"whole way: round {number + 1}, {name}: {round_[name]}", flush=True)
        results.append(round_)
    return results


def show_way(results):
    """Prints the figures of the second comparison."""
    print(f"\nattach to searchable in Timesketch, {results[0]['today']['found']} events, median of {len(results)}")
    for name in ("today", "upload", "stream"):
        first = statistics.median(one[name]["first"] for one in results)
        last = statistics.median(one[name]["all"] for one in results)
        line = f"{name:8} first {first:7.1f} s   all {last:7.1f} s"
        if name != "today":
            sooner = [statistics.median(one["today"][key] / one[name][key] for one in results)
                      for key in ("first", "all")]
            line += f"   {sooner[0]:5.1f} and {sooner[1]:4.1f} times sooner (wanted for stream 20 and 2)"
        print(line)


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="folder for evidence and results; what is in it is replaced")
    parser.add_argument("--events", type=int, default=100_000, help="of the first comparison")
    parser.add_argument("--way", type=int, default=230_000, help="events of the second; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    output = os.path.abspath(options.output)
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(output)
    job = delivery.make_job(output, options.events)
    state = os.path.join(output, "servers")
    with delivery.servers(state) as (about, client):
        show_into(into_opensearch(about, state, job, output, options.rounds))
        if options.way:
            show_way(whole_way(about, client, output, options.way, options.rounds))


if __name__ == "__main__":
    main()
