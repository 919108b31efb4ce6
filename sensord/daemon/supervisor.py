"""What systemd is told of the daemon, where it started it (Type=notify, sd_notify(3)). Built by `cli`."""

import socket
import time
from contextlib import suppress

from sensord.clock import Clock

ALIVE_EVERY_S = 1.0


class Supervisor:
    """Whoever listens at NOTIFY_SOCKET; None: nobody does. What can't be delivered is dropped: nothing waits for it."""

    def __init__(self, address: str | None, clock: Clock) -> None:
        self._address, self._clock = address, clock
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._alive_at = float("-inf")
        self._status = ""

    def ready(self) -> None:
        """The daemon has what it needs, and reads; or has reloaded."""
        self._tell("READY=1")

    def alive(self) -> None:
        """The main loop turns. Feeds the watchdog of the unit, at most once a second."""
        if (now := self._clock.monotonic()) >= self._alive_at + ALIVE_EVERY_S:
            self._alive_at = now
            self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def reloading(self) -> None:
        """Settings are being read again; to be followed by `ready`."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def stopping(self) -> None:
        """It drains."""
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        if self._address is not None:
            place = "\0" + self._address[1:] if self._address.startswith("@") else self._address
            with suppress(OSError):
                self._socket.sendto(text.encode(), place)
