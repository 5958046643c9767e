"""Gives QEMU's emulated NVMe controller the identity of an Amazon EBS volume.

QEMU has one model name and leaves the vendor's area empty. Its answer to Identify Controller is a structure of 4096
bytes that is filled when the device is made, and copied to the guest as it is. So the machine is stopped, the device
added, that structure rewritten in QEMU's memory, and the machine goes on: the guest never sees the old bytes. This
depends on the inside of QEMU (tried with 7.2), so every step is checked.

Offsets: NVMe base specification (vendor 0, serial number 4, model 24, firmware 64); byte 3072 is EBS's own.
"""

import re
import struct

EBS = b"Amazon Elastic Block Store"
INSTANCE_STORE = b"Amazon EC2 NVMe Instance Storage"
AMAZON = 0x1D0F
_PCI_DEVICE = {EBS: 0x8061, INSTANCE_STORE: 0xCD01}

# Vendor, device, then the class of QEMU's NVMe controllers, in the PCI configuration.
_QEMU_PCI = re.escape(bytes.fromhex("361b1000")) + b"...." + b"\x02\x02\x08\x01"
# The guest's memory is in larger pieces.
_LARGEST = 256 << 20


def _find(pid, pattern):
    """Addresses of the places in a process's memory that match."""
    found = []
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ 00:00 0\s*(\S*)", line)
            if not match or match[3] == "[stack]":
                continue
            begin, end = int(match[1], 16), int(match[2], 16)
            if end - begin >= _LARGEST:
                continue
            try:
                memory.seek(begin)
                data = memory.read(end - begin)
            except OSError:
                continue
            found += [begin + hit.start() for hit in re.finditer(pattern, data, re.S)]
    return found


def controllers(pid):
    """The PCI configurations of controllers that are still QEMU's own."""
    return set(_find(pid, _QEMU_PCI))


def rewrite(pid, serial, attachment, model=EBS, before=frozenset()):
    """Rewrites the controller with this serial number; `before` are the controllers from before it was added."""
    hits = _find(pid, re.escape(serial.encode().ljust(20) + b"QEMU NVMe Ctrl".ljust(40)))
    assert len(hits) == 1, f"one controller has the serial number {serial}, not {len(hits)}"
    identity = hits[0] - 4
    new = [address for address in controllers(pid) if address not in before]
    assert len(new) == 1, f"one controller is new, not {len(new)}"
    with open(f"/proc/{pid}/mem", "r+b", 0) as memory:
        memory.seek(identity)
        # The sizes of queue entries.
        assert memory.read(4096)[512:514] == b"\x66\x44", "this is no answer to Identify Controller"
        changes = (
            (0, struct.pack("<HH", AMAZON, AMAZON)),
            (24, model.ljust(40)),
            (64, b"1.0".ljust(8)),
            (3072, attachment.encode().ljust(32) if attachment else bytes(32)),
        )
        for offset, data in changes:
            memory.seek(identity + offset)
            memory.write(data)
        memory.seek(new[0])
        memory.write(struct.pack("<HH", AMAZON, _PCI_DEVICE[model]))
