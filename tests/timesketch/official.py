"""Imports a storage file with Timesketch's own importer, for comparison; prints the timeline's id.

usage: official.py SERVERS.json SKETCH NAME FILE

To be run with the Python of Timesketch's environment. The password goes in by a file, so that it is
in no list of processes. It imports and does nothing else.
"""

import json
import sys

from timesketch_api_client import client
from timesketch_import_client import importer


def main():
    """Imports."""
    with open(sys.argv[1], encoding="utf-8") as file:
        about = json.load(file)
    with open(about["password_file"], encoding="utf-8") as file:
        password = file.read().strip()
    api = client.TimesketchApi(about["url"], about["user"], password=password, auth_mode="userpass")
    with importer.ImportStreamer() as streamer:
        streamer.set_sketch(api.get_sketch(int(sys.argv[2])))
        streamer.set_timeline_name(sys.argv[3])
        streamer.set_provider("official")
        streamer.set_upload_context("official")
        streamer.add_file(sys.argv[4])
        timeline = streamer.timeline
    print(timeline.id)


if __name__ == "__main__":
    main()
