#!/usr/bin/env python3
"""Asks real Timesketch what it holds, for tests that are not written in Python.

usage: ask.py SERVERS.json

Reads one question a line from standard input, `["method", argument...]` or with a last argument of
`{"option": ...}`, where a method is one of api.Client or of this file's Questions, and answers each
with one line: `{"answer": ...}` or `{"refused": "why"}`. It only asks what it is told to ask.
"""

import json
import sys

import api


class Questions:
    """What a test asks that takes more than one request."""

    def __init__(self, client):
        self.client = client

    def documents(self, sketch, timeline=None):
        """Every document of a sketch, or of one timeline, as far as every event has it."""
        timelines = [one["id"] for one in self.client.timelines(sketch)] if timeline is None else [timeline]
        found = []
        for one in timelines:
            for event in self.client.events(sketch, one, fields="datetime,timestamp,timestamp_desc,message,display_name"):
                found.append("|".join(str(event.get(name)) for name in ("timestamp", "timestamp_desc", "message")))
        return found

    def whole_documents(self, sketch, timeline):
        """Every document of a timeline with all its fields, but for what is the server's own."""
        mappings = self.client.get(f"sketches/{sketch}/")["meta"]["mappings"]
        names = ",".join(sorted({one["field"] for one in mappings}))
        events = self.client.events(sketch, timeline, fields=names)
        return [{key: value for key, value in event.items() if key != "__ts_timeline_id"} for event in events]

    def api(self, method, path, body=None):
        """Any request; its status and JSON."""
        answer = self.client.api(method, path, body)
        try:
            return [answer.status, answer.json()]
        except ValueError:
            return [answer.status, None]

    def state(self, sketch):
        """Of each timeline: id, name, status and those of its datasources, and the events found."""
        states = []
        for one in self.client.timelines(sketch):
            timeline, lines = self.client.timeline(sketch, one["id"])
            sources = [source["status"][0]["status"] if source["status"] else "" for source in timeline["datasources"]]
            states.append({"id": one["id"], "name": one["name"], "status": timeline["status"][0]["status"],
                           "sources": sources, "found": lines, "index": timeline["searchindex"]["index_name"]})
        return states


def main():
    """Answers until there are no more questions."""
    client = None
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        options = arguments.pop() if arguments and isinstance(arguments[-1], dict) and method != "api" else {}
        try:
            client = client or api.connect(sys.argv[1])
            questions = Questions(client)
            asked = getattr(questions, method, None) or getattr(client, method)
            answer = {"answer": asked(*arguments, **options)}
        except (api.Refused, OSError, KeyError, ValueError, IndexError) as error:
            # A session that a restart ended is made anew with the next question.
            client, answer = None, {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
