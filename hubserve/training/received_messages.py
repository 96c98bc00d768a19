"""`received`: calls a function in this process with what another process sends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any


@contextmanager
def received(on_message: Callable[[Any], None]) -> Iterator[Connection]:
    """Context manager that yields a connection for another process to send with, and passes each message to `on_message`.

    The context waits at its end until the other process has ended or closed the connection, and all that was sent is passed on.
    If `on_message` raises an error, what is sent afterwards raises BrokenPipeError in the other process, and the context raises
    the error at its end, in place of another `Exception`.

    Args:
        on_message: Called in a thread of this process, with one message after the other.
    """
    receiver, sender = get_context("spawn").Pipe(duplex=False)
    raised: list[Exception] = []

    def receive() -> None:
        try:
            while True:
                try:
                    message = receiver.recv()
                except EOFError:
                    return
                on_message(message)
        except Exception as error:
            raised.append(error)
        finally:
            receiver.close()

    thread = Thread(target=receive, daemon=True)
    thread.start()
    failed: Exception | None = None
    try:
        yield sender
    except Exception as error:
        failed = error
    finally:
        # The other process has ended, or is ended; with the last sender closed, the thread ends when it has read everything.
        sender.close()
        thread.join()
    if raised:
        raise raised[0]
    if failed is not None:
        raise failed
