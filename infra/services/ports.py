#!/usr/bin/env python3
"""Ports of this machine that nobody listens on now.

    ports.py NAME...      prints NAME=PORT for each

Below those that the system gives to outgoing connections: one of these could take the port of a server while it is down,
even that of a client which tries to reach it there and then speaks to itself.
"""

import random
import socket
import sys

ATTEMPTS = 1000


def first_outgoing():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 32768


def free_ports(count):
    """All are held open until the last one is found, so that they differ."""
    below, held = first_outgoing(), []
    try:
        for _ in range(ATTEMPTS):
            if len(held) == count:
                break
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", random.randrange(10_000, below) if below > 11_000 else 0))
                held.append(one)
            except OSError:
                one.close()
        else:
            raise SystemExit("no free port")
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


if __name__ == "__main__":
    for name, port in zip(sys.argv[1:], free_ports(len(sys.argv) - 1)):
        print(f"{name}={port}")
