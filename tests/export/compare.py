#!/usr/bin/env python3
"""Compares two files of documents, byte for byte and in order.

usage: compare.py EXPECTED ACTUAL [--any-order] [--show N]

Of path_spec only what it says is compared, not the order of its keys: psort's follows Python's hash seed. Neither are
the addresses of Python's objects that psort prints in some messages. Exit code 1 and the first differences when the
documents differ.
"""

import argparse
import collections
import itertools
import json
import re
import sys

# As psort writes it, and our exporter: a string of JSON in the document's JSON.
PATH_SPEC = re.compile(rb'"path_spec":("(?:[^"\\]|\\.)*")')
ADDRESS = re.compile(rb" object at 0x[0-9a-f]+>")
LONGEST = 300


def comparable(line):
    """A document without what differs from run to run."""
    line = ADDRESS.sub(b" object at 0x>", line)
    return PATH_SPEC.sub(_sorted_path_spec, line)


def _sorted_path_spec(match):
    try:
        found = json.loads(json.loads(match[1]))
    except ValueError:
        return match[0]
    return b'"path_spec":' + json.dumps(json.dumps(found, sort_keys=True)).encode("ascii")


def fields(line):
    """The keys and values of a document in their order, or None if it is not one."""
    try:
        return dict(json.loads(line, object_pairs_hook=lambda pairs: collections.OrderedDict(pairs)))
    except ValueError:
        return None


def short(value):
    """A value, or as much of it as a person wants to see."""
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.encode("ascii", "backslashreplace").decode("ascii")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def explain(expected, actual):
    """What differs between two documents, a line each."""
    one, other = fields(expected), fields(actual)
    if one is None or other is None:
        yield f"  expected {short(expected.decode('utf-8', 'surrogateescape'))}"
        yield f"  actual   {short(actual.decode('utf-8', 'surrogateescape'))}"
        return
    yield f"  {short(one.get('data_type'))} at {one.get('datetime')}, {short(one.get('timestamp_desc'))}"
    if list(one) != list(other):
        yield f"  keys expected {list(one)}"
        yield f"  keys actual   {list(other)}"
    for name in one:
        if name in other and json.dumps(one[name]) != json.dumps(other[name]):
            yield f"  {name} expected {short(one[name])}"
            yield f"  {name} actual   {short(other[name])}"
    if one == other and list(one) == list(other):
        yield f"  the same JSON in other bytes: {short(expected.decode('utf-8', 'surrogateescape'))}"
        yield f"  {' ' * 27}and: {short(actual.decode('utf-8', 'surrogateescape'))}"


def compare(expected, actual, show):
    """Compares line by line; returns the numbers of documents and of differences, and the first differences."""
    count, different, lines = 0, 0, []
    for number, (one, other) in enumerate(itertools.zip_longest(expected, actual), 1):
        count = number
        if one == other or (one and other and comparable(one) == comparable(other)):
            continue
        different += 1
        if different > show:
            continue
        lines.append(f"line {number}:")
        if one is None or other is None:
            which, line = ("actual", other) if one is None else ("expected", one)
            lines.append(f"  only {which}: {short(line.decode('utf-8', 'surrogateescape'))}")
        else:
            lines.extend(explain(comparable(one), comparable(other)))
    return count, different, lines


def main():
    """Compares two files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("expected")
    parser.add_argument("actual")
    parser.add_argument("--any-order", action="store_true", help="compare as sets in which a document can be twice")
    parser.add_argument("--show", type=int, default=5, help="how many differences to show")
    options = parser.parse_args()
    with open(options.expected, "rb") as expected, open(options.actual, "rb") as actual:
        if options.any_order:
            expected, actual = (sorted(map(comparable, file)) for file in (expected, actual))
        count, different, lines = compare(expected, actual, options.show)
    for line in lines:
        print(line)
    print(f"{count} documents, {different} different")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
