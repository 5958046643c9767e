#!/usr/bin/env python3
"""Writes a storage file with more events at one microsecond than psort puts in order at a time.

usage: many.py STORE [--events N]

psort takes 100,001 events of one time before it writes them (plaso/multi_process/output_engine.py), and knows a double
only among those. Here are doubles on both sides of that limit, each with its own body and tag, so that it shows which
one is kept. Run with the Python that has Plaso.
"""

import argparse
import pathlib
import random

import paths
import stores
import trial
import values

MOMENT = 1795158133123456
DESCRIPTIONS = ("Last Access Time", "Content Modification Time", "Recorded Time")


def fill(store, count):
    """Events at one moment, in three descriptions, every tenth a double of one that was far before."""
    dice = random.Random(3)
    streams = [store.stream(paths.host(f"/stream/{number}")) for number in range(3)]
    for number in range(count // 3):
        body = {"message_body": f"event data {number}", "pid": number % 7}
        original = dice.randrange(number + 1) if number % 10 == 0 else number
        data = store.data(values.event_data("syslog:line", body), dice.choice(streams),
                          hash_value=f"{original * 2654435761 % 2**32:032x}")
        for description in DESCRIPTIONS:
            event = store.event(trial.event(MOMENT, description), data)
            if dice.randrange(500) == 0:
                store.tag(event, f"tag_{number}")
    for number, moment in enumerate((MOMENT - 1, MOMENT + 1, MOMENT + 1)):
        data = store.data(values.event_data("syslog:line", {"message_body": "neighbour"}))
        store.event(trial.event(moment, f"neighbour {number % 2}"), data)


def main():
    """Writes the storage file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=pathlib.Path)
    parser.add_argument("--events", type=int, default=130_000)
    options = parser.parse_args()
    with stores.Store(options.store) as store:
        fill(store, options.events)


if __name__ == "__main__":
    main()
