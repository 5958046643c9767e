"""Writes what Plaso's own formatters make of random attributes, one JSON line a case.

    target/plaso/bin/python tests/export/messages.py ROUNDS [CUSTOM.yaml]

A line has "stored", the event data as a storage file has it; "message", in hexadecimal, null where Plaso
raises or prints the address of an object; and "short" and "long", the sources. The same ROUNDS give the same lines.
"""

import json
import logging
import pathlib
import random
import re
import sys

import plaso
from acstore.containers import interface as containers_interface
from plaso.containers import events  # pylint: disable=unused-import
from plaso.output import formatting_helper
from plaso.output import mediator
from plaso.serializer import json_serializer
from plaso.storage.fake import writer as fake_writer

NAME = re.compile(r"{([a-z][a-zA-Z0-9_]*)")
# An address, or a text that looks like one, which is rare enough here.
ADDRESS = re.compile(r" object at 0x[0-9a-f]+>")
FOLDER = pathlib.Path(plaso.__file__).parent / "data" / "formatters"
NUMBERS = [
    0, 1, 2, 3, 16, 255, 0x20, -1, -255, 2**31, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 2**100, 10**60,
    281474976710656 * 5 + 17,
]
FLOATS = [
    0.0, -0.0, 1.0, 2.0, 0.1, 2.675, 1e15, 1e16, 1e-4, 1e-5, 123456789.125, 1e300, -5e-324,
    float("nan"), float("inf"), float("-inf"),
]
TEXTS = [
    "", "text", "1", "0", "*", "local file", "it's", 'say "it"', "both ' and \"", "a\r\nb\rc\n", "\\n {x} {{y}}",
    "é\u00a0\u00ad\u200b\u2028", "\U0001f600\U000e0001\U0010ffff", "\x00\x1f\x7f\x9f", "\ud83d", "x\udcff\udc80y",
    "\ud83dx\ude00", "\u0378\u09ff\U0001fae8", "SHA", "b'bytes'", "\x1b[31m", "C:\\a\\b", "a; b",
]


class Attributes:
    """Makes random attributes for a formatter."""

    def __init__(self, formatter, dice):
        self._dice = dice
        self._keys = {}
        names = set(formatter.GetFormatStringAttributeNames())
        for helper in formatter.helpers:
            for name in ("input_attribute", "output_attribute"):
                if getattr(helper, name, None):
                    names.add(getattr(helper, name))
            values = getattr(helper, "values", None)
            if values:
                self._keys.setdefault(helper.input_attribute, []).extend(values)
        custom = set(formatter.custom_helpers)
        for identifiers, more in CUSTOM_NAMES:
            if custom & identifiers:
                names.update(more)
        self._names = sorted(names)

    def text(self):
        """Makes text."""
        dice = self._dice
        if dice.random() < 0.7:
            return dice.choice(TEXTS)
        return "".join(chr(dice.choice([dice.randrange(128), dice.randrange(0x3000), dice.randrange(0x110000)])) for _ in range(dice.randrange(8)))

    def plain(self):
        """Makes a value that is no list."""
        dice = self._dice
        return dice.choice(
            [self.text, self.text, lambda: dice.choice(NUMBERS), lambda: dice.choice(FLOATS), lambda: dice.random() < 0.5,
             lambda: dice.randrange(-5, 70000), lambda: dice.uniform(-1e6, 1e6)]
        )()

    def inner(self, depth):
        """Makes a value in a list."""
        dice = self._dice
        roll = dice.random()
        if depth == 0 or roll < 0.6:
            return None if roll < 0.05 else self.plain()
        if roll < 0.75:
            return [self.inner(depth - 1) for _ in range(dice.randrange(4))]
        if roll < 0.9:
            return {"__type__": "tuple", "values": [self.inner(depth - 1) for _ in range(dice.randrange(4))]}
        if roll < 0.98:
            return {self.text(): self.inner(depth - 1) for _ in range(dice.randrange(3))}
        return {"__type__": "bytes", "__encoding__": "base16", "stream": "ab=3D"}

    def value(self, name):
        """Makes a value for an attribute."""
        dice = self._dice
        roll = dice.random()
        keys = self._keys.get(name)
        if keys and roll < 0.6:
            key = dice.choice(keys)
            if isinstance(key, int) and dice.random() < 0.5:
                for other in dice.sample(keys, min(3, len(keys))):
                    key |= other if isinstance(other, int) else 0
            return dice.choice([key, key, key, float(key) if isinstance(key, int) else key, str(key)])
        special = self.special(name)
        if special is not None and roll < 0.8:
            return special
        if roll < 0.86:
            value = self.plain()
            # Plaso counts up to it, without end.
            return 3 if name == "number_of_volumes" and value in NUMBERS else value
        if roll < 0.9:
            return None
        if roll < 0.96:
            return [self.inner(2) for _ in range(dice.randrange(4))]
        if roll < 0.99:
            return {"__type__": "tuple", "values": [self.inner(2) for _ in range(dice.randrange(4))]}
        return {"__type__": "DateTimeValues", "__class_name__": "PosixTime", "timestamp": 17}

    def special(self, name):
        """Makes a value as a helper of Plaso's wants it."""
        dice = self._dice
        few = range(dice.randrange(4))
        if name == "values":
            rows = [[self.text() or None, dice.choice(["REG_SZ", "REG_DWORD"]), dice.choice([None, self.text(), self.text()])] for _ in few]
            return [{"__type__": "tuple", "values": row} for row in rows]
        if name in ("path_hints", "volume_device_paths"):
            return [self.text() for _ in few]
        if name == "volume_serial_numbers":
            return [dice.randrange(2**32) for _ in few]
        if name in ("number_of_volumes", "typed_count"):
            return dice.randrange(-1, 4)
        if name in ("file_reference", "parent_file_reference"):
            return dice.randrange(2**64)
        if name in ("typed", "hidden"):
            return dice.choice(["0", "1", 1])
        return None

    def stored(self, data_type):
        """Makes event data as a storage file has it."""
        dice = self._dice
        present = dice.choice([0.3, 0.8, 1.0])
        stored = {"__type__": "AttributeContainer", "__container_type__": "event_data", "_parser_chain": "x", "data_type": data_type}
        names = [name for name in self._names if dice.random() < present]
        names += dice.sample(["other", "date_time", "display_name", "_hidden"], dice.randrange(3))
        dice.shuffle(names)
        for name in names:
            stored[name] = self.value(name)
        return stored


