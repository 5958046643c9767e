"""In the place of log2timeline: hangs on the first file of the filter, until a filter leaves that out."""

import os
import signal
import sys

HANGS_ON = "/var/log/log0"

with open("/attempt/filter.yaml", encoding="utf-8") as file:
    left_out = "type: exclude" in file.read()
if left_out:
    os.execv(sys.executable, [sys.executable, "/plaso/bin/log2timeline.real", *sys.argv[1:]])
print(
    "Main (PID: 8) status: running, event data produced: 7, events produced: 0, "
    f"file: OS:/evidence{HANGS_ON}\n",
    flush=True,
)
while True:
    signal.pause()
