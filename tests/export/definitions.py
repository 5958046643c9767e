"""Writes what PyYAML reads of Plaso's formatter definitions, one JSON line a file.

    target/plaso/bin/python tests/export/definitions.py FOLDER

A line is [name of the file, [document, ...]]. Null, truth, text and lists are themselves, an
integer is {"i": digits}, a float {"f": digits}, a map {"m": [[key, value], ...]}.
"""

import json
import pathlib
import sys

import yaml


def tagged(node):
    """Makes JSON of a node that keeps its kind."""
    if isinstance(node, dict):
        return {"m": [[tagged(key), tagged(value)] for key, value in node.items()]}
    if isinstance(node, list):
        return [tagged(item) for item in node]
    if node is None or isinstance(node, (bool, str)):
        return node
    if isinstance(node, int):
        return {"i": str(node)}
    if isinstance(node, float):
        return {"f": repr(node)}
    raise TypeError(f"a {type(node).__name__}")


for path in sorted(pathlib.Path(sys.argv[1]).glob("*.yaml")):
    with path.open(encoding="utf-8") as file_object:
        documents = [tagged(document) for document in yaml.safe_load_all(file_object)]
    print(json.dumps([path.name, documents]))
