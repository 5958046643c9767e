"""The log of a PostgreSQL server."""

import clock
from tree import HALVES
from world import SUBJECTS

LOG = "/var/log/postgresql/postgresql-15-main.log"


def fill(tree, world, count):
    """Statements, checkpoints and connections."""
    tree.rotate(LOG, HALVES)
    for seconds in world.times(count):
        add(tree, world, seconds, *message(world))


def add(tree, world, seconds, who, level, text):
    """One entry; who is user@database or empty."""
    stamp = f"{clock.plain(seconds)}.{int(seconds % 1 * 1000):03d} UTC"
    tree.add(
        LOG, seconds, f"{stamp} [{world.number(300, 99999)}] {who + ' ' if who else ''}{level}:  {text}\n"
    )


def message(world):
    """User and database, severity and text."""
    chosen, table = world.random.random(), world.pick(SUBJECTS)
    if chosen < 0.15:
        return (
            "",
            "LOG",
            (
                f"checkpoint complete: wrote {world.number(10, 9000)} buffers "
                f"({world.number(1, 50) / 10}%); write={world.number(1, 9000) / 10} s"
            ),
        )
    if chosen < 0.35:
        return (
            "shop@shop",
            "LOG",
            f"connection authorized: user=shop database=shop application_name={table}-worker",
        )
    if chosen < 0.45:
        return "shop@shop", "ERROR", f'duplicate key value violates unique constraint "{table}_pkey"'
    return (
        "shop@shop",
        "LOG",
        (
            f"duration: {world.random.expovariate(1) * 300:.3f} ms  statement: "
            f"SELECT * FROM {table} WHERE id = {world.number(1, 10**6)} LIMIT {world.number(1, 100)}"
        ),
    )
