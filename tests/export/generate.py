#!/usr/bin/env python3
"""Writes storage files with Plaso's own writer, with all that an event can hold.

usage: generate.py KIND STORE [--seed S] [--events N] [--compression none]

The same seed gives the same storage file. What psort would die of is left out, and its number said. The kind `deadly`
is a storage file with one event of that sort, chosen by the seed. Run with the Python that has Plaso.
"""

import argparse
import logging
import pathlib
import random
import resource
import sys
import tempfile

from dfdatetime import posix_time, semantic_time, time_elements

import odd
import paths
import stores
import trial
import values

DESCRIPTIONS = (
    "Content Modification Time", "Last Access Time", "Metadata Modification Time", "Creation Time",
    "Content Modification Time", "Recorded Time", "", "\u00fc '\"", "Not a time",
)
# Some moments that events share, so that there is something to put in order and doubles can be.
MOMENTS = (
    0, 1, -1, 999999, 1000000, -1000000, 1795158133123456, 1795158133123456, 1795158133123457,
    253402300799999999, 253402300800000000, -62135596800000000, -62135596800000001, -62167219200000000,
    2**63 - 1, 951782400000000, 1709164800000000, -2208988800000000,
)
HASHES = {
    "md5_hash": "d41d8cd98f00b204e9800998ecf8427e", "sha1_hash": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "sha256_hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "file_entropy": "7.999",
}


class Times:
    """Date and time values as parsers set them as attributes."""

    def __init__(self, dice):
        self._random = dice

    def one(self):
        """One of every kind."""
        return self._random.choice((
            posix_time.PosixTimeInMicroseconds(timestamp=self._random.randrange(2**50)),
            posix_time.PosixTime(timestamp=-5),
            semantic_time.NotSet(), semantic_time.Never(), semantic_time.InvalidTime(),
            time_elements.TimeElementsInMilliseconds(time_elements_tuple=(2026, 11, 28, 1, 2, 3, 4)),
        ))


class Maker:
    """Fills one storage file."""

    def __init__(self, store, seed, custom=None):
        self.store = store
        self.random = random.Random(seed)
        self.dice = values.Dice(self.random, Times(self.random))
        self.deadly = []
        self._folder = tempfile.TemporaryDirectory()
        empty = pathlib.Path(self._folder.name) / "empty.plaso"
        with stores.Store(empty):
            pass
        self.trial = trial.Trial(empty, custom)
        self.expected = values.formatters(trial.FORMATTERS, custom)

    def streams(self):
        """An event data stream for each path specification, some with hashes."""
        found = []
        for number, path_spec in enumerate(paths.every()):
            more = {}
            if number % 3 == 0:
                more.update(HASHES)
            if number % 5 == 0:
                more["yara_match"] = self.dice.one(([], ["rule"], ["a", "\u00fc\ud800", "b"]))
            found.append(self.store.stream(path_spec, **more))
        found.append(self.store.stream(None, **HASHES))
        found.append(self.store.stream(None))
        return found

    def moment(self):
        """A time, often one that other events have."""
        if self.dice.chance(0.5):
            return self.dice.one(MOMENTS)
        return self.random.randrange(-(10**16), 3 * 10**15)

    def try_event(self, data, stream, moment=None):
        """Adds an event where psort survives it; whether it does."""
        text = self.trial.stored(data)
        description = self.dice.one(DESCRIPTIONS)
        made = trial.event(self.moment() if moment is None else moment, description, self.dice.times.one())
        if text is None or not self.trial.survives(text, made, stream, None):
            self.deadly.append((data, made))
            return False
        self.store.data(data, stream)
        self.events_of(made, data)
        return True

    def events_of(self, first, data):
        """One to four events of event data, some with tags."""
        self.tagged(self.store.event(first, data))
        for _ in range(self.dice.one((0, 0, 1, 3))):
            moment = first.timestamp if self.dice.chance(0.4) else self.moment()
            more = trial.event(moment, self.dice.one(DESCRIPTIONS), self.dice.times.one())
            self.tagged(self.store.event(more, data))

    def tagged(self, event):
        """Gives some events a tag, and some two."""
        if self.dice.chance(0.15):
            self.store.tag(event, *self.dice.one((("one",), ("malware", "seen_2"), ())))
            if self.dice.chance(0.2):
                self.store.tag(event, "second")


def fill_formatters(maker, count):
    """Events for every formatter of Plaso, and for data types that have none."""
    streams = [*maker.streams(), None]
    for one in maker.expected:
        made = 0
        for number in range(4 * count):
            found = values.attributes(maker.dice, one, wild=(0, 1, 1, 2, 3)[number % 5])
            data = values.event_data(one.data_type, found)
            if maker.dice.chance(0.9):
                data._parser_chain = maker.dice.one(("text/syslog", "filestat", "\u00fc", ""))
            made += maker.try_event(data, maker.dice.one(streams))
            if made == count:
                break
    for name in ("none:such", "UPPER:Case", "", "fs:STAT", "\u00fc:\ud800"):
        for _ in range(4 * count):
            found = values.attributes(maker.dice, maker.dice.one(maker.expected), wild=3)
            maker.try_event(values.event_data(name, found), maker.dice.one(streams))


def fill_streams(maker, count):
    """Two events in every event data stream: one that names itself, one that does not."""
    del count
    for number, stream in enumerate([*maker.streams(), None]):
        for own in ({}, {"display_name": "own", "md5_hash": "own", "yara_match": ["own"]}):
            found = {"message_body": "x", **own}
            maker.try_event(values.event_data("syslog:line", found), stream, moment=number)


def fill_deadly(maker, count):
    """One event that psort dies of, after one that it survives."""
    with tempfile.TemporaryDirectory() as folder, stores.Store(pathlib.Path(folder) / "other.plaso") as other:
        found = Maker(other, maker.random.random())
        fill_formatters(found, count)
    deadly = [one for one in found.deadly if found.trial.stored(one[0])]
    maker.try_event(values.event_data("syslog:line", {"message_body": "x"}), None, moment=1)
    data, made = maker.dice.one(deadly)
    data.SetEventDataStreamIdentifier(None)
    maker.store.data(data)
    maker.store.event(made, data)


KINDS = {"deadly": fill_deadly, "formatters": fill_formatters, "streams": fill_streams, **odd.KINDS}


def main():
    """Writes one storage file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("store", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=10, help="event data for each formatter, or in all")
    parser.add_argument("--compression", choices=("zlib", "none"), default="zlib")
    parser.add_argument("--custom", help="formatters that psort will be given, too")
    parser.add_argument("--earlier", action="store_true", help="as in the format of before 2026-05")
    options = parser.parse_args()
    # Something that eats all memory is to end this program, not the machine.
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    # Plaso has something to say about most of these events.
    logging.disable()
    with stores.Store(options.store, options.compression) as store:
        maker = Maker(store, options.seed, options.custom)
        KINDS[options.kind](maker, options.events)
        print(f"{store.count['events']} events of {store.count['data']} event data; "
              f"psort would die of {len(maker.deadly)} more", file=sys.stderr)
    if options.kind == "raw":
        odd.put_raw(options.store, maker.raw)
    if options.earlier:
        stores.as_earlier_format(options.store)


if __name__ == "__main__":
    main()
