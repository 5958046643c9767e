"""A Plaso that reads its evidence until /plaso/finish is there, inside the cage.

It is as careless as Plaso may be: when its evidence is pulled it says that it came to the end, with exit code 0.

usage: standin.py SCRIPT ARGUMENTS...       what Plaso's Python is called with: log2timeline, or the export
"""

import os
import sys
import time

CHUNK = 1 << 16


def read_all(evidence, ends=("/plaso/finish",)):
    """Reads the evidence from begin to end, again and again, from the disk itself, until there is one of these files."""
    with open(evidence, "rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        events = 0
        while not any(map(os.path.exists, ends)):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(events * CHUNK % size)
            file.read(CHUNK)
            events += 1
            print(
                f"Main (PID: 8) status: running, event data produced: {events}, events produced: 0, "
                "file: EXT:/var/log/syslog\n",
                flush=True,
            )
            time.sleep(0.2)


def main():
    if "export" in sys.argv[1]:
        sys.exit("there is no Plaso here")
    try:
        read_all(sys.argv[-1])
    except OSError as error:
        print(error, file=sys.stderr)
    print("Processing completed.")


if __name__ == "__main__":
    main()
