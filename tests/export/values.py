"""Attributes of events: what a formatter expects, with one or a few replaced by every kind of value."""

import re

from plaso.containers import events
from plaso.formatters import yaml_formatters_file

import paths

NOTHING = object()

TEXTS = (
    "", " ", "plain", "it's", 'say "hi"', "both ' and \"", "back\\slash", "{brace} {0} {{", "%s %(a)s",
    "tab\tline\nreturn\r\n", "\x00\x01\x1b\x7f", "\x80\x85\x9f\xa0\xad", "\u00fcber \u00df", "\u200b\u2028\u2029\ufeff",
    "\u65e5\u672c", "\U0001f600\U0010ffff", "\ue000\U000f0000", "\u0378\u0530", "\ud800", "\udcff x \udfff",
    "\udc00\ud800", "caf\u0065\u0301", "C:\\Users\\x", "/usr/bin/env", "0", "None", "x" * 3000, "</script>",
)
NUMBERS = (
    0, 1, -1, 2, 7, 16, 255, 256, 1000, 65535, -32768, 2**31 - 1, 2**31, 2**32, -(2**31), 2**53 + 1, 2**63 - 1,
    -(2**63), 2**64, 10**30, -(10**40), True, False,
)
FLOATS = (
    0.0, -0.0, 1.0, 0.1, 1.5, -2.675, 1e16, 1e15, 123456789.123456789, 1e22, 1e-5, 0.0001, 1e300, 5e-324,
    1.7976931348623157e308, float("nan"), float("inf"), float("-inf"),
)


class Dice:
    """Choices that are the same each time for the same seed."""

    def __init__(self, random, times):
        self.random = random
        self.times = times

    def one(self, values):
        """One of some values."""
        return values[self.random.randrange(len(values))]

    def chance(self, share):
        """Whether something with this probability happens."""
        return self.random.random() < share

    def scalar(self):
        """A value without others in it."""
        return self.one((self.one(TEXTS), self.one(NUMBERS), self.one(FLOATS), None))

    def listed(self, depth=2):
        """A list, with lists, tuples and dictionaries in it."""
        items = []
        for _ in range(self.random.randrange(4)):
            kind = self.random.randrange(8 if depth else 5)
            if kind < 5:
                items.append(self.scalar())
            elif kind == 5:
                items.append(self.listed(depth - 1))
            elif kind == 6:
                items.append({self.one(TEXTS): self.scalar() for _ in range(2)})
            else:
                items.append(tuple(self.listed(depth - 1)))
        return items

    def any(self):
        """A value of any kind that an event can have, and of some that it cannot."""
        kind = self.random.randrange(13)
        if kind < 3:
            return self.one(TEXTS)
        if kind < 5:
            return self.one(NUMBERS)
        if kind == 5:
            return self.one(FLOATS)
        if kind == 6:
            return NOTHING
        if kind == 7:
            return None
        if kind == 8:
            return tuple(self.listed())
        if kind == 9:
            return self.one((self.times.one(), [self.times.one(), self.times.one()], [1, self.times.one()]))
        if kind == 10:
            return self.one((b"", b"\x00\xff=\n bytes", {"a": 1}, {}, [b"in a list"]))
        return self.listed()


class Expected:
    """What a formatter's attributes usually hold."""

    def __init__(self, formatter):
        self.data_type = formatter.data_type
        text = " ".join(getattr(formatter, "_format_string_pieces", None) or [formatter._format_string])
        self.numeric = set(re.findall(r"{(\w+):[^}]*[xXodf]}", text))
        self.mapped = {}
        for helper in formatter.helpers:
            name = getattr(helper, "input_attribute", None)
            if name and getattr(helper, "values", None):
                self.mapped.setdefault(name, []).extend(helper.values)
                if type(helper).__name__.startswith("Flags"):
                    self.numeric.add(name)
            elif name:
                self.mapped.setdefault(name, []).extend((True, False))
        made = {getattr(helper, "output_attribute", None) for helper in formatter.helpers}
        names = formatter.GetFormatStringAttributeNames() | set(self.mapped)
        # The attributes that the custom helpers of plaso/formatters/*.py ask for.
        for identifier in formatter.custom_helpers:
            names |= set(CUSTOM.get(identifier, ()))
        self.names = sorted(names - made | set(self.mapped))

    def usual(self, dice, name):
        """A value as Plaso's parsers give it."""
        if name in CUSTOM_VALUES and dice.chance(0.8):
            return dice.one(CUSTOM_VALUES[name])
        if name in self.numeric:
            flags = [value for value in self.mapped.get(name, ()) if isinstance(value, int)]
            if flags and dice.chance(0.7):
                return dice.one(flags) | dice.one(flags)
            return dice.one((0, 1, 255, 4096, 2**31, 2**40, -1))
        if name in self.mapped and dice.chance(0.8):
            return dice.one(self.mapped[name])
        return dice.one((dice.one(TEXTS), dice.one(NUMBERS), dice.one(TEXTS)))


