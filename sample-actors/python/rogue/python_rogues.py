"""What a silo must survive of Python. It uses no SDK, only the bindings of componentize-py."""

import encodings.idna  # noqa: F401 - what a module imports when it is used is not there then: no files
import os
import socket
import sys
import time

from wit_world.imports import state


def outcome(action):
    """What became of it, as text."""
    try:
        action()
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


class PythonRogue:
    def __init__(self, key: str):
        self.pings = 0
        self.leaked = []

    def ping(self) -> int:
        self.pings += 1
        return self.pings

    def raise_(self, message: str) -> None:
        raise ValueError(message)

    def exit(self) -> None:
        sys.exit(3)

    def recurse(self) -> None:
        self.recurse()

    def spin(self) -> None:
        while True:
            pass

    def lie(self) -> int:
        return "no number"

    def leak(self) -> None:
        while True:
            self.leaked.append(bytearray(1 << 20))

    def connect(self) -> str:
        return outcome(lambda: socket.create_connection(("127.0.0.1", 7070), timeout=5))

    def look_up(self) -> str:
        return outcome(lambda: socket.getaddrinfo("localhost", 80))

    def open_file(self) -> str:
        return outcome(lambda: open("/etc/passwd"))

    def environment(self) -> list[str]:
        return sorted(os.environ)

    def sleep(self, ms: int) -> None:
        time.sleep(ms / 1000)

    def stored(self) -> str:
        return (state.get("text") or b"").decode()

    def store(self, text: str) -> None:
        state.set("text", text.encode())

    def store_then_raise(self, text: str) -> None:
        self.store(text)
        raise ValueError("stored, then raised")
