"""Logs of containers: Docker's JSON files and the CRI logs of Kubernetes pods."""

import json

import clock
from clock import START
from world import SUBJECTS

IMAGES = ("registry.example.com/shop/web:1.14", "registry.example.com/shop/api:2.3", "redis:7", "nginx:1.27")


def fill_docker(tree, world, count):
    """Some containers with their log and settings."""
    for number, image in enumerate(IMAGES):
        name = world.hex(256)
        folder = f"/var/lib/docker/containers/{name}"
        for seconds in world.times(count // len(IMAGES)):
            tree.add(f"{folder}/{name}-json.log", seconds, docker_entry(world, seconds))
        tree.file(f"{folder}/config.v2.json", docker_config(name, image, number), START, 0o600)


def docker_entry(world, seconds):
    """One line of a container as Docker keeps it."""
    entry = {
        "log": f"{world.pick(('INFO', 'INFO', 'WARN', 'ERROR'))} {world.sentence()}\n",
        "stream": world.pick(("stdout", "stderr")),
        "time": clock.nanos(seconds),
    }
    return json.dumps(entry) + "\n"


def docker_config(name, image, number):
    """What Docker knows about a container."""
    return json.dumps(
        {
            "ID": name,
            "Created": clock.nanos(START),
            "State": {
                "Running": True,
                "StartedAt": clock.nanos(START + 2),
                "FinishedAt": "0001-01-01T00:00:00Z",
            },
            "Config": {"Hostname": name[:12], "Image": image},
            "Name": f"/web{number}",
            "Driver": "overlay2",
        }
    )


def fill_pods(tree, world, count):
    """Some pods with their logs, and the flat folder of links to them."""
    pods = 3
    for _ in range(pods):
        pod = f"{world.pick(SUBJECTS)}-{world.hex(36)}-{world.hex(20)}"
        log = f"/var/log/pods/shop_{pod}_{world.uuid()}/api/0.log"
        for seconds in world.times(count // pods):
            tree.add(log, seconds, pod_entry(world, seconds))
        tree.link(f"/var/log/containers/{pod}_shop_api-{world.hex(256)}.log", log, START)


def pod_entry(world, seconds):
    """One line of a container as the CRI keeps it."""
    stream = world.pick(("stdout", "stderr"))
    return f'{clock.nanos(seconds)} {stream} F level=info msg="{world.sentence()}"\n'
