"""The processes that work on a store, and whether each of them still runs.

A driver is a process (or a thread of one) that runs a plan. It keeps a small document in the store, with its process
and the results that its plan needs; the modification time of the document is its heartbeat. Ages are differences
between two times that the store's own file system set, so that the clocks of the machines need not agree.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from dataclasses import asdict, dataclass
from functools import cache

from ticketdiet.store.layout import ADDRESS

# Seconds without a heartbeat after which another driver may work on the same stage; network file systems show times
# that are up to a minute old.
EXPIRES_AFTER = 120.0
NEEDED_FOR = 600.0  # seconds without a heartbeat after which a driver on another machine counts as ended
MOST_BYTES = 1 << 24
LOG_VARIABLE = "TICKETDIET_LOG"  # set for a run without a terminal: where its output goes


@dataclass(frozen=True)
class Presence:
    """A driver, as described by its document.

    Attributes:
        driver: Its name, 32 hexadecimal digits.
        host: Name of the machine, for people.
        machine: Machine, boot and container; process ids can be compared only where these are equal.
        pid: Its process id.
        began: Start of the process in clock ticks of the machine, because process ids are used again.
        time: Seconds since 1970 at the last heartbeat by its own clock, for places where files have no times.
        reaches: Addresses of the results that its plan needs.
        study: Name of the study that it runs; empty when it runs none.
        executor: Where it works the stages, in a word.
        log: Where its output goes, when it runs without a terminal (``--detach``); else empty.
        stoppable: Whether SIGTERM ends the run in order, which it does in commands and not in any program.
    """

    driver: str
    host: str
    machine: str
    pid: int
    began: int
    time: float
    reaches: tuple[str, ...]
    study: str = ""
    executor: str = ""
    log: str = ""
    stoppable: bool = False

    @classmethod
    def of_this_process(
        cls, driver: str, time: float, reaches: tuple[str, ...], study: str = "", executor: str = ""
    ) -> Presence:
        """Describe the process that calls."""
        pid = os.getpid()
        return cls(
            driver,
            socket.gethostname(),
            _machine(),
            pid,
            _process_began(pid) or 0,
            time,
            reaches,
            study,
            executor,
            log=os.environ.get(LOG_VARIABLE, ""),
            stoppable=callable(signal.getsignal(signal.SIGTERM)),
        )

    @property
    def label(self) -> str:
        """The driver in words, for people."""
        return f"process {self.pid} on {self.host}"

    def to_bytes(self) -> bytes:
        """Write the document."""
        return json.dumps(asdict(self)).encode()

    def is_dead(self) -> bool:
        """Whether the process is known to have ended, which is never known about another machine."""
        return self.machine == _machine() and not _runs(self.pid, self.began)

    def is_here(self) -> bool:
        """Whether the process is known to run, on this machine."""
        return self.machine == _machine() and _runs(self.pid, self.began)


def parse_presence(data: bytes, driver: str) -> Presence | None:
    """Read the document of ``driver``; None when it is not valid."""
    try:
        body = json.loads(data)
        reaches = tuple(address for address in body["reaches"] if ADDRESS.fullmatch(address))
        return Presence(
            driver=driver,
            host=_printable(body["host"])[:64],
            machine=str(body["machine"]),
            pid=int(body["pid"]),
            began=int(body["began"]),
            time=float(body["time"]),
            reaches=reaches,
            study=_printable(body.get("study", "")),
            executor=_printable(body.get("executor", ""))[:64],
            log=_printable(body.get("log", "")),
            stoppable=body.get("stoppable") is True,
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _printable(text: object) -> str:
    return "".join(letter for letter in str(text) if letter.isprintable())[:4096]


@cache
def _machine() -> str:
    boot, container = "", ""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        pass  # not Linux, where only the name is known
    return " ".join((socket.gethostname(), boot, container))


def _runs(pid: int, began: int) -> bool:
    if os.name != "posix":  # on other systems, os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return _process_began(pid) in (began, None)


def _process_began(pid: int) -> int | None:
    """Clock ticks from the start of the machine to that of the process; 0 when it has ended, None when not known."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
