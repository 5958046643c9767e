#!/usr/bin/env python3
"""Finds what Plaso takes of a folder with a filter file, with Plaso's and dfVFS's own code.

usage: find_paths.py FILTER FOLDER

Prints a JSON list of the paths below FOLDER, each once. Exits with 1 if a part of a path is not a
regular expression for Python. Runs in the Plaso environment.
"""

import json
import re
import sys

from dfvfs.helpers import file_system_searcher
from dfvfs.lib import definitions
from dfvfs.path import factory
from dfvfs.resolver import resolver

from plaso.engine import path_filters
from plaso.engine import yaml_filter_file


def check(filters):
    """dfVFS passes over what does not compile, so it is compiled here as dfVFS does it."""
    for path_filter in filters:
        for path in path_filter.paths:
            for segment in path.split("/"):
                try:
                    re.compile(f"^{segment}$", flags=re.DOTALL | re.UNICODE | re.IGNORECASE)
                except re.error as error:
                    sys.exit(f"{path}: {segment}: {error}")


def below(entry):
    """The entry and all below it: a folder that a filter names is taken whole."""
    yield entry.path_spec.location
    if entry.IsDirectory():
        for sub_entry in entry.sub_file_entries:
            yield from below(sub_entry)


def main(filter_file, folder):
    """Finds."""
    filters = yaml_filter_file.YAMLFilterFile().ReadFromFile(filter_file)
    check(filters)
    helper = path_filters.PathCollectionFiltersHelper()
    helper.BuildFindSpecs(filters)
    mount_point = factory.Factory.NewPathSpec(definitions.TYPE_INDICATOR_OS, location=folder)
    file_system = resolver.Resolver.OpenFileSystem(mount_point)
    searcher = file_system_searcher.FileSystemSearcher(file_system, mount_point)
    found = set()
    for path_spec in searcher.Find(find_specs=helper.included_file_system_find_specs):
        if path_spec.location not in found:
            found.update(below(file_system.GetFileEntryByPathSpec(path_spec)))
    json.dump(sorted(path[len(folder):] for path in found), sys.stdout)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
