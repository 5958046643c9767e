#!/usr/bin/env python3
"""Writes the artifact definitions that log2timeline itself looks up, and no others.

usage: DIR/bin/python -I definitions.py FILE

Without `--artifact_filters` Plaso 20260720 needs artifact definitions only to learn about the system before it parses:
`plaso/preprocessors` asks for 29 of the 731 by name. It reads all of them twice at each start, in Python, which is more
than half of the CPU time of a start. Given FILE as `--artifact_definitions` it learns the same.
"""

import pathlib
import sys

import artifacts
import yaml
from plaso import preprocessors  # noqa: F401  registers all of them
from plaso.preprocessors import manager


def wanted():
    """The definitions, as they stand in the package, in its order."""
    names = set(manager.PreprocessPluginsManager.GetNames())
    folder = pathlib.Path(artifacts.__file__).parent / "data"
    if not folder.is_dir():
        sys.exit(f"read artifact definitions: {folder} is not there; this release of artifacts keeps them elsewhere")
    for path in sorted(folder.glob("*.yaml")):
        with path.open(encoding="utf-8") as file:
            for definition in yaml.safe_load_all(file):
                if definition and names & {definition["name"], *definition.get("aliases", ())}:
                    yield definition


def main():
    """Writes the file."""
    (output,) = map(pathlib.Path, sys.argv[1:])
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("x", encoding="utf-8") as file:
        yaml.safe_dump_all(wanted(), file, sort_keys=False, explicit_start=True)


if __name__ == "__main__":
    main()
