#!/usr/bin/env python3
"""Loop devices by number, for what losetup cannot do.

usage: loops.py add COUNT | remove NUMBER... | change NODE IMAGE

`add` makes fresh devices and prints their numbers. `change` puts another file behind a read-only loop, as if the
disk in a drive were swapped.
"""

import errno
import fcntl
import os
import select
import sys

# linux/loop.h
LOOP_CHANGE_FD, LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C06, 0x4C80, 0x4C81

# The first number that is tried: far above those that other programs get.
FIRST = 1000


def add(control, count):
    """Adds devices; a number that somebody has is passed over."""
    number = FIRST
    while count:
        try:
            fcntl.ioctl(control, LOOP_CTL_ADD, number)
            print(number)
            count -= 1
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        number += 1


def remove(control, number):
    """Removes a device; it is busy for a moment after its last user has closed it."""
    for _ in range(200):
        try:
            fcntl.ioctl(control, LOOP_CTL_REMOVE, number)
            return
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            select.select([], [], [], 0.05)
    sys.exit(f"/dev/loop{number} is still busy and stays")


def change(node, image):
    """Puts another file behind a device."""
    device = os.open(node, os.O_RDONLY)
    file = os.open(image, os.O_RDONLY)
    fcntl.ioctl(device, LOOP_CHANGE_FD, file)


def main():
    command, *arguments = sys.argv[1:]
    if command == "change":
        change(*arguments)
        return
    with open("/dev/loop-control", "rb") as control:
        if command == "add":
            add(control, int(arguments[0]))
        for number in arguments if command == "remove" else ():
            remove(control, int(number))


if __name__ == "__main__":
    main()
