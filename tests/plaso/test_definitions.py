#!/usr/bin/env python3
"""Tests of the artifact definitions that an installed Plaso is given.

Run with the Python that has Plaso: DIR/bin/python tests/plaso/test_definitions.py
"""

import pathlib
import sys
import unittest

import artifacts
from artifacts import reader, registry
from plaso import preprocessors  # noqa: F401  registers all of them
from plaso.preprocessors import manager

ALL = pathlib.Path(artifacts.__file__).parent / "data"
OURS = pathlib.Path(sys.prefix) / "share/dfagent/artifacts.yaml"


class DefinitionsTest(unittest.TestCase):
    """What Plaso looks up by name is what it would find among all definitions."""

    def test_each_that_is_looked_up_is_the_same(self):
        every, ours = registry.ArtifactDefinitionsRegistry(), registry.ArtifactDefinitionsRegistry()
        every.ReadFromDirectory(reader.YamlArtifactsReader(), str(ALL))
        ours.ReadFromFile(reader.YamlArtifactsReader(), str(OURS))
        names = manager.PreprocessPluginsManager.GetNames()
        self.assertIn("LinuxPasswdFile", names)

        def found(where, name):
            """As `plaso.preprocessors.manager` looks it up."""
            definition = where.GetDefinitionByName(name) or where.GetDefinitionByAlias(name)
            return definition.AsDict() if definition else None

        for name in names:
            self.assertIsNotNone(found(ours, name), name)
            self.assertEqual(found(every, name), found(ours, name))


if __name__ == "__main__":
    unittest.main()
