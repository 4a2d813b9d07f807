"""Signals, so that none is lost.

A handler of Python's runs between two steps of the main thread, and a wait for a lock that begins at the wrong moment
puts it off until that wait is over: a daemon that waits in `queue.get` now and then misses its SIGTERM.  The system's
part of the handler writes the number into a pipe at once; so we wait for the pipe.
"""

import os
import signal
import threading


def leave_at_once() -> None:
    """Until `catch`: nothing has begun, so SIGTERM ends the process with status 0, and SIGHUP has nothing to reload."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))  # an exception may be caught by what is imported


def catch(*numbers: int) -> int:
    """Catches these signals from now on; returns the file descriptor that gives a byte, its number, for each."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in numbers:
        signal.signal(number, lambda number, frame: None)
    return reader


def stops(stopping: threading.Event) -> None:
    """Sets the event at each SIGINT and SIGTERM from now on; not from a handler, where `set` may wait for its own."""
    reader = catch(signal.SIGINT, signal.SIGTERM)

    def wait() -> None:
        while os.read(reader, 1):
            stopping.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