CUSTOM_NAMES = [
    ({"chrome_history_typed_count"}, ["typed_count"]),
    ({"chrome_preferences_primary_url", "chrome_preferences_secondary_url"}, ["primary_url", "secondary_url"]),
    ({"firefox_history_typed_count", "firefox_history_url_hidden"}, ["typed", "hidden"]),
    ({"msiecf_cached_path"}, ["cached_filename", "cache_directory_name"]),
    ({"shell_item_file_entry_name"}, ["name", "long_name"]),
    ({"windows_prefetch_volumes_string"}, ["number_of_volumes", "volume_serial_numbers", "volume_device_paths"]),
    ({"windows_shortcut_linked_path"}, ["local_path", "network_path", "relative_path", "working_directory"]),
]


def case(helper, output_mediator, stored):
    """Has Plaso format a message.

    Returns:
        dict[str, object]: the case, or None if Plaso cannot read it.
    """
    try:
        event_data = json_serializer.JSONAttributeContainerSerializer.ReadSerialized(json.dumps(stored))
    except Exception:  # pylint: disable=broad-except
        return None
    # As the storage reader does; all events of a real storage file have one.
    event_data.SetEventDataStreamIdentifier(
        containers_interface.AttributeContainerIdentifier(name="event_data_stream", sequence_number=1)
    )
    try:
        message = helper._FormatMessage(output_mediator, None, event_data, None)  # pylint: disable=protected-access
    except Exception:  # pylint: disable=broad-except
        message = None
    if message is not None and (not isinstance(message, str) or ADDRESS.search(message)):
        message = None
    return {
        "stored": stored,
        # In hexadecimal, because JSON would join halves of characters that stand side by side.
        "message": message and message.encode("utf-8", "surrogatepass").hex(),
        "short": helper._FormatSourceShort(output_mediator, None, event_data, None),  # pylint: disable=protected-access
        "long": helper._FormatSource(output_mediator, None, event_data, None),  # pylint: disable=protected-access
    }


def main():
    """Writes the cases."""
    logging.disable(logging.CRITICAL)
    rounds = int(sys.argv[1])
    output_mediator = mediator.OutputMediator(fake_writer.FakeStorageWriter(), data_location=str(FOLDER.parent))
    output_mediator.ReadMessageFormattersFromDirectory(str(FOLDER))
    for custom in sys.argv[2:]:
        output_mediator.ReadMessageFormattersFromFile(custom, override_existing=True)
    helper = formatting_helper.FieldFormattingHelper()
    formatters = dict(output_mediator._message_formatters)  # pylint: disable=protected-access
    for data_type, formatter in sorted(formatters.items()):
        dice = random.Random(data_type)
        attributes = Attributes(formatter, dice)
        for _ in range(rounds):
            name = data_type.upper() if dice.random() < 0.02 else data_type
            # Of a type that no formatter is for, the same attributes are printed by the default one.
            if dice.random() < 0.05:
                name = f"unknown:{name}"
            # A piece with two names makes Plaso raise at the first message. Of a second it would use what pieces
            # it came to, but psort has ended then.
            formatter._format_string_pieces_map = []  # pylint: disable=protected-access
            made = case(helper, output_mediator, attributes.stored(name))
            if made:
                print(json.dumps(made))


main()