CUSTOM = {
    "chrome_history_typed_count": ("typed_count",),
    "chrome_preferences_primary_url": ("primary_url",),
    "chrome_preferences_secondary_url": ("primary_url", "secondary_url"),
    "firefox_history_typed_count": ("typed",),
    "firefox_history_url_hidden": ("hidden",),
    "msiecf_cached_path": ("cached_filename", "cached_file_path", "cache_directory_name"),
    "msiecf_http_headers": ("http_headers",),
    "ntfs_file_reference": ("file_reference",),
    "ntfs_parent_file_reference": ("parent_file_reference",),
    "ntfs_path_hints": ("path_hints",),
    "shell_item_file_entry_name": ("file_reference", "long_name", "name"),
    "windows_prefetch_path_hints": ("path_hints",),
    "windows_prefetch_volumes_string": (
        "number_of_volumes", "volume_device_paths", "volume_serial_numbers"),
    "windows_registry_values": ("values",),
    "windows_shortcut_linked_path": (
        "local_path", "network_path", "relative_path", "working_directory"),
    "windows_eventlog_message": (
        "event_identifier", "event_level", "message_identifier", "provider_identifier", "source_name",
        "strings", "event_version"),
    "msie_zone_settings": ("settings",),
}
CUSTOM_VALUES = {
    "typed_count": (0, 1, 2, 17),
    "typed": ("1", "0", True, False, 1, 0),
    "hidden": (True, False, 1, 0, "1", "0"),
    "primary_url": ("", "*", "local", "http://a.example/"),
    "secondary_url": ("", "*", "local", "http://a.example/", "http://b.example/"),
    "http_headers": ("HTTP/1.1 200 OK\r\nA: b\r\n", "\r\n", "HTTP"),
    "file_reference": (0, 281474976710698, 2**64 - 1, 5),
    "parent_file_reference": (0, 281474976710698, 2**64 - 1, 5),
    "path_hints": ([], ["\\a"], ["\\a", "\\b'"], ["\ud800"]),
    "number_of_volumes": (0, 1, 2, 3),
    "volume_device_paths": ([], ["\\DEVICE\\1"], ["\\DEVICE\\1", "", "x"]),
    "volume_serial_numbers": ([], [1], [0xFFFFFFFF, 2, 3]),
    "values": (
        [], [("name", "REG_SZ", "value")], [("", "REG_DWORD", "1"), ("b", "REG_BINARY", None)],
        [(None, None, None)], [["list", "REG_SZ", "'quoted'"]],
        [("b", "REG_SZ", "2"), ("a", "REG_SZ", "1"), ("A", "REG_SZ", "0")],
    ),
    "settings": ([("1200", "REG_DWORD", "0")], [("1001", "REG_DWORD", "3"), ("Unknown", "REG_SZ", "x")]),
    "event_identifier": (0, 1, 4624, 0x40000004),
    "message_identifier": (0, 1, 4624, 0x40000004),
    "source_name": ("Microsoft-Windows-Security-Auditing", "none"),
    "strings": ([], ["a", "b"], ["%1", None]),
}

# Names that mean something to psort, whatever the formatter.
SPECIAL = {
    "display_name": ("", "set by the event", "/evidence/disk.raw", 5, None),
    "inode": (0, 12, -3, 2**70, "13", "", 1.5, True, [1], None),
    "md5_hash": ("from the event", None),
    "sha256_hash": ("from the event",),
    "file_entropy": (7.5, "1.0"),
    "yara_match": (["from the event"], [], "text"),
    "path_spec": ("text", None, paths.host("/of/the/event")),
    "tag": (["from the event"], "x"),
    "datetime": ("yesterday", 1),
    "timestamp": (5, "x"),
    "timestamp_desc": ("from the event",),
    "message": ("from the event", None),
    "source_long": ("from the event",),
    "source_short": ("from the event",),
    "parser": ("from the event",),
    "uuid": ("from the event", 5),
    "hostname": ("host", ""),
    "username": ("user",),
    "filename": ("/a/b", ""),
    "offset": (0, 10),
}


def formatters(folder, custom=None):
    """What Plaso's formatters expect, each with its data type, sorted; custom ones come in their place."""
    found = {}
    for path in sorted(folder.glob("*.yaml")) + ([custom] if custom else []):
        for formatter in yaml_formatters_file.YAMLFormattersFile().ReadFromFile(str(path)):
            found[formatter.data_type] = Expected(formatter)
    return [found[name] for name in sorted(found)]


def attributes(dice, expected, wild):
    """Attributes for one event: what is expected, and wild ones of every kind."""
    found = {}
    names = list(expected.names)
    dice.random.shuffle(names)
    for name in names:
        if dice.chance(0.85):
            found[name] = expected.usual(dice, name)
    for _ in range(wild):
        choice = dice.random.random()
        if choice < 0.6 and names:
            found[dice.one(names)] = dice.any()
        elif choice < 0.85:
            name = dice.one(sorted(SPECIAL))
            found[name] = dice.one(SPECIAL[name])
        else:
            found[dice.one(("extra", "Extra_1", "_protected", "\u00fcmlaut", "with space", "a.b"))] = dice.any()
    if dice.chance(0.2):
        found["creation_time"] = dice.times.one()
    return {name: value for name, value in found.items() if value is not NOTHING}


def event_data(data_type, found):
    """Event data with these attributes."""
    made = events.EventData(data_type=data_type)
    for name, value in found.items():
        setattr(made, name, value)
    return made
