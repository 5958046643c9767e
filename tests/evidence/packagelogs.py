"""What the package tools leave: dpkg.log and apt's history."""

import clock

PARTS = ("core", "common", "dev", "bin", "data", "utils", "tools", "doc")


def fill(tree, world, count):
    """About count dpkg lines, written package by package as dpkg does."""
    for seconds in world.times(max(3, count // 35)):
        install(tree, world, seconds)


def install(tree, world, seconds):
    """One apt run over a few packages."""
    names = [
        f"lib{world.pick('abcdefghkmpst')}{world.hex(16)}-{world.pick(PARTS)}"
        for _ in range(world.number(2, 9))
    ]
    version = f"{world.number(1, 9)}.{world.number(0, 40)}-{world.number(1, 9)}"
    listed = ", ".join(f"{name}:amd64 ({version})" for name in names)
    history(tree, seconds, f"apt-get -y install {' '.join(names)}", listed, seconds + len(names))
    dpkg(tree, seconds, "startup archives unpack")
    for step, name in enumerate(names):
        dpkg(tree, seconds + step, f"install {name}:amd64 <none> {version}")
        for state in ("half-installed", "unpacked", "half-configured", "installed"):
            dpkg(tree, seconds + step, f"status {state} {name}:amd64 {version}")


def dpkg(tree, seconds, text):
    """One line of dpkg."""
    tree.add("/var/log/dpkg.log", seconds, f"{clock.plain(seconds)} {text}\n")


def history(tree, seconds, command, listed, end):
    """One block of apt's history."""
    start, end = (clock.plain(s).replace(" ", "  ") for s in (seconds, end))
    tree.add(
        "/var/log/apt/history.log",
        seconds,
        f"\nStart-Date: {start}\nCommandline: {command}\nInstall: {listed}\nEnd-Date: {end}\n",
    )
