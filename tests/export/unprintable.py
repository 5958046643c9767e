#!/usr/bin/env python3
"""Writes src/export/unprintable.rs: the code points that this Python's repr() escapes.

    target/plaso/bin/python tests/export/unprintable.py > src/export/unprintable.rs
    rustfmt --edition 2024 src/export/unprintable.rs

Run it with the Python that Plaso runs with, because each Python has its own Unicode.
"""

import sys
import unicodedata


def boundaries():
    """Finds where printable and unprintable change.

    Yields:
        int: the first code point that differs from the one before it.
    """
    printable = True
    for point in range(sys.maxunicode + 1):
        if chr(point).isprintable() != printable:
            printable = not printable
            yield point


print(
    f"""//! The code points that Python's `repr()` escapes (`str.isprintable`): Unicode {unicodedata.unidata_version}, as of Python
//! {sys.version_info.major}.{sys.version_info.minor}. Made by `tests/export/unprintable.py`; not to be edited.

/// Where printable (first) and unprintable code points take turns.
pub(super) const BOUNDARIES: &[u32] = &["""
)
for point in boundaries():
    print(f"0x{point:x},")
print("];")
