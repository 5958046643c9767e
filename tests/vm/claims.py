#!/usr/bin/env python3
"""Claims about the image on a real machine: a real systemd, a real udevd, volumes that are plugged in and pulled.

    claims.py prepare           builds the machine, if it is not there yet
    claims.py list              says the claims' names, one a line
    claims.py CLAIM             tests one of them; ends with a traceback if it is not true

They are in claims/, a file for each subject.
"""

import glob
import importlib.util
import os
import sys

import rig
import vm


def load():
    """Has all files of claims register theirs."""
    for path in sorted(glob.glob(os.path.join(vm.HERE, "claims", "*.py"))):
        name = os.path.splitext(os.path.basename(path))[0]
        specification = importlib.util.spec_from_file_location(f"claims_{name}", path)
        specification.loader.exec_module(importlib.util.module_from_spec(specification))


def main():
    load()
    match sys.argv[1:]:
        case ["prepare"]:
            vm.prepare()
        case ["list"]:
            print("\n".join(rig.CLAIMS))
        case [name] if name in rig.CLAIMS:
            rig.CLAIMS[name]()
        case _:
            sys.exit(__doc__)


main()
