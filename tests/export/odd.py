"""Storage files about order, doubles, what is missing, times that have no usual text, and unusual JSON."""

import json
import sqlite3
import zlib

import paths
import trial
import values

MICROSECONDS_OF_YEAR = 31_556_952_000_000


def fill_order(maker, count):
    """Doubles and ties that show: the same hash on different documents, so that it is seen which one is kept."""
    streams = [maker.store.stream(paths.host(f"/stream/{number}")) for number in range(3)]
    hashes = [f"{number:032x}" for number in range(4)] + ["", "UNKNOWN", "\u00fc", "zz"]
    descriptions = ("Last Access Time", "Creation Time", "Recorded Time", "Added Time", "a", "\u00e9", "Z", None)
    for number in range(20 * count):
        data = values.event_data("syslog:line", {"message_body": f"event data {number}"})
        stream = maker.dice.one([*streams, None])
        maker.store.data(data, stream, hash_value=maker.dice.one(hashes))
        for _ in range(maker.random.randrange(1, 4)):
            moment = maker.random.randrange(12) if maker.dice.chance(0.7) else maker.random.randrange(-10**15, 10**15)
            # psort cannot put two events in order that have no description.
            description = maker.dice.one(descriptions if abs(moment) > 12 else descriptions[:-1])
            event = maker.store.event(trial.event(moment, description), data)
            if maker.dice.chance(0.4):
                maker.store.tag(event, f"tag_{number}", *maker.dice.one(((), ("more",))))


def fill_shuffled(maker, count):
    """Event rows in no order of their event data, as no Plaso of today leaves them."""
    kept = []
    for number in range(20 * count):
        data = values.event_data("fs:stat", {"filename": f"/file {number}", "inode": number})
        kept.append(maker.store.data(data, maker.store.stream(paths.host(f"/stream/{number}"))))
    for _ in range(60 * count):
        moment = maker.random.randrange(50)
        maker.store.event(trial.event(moment, maker.dice.one(("Creation Time", "a"))), maker.dice.one(kept))


def fill_years(maker, count):
    """Years from the first to the last that psort can write, so also those of five digits and the year 0."""
    for number in range(count * 30):
        year = maker.random.randrange(-1970, 290_000) if number % 2 else maker.random.randrange(-1970, 1000)
        moment = year * MICROSECONDS_OF_YEAR + maker.random.randrange(MICROSECONDS_OF_YEAR)
        if moment < 2**63:
            maker.try_event(values.event_data("syslog:line", {"message_body": str(number)}), None, moment=moment)


def fill_negative(maker, count):
    """The same event data as `positive`, and events before the year 0, of which psort dies."""
    fill_positive(maker, count)
    for number, moment in enumerate((-(2**63), -(2**62), -62167219200000001, -62198755200000000, -99999999999999999)):
        data = maker.store.data(values.event_data("syslog:line", {"message_body": f"before {number}"}))
        maker.store.event(trial.event(moment, "Recorded Time"), data)


def fill_positive(maker, count):
    """Events of usual times."""
    for number in range(count):
        data = maker.store.data(values.event_data("syslog:line", {"message_body": f"after {number}"}))
        maker.store.event(trial.event(number * MICROSECONDS_OF_YEAR, "Recorded Time"), data)


def fill_absent(maker, count):
    """What can be missing: hashes, descriptions, parser chains, streams that are not there."""
    for number in range(count):
        data = values.event_data("syslog:line", {"message_body": f"event data {number}"})
        stream = maker.store.stream(paths.host("/there")) if number % 2 else None
        maker.store.data(data, stream, hash_value="" if number % 3 else None)
        maker.store.event(trial.event(number, None if number % 4 == 0 else "Recorded Time"), data)
    # A stream that is named and not there; Plaso's writer has no way to say so.
    missing = values.event_data("syslog:line", {"message_body": "no such stream"})
    gone = maker.store.stream(paths.host("/gone"))
    gone.GetIdentifier().sequence_number = 4000
    maker.store.data(missing, gone)
    maker.store.event(trial.event(70, "Recorded Time"), missing)


# JSON that Python reads, though Plaso's writer writes none of it: first what `message_body` is.
BODIES = (
    '"twice", "pid": 1, "message_body": "last"', '\t"space"\n', r'"\u0041\/\b\f\n\r\t\""',
    r'"\ud83d\ude00 \ud83d \ude00"', '"\u00fc \U0001f600 \u2028"', "null", '"' + "y" * 70000 + '"',
    '[[], [[]], {"a": {"b": [1.0, 1E2, null, true]}}]', '{"__type__": "tuple", "values": [1, [2], "3"]}',
    '[{"__type__": "tuple", "values": []}, {"__type__": "tuple", "values": [1]}]', '{"a": 1}',
    '[{"__type__": "bytes", "stream": "=00"}]', '{"__type__": "nothing"}',
    '[{"__type__": "DateTimeValues", "__class_name__": "PosixTime", "timestamp": 1}, 2]',
    '[{"__type__": "collections.Counter", "a": 1}]', '[{"__type__": "", "a": 1}]',
)
NUMBERS = (
    "-0", "1E5", "1.50", "1e400", "-1e-400", "12345678901234567890123", "0.1e1", "NaN", "-Infinity", "1.0",
    "100000000000000000000.0",
)
FORMS = (
    *(f'"message_body": {body}' for body in BODIES), *(f'"pid": {number}' for number in NUMBERS),
    '"": "no name"', '"_event_data_stream_identifier": "event_data_stream.1"', '"_parser_chain": null',
    '"_parser_chain": ""', '"data_type": "fs:stat"', '"__container_type__": "event_data"',
    '"_event_values_hash": null', r'"hex": "\uD800\uDC00"',
    '"path_spec": {"__type__": "PathSpec", "type_indicator": "OS", "location": "/own"}',
)


def fill_raw(maker, count):
    """Event data whose JSON is written in ways that Plaso's writer does not use."""
    del count
    maker.store.stream(paths.host("/first"))
    maker.raw = []
    for number, form in enumerate(FORMS):
        text = ('{"__type__": "AttributeContainer", "__container_type__": "event_data", "data_type": "syslog:line", '
                f'"_event_values_hash": "{number:032x}", {form}}}')
        event = trial.event(number // 4, "Recorded Time")
        if not maker.trial.survives(text, event, None, None):
            continue
        data = maker.store.data(values.event_data("syslog:line", {}))
        maker.store.event(event, data)
        maker.raw.append(text)


def put_raw(path, texts):
    """Puts texts of JSON in the place of event data, from the first on."""
    with sqlite3.connect(path) as connection:
        for row, text in enumerate(texts, 1):
            json.loads(text)
            content = zlib.compress(text.encode("utf-8"))
            connection.execute("UPDATE event_data SET _data = ? WHERE _identifier = ?", (content, row))
    connection.close()


KINDS = {
    "order": fill_order, "shuffled": fill_shuffled, "years": fill_years, "negative": fill_negative,
    "positive": fill_positive, "absent": fill_absent, "raw": fill_raw,
}
