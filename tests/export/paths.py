"""Path specifications of every type that dfVFS has, stacked as Plaso meets them, with names that are odd."""

import inspect

from dfvfs.lib import definitions
from dfvfs.path import factory

NAMES = (
    "/var/log/syslog",
    "/",
    "/a/b:c",
    "/tab\there/new\nline\r",
    "/\x00\x01\x1f\x7f\x80\x9f\xa0\xad",
    "/lone\ud800\udcff\udfff/half",
    "/smile-\U0001f600-\u2028",
    "/quote\"back\\slash'",
    "relative/name",
    "\\Windows\\System32\\config",
)


def new(indicator, **properties):
    """One path specification; that of the host keeps its location as it is, as Plaso's reader does."""
    made = factory.Factory.NewPathSpec(indicator, **properties)
    if indicator == definitions.TYPE_INDICATOR_OS:
        made.location = properties.get("location")
    return made


def host(name="/evidence/disk.raw"):
    """The file on the host below every other path specification."""
    return new(definitions.TYPE_INDICATOR_OS, location=name)


def disk():
    """A partition of a raw image, as Plaso reads a device."""
    raw = new(definitions.TYPE_INDICATOR_RAW, parent=host())
    return new(definitions.TYPE_INDICATOR_GPT, location="/p1", parent=raw)


def stacks(name):
    """The stacks that path_helper treats one by one, for one name."""
    definition = definitions
    ext = new(definition.TYPE_INDICATOR_EXT, inode=12, location=name, parent=disk())
    gzip = new(definition.TYPE_INDICATOR_GZIP, parent=ext)
    qcow = new(definition.TYPE_INDICATOR_QCOW, parent=host("/evidence/d.qcow2"))
    partition = new(definition.TYPE_INDICATOR_TSK_PARTITION, location="/p2", part_index=3,
                    start_offset=1048576, parent=qcow)
    lvm = new(definition.TYPE_INDICATOR_LVM, location="/lvm1", volume_index=0, parent=disk())
    apfs = new(definition.TYPE_INDICATOR_APFS_CONTAINER, location="/apfs2", volume_index=1, parent=disk())
    yield from (host(name), ext, gzip, qcow, partition, lvm)
    yield new(definition.TYPE_INDICATOR_XFS, inode=1 << 40, location=name, parent=lvm)
    yield new(definition.TYPE_INDICATOR_APFS, identifier=77, location=name, parent=apfs)
    yield new(definition.TYPE_INDICATOR_TSK, inode=5, location=name, data_stream="ads:\x01", parent=partition)
    for method in ("bzip2", "xz", "zlib", "lzma"):
        yield new(definition.TYPE_INDICATOR_COMPRESSED_STREAM, compression_method=method, parent=ext)
    tar = new(definition.TYPE_INDICATOR_TAR, location=name, parent=gzip)
    yield tar
    yield new(definition.TYPE_INDICATOR_ZIP, location=name, parent=tar)
    yield new(definition.TYPE_INDICATOR_CPIO, location=name, parent=new(
        definition.TYPE_INDICATOR_COMPRESSED_STREAM, compression_method="bzip2", parent=host(name)))
    yield new(definition.TYPE_INDICATOR_GZIP, parent=tar)
    for index in (0, 7, None):
        more = {} if index is None else {"store_index": index}
        shadow = new(definition.TYPE_INDICATOR_VSHADOW, location="/vss1", parent=disk(), **more)
        ntfs = new(definition.TYPE_INDICATOR_NTFS, location=name, mft_entry=5, mft_attribute=1, parent=shadow)
        yield from (shadow, ntfs)
        yield new(definition.TYPE_INDICATOR_GZIP, parent=ntfs)
        yield new(definition.TYPE_INDICATOR_COMPRESSED_STREAM, compression_method="xz", parent=shadow)
        yield new(definition.TYPE_INDICATOR_COMPRESSED_STREAM, compression_method="xz", parent=ntfs)
    # Not one with a row_condition: psort cannot read it back.
    yield new(definition.TYPE_INDICATOR_SQLITE_BLOB, table_name="t", column_name="c", row_index=4, parent=ext)


VALUES = {
    "location": "/place", "store_index": 2, "part_index": 1, "volume_index": 3, "inode": 9, "mft_entry": 8,
    "mft_attribute": 2, "identifier": 6, "start_offset": 512, "range_offset": 10, "range_size": 20,
    "compression_method": "gzip", "encoding_method": "base64", "encryption_method": "rc4", "cipher_mode": "ecb",
    "key": "k", "password": "p\u00e4ss", "recovery_password": "1-2", "startup_key": "s", "table_name": "t",
    "column_name": "c", "row_index": 1, "data_stream": "stream",
}


def of_every_type():
    """One of every type that is registered, with every property that its constructor takes."""
    registered = factory.Factory._path_spec_types  # pylint: disable=protected-access
    for indicator, kind in sorted(registered.items()):
        names = inspect.signature(kind.__init__).parameters
        properties = {name: VALUES[name] for name in names if name in VALUES}
        for parent in (None, host("/below"), disk()):
            try:
                yield new(indicator, **properties, **({} if parent is None else {"parent": parent}))
            except (ValueError, KeyError, TypeError):
                # A type that needs a parent, or must not have one.
                continue


def every():
    """All of them, in the same order each time."""
    for name in NAMES:
        yield from stacks(name)
    yield from of_every_type()


