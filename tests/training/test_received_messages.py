"""Messages of another process, and the errors of those who get them."""

from __future__ import annotations

import pytest

from hubserve.training.received_messages import received


def test_all_messages_arrive_in_order_before_the_end():
    found = []
    with received(found.append) as connection:
        for number in range(100):
            connection.send(number)
    assert found == list(range(100))


def test_an_error_of_the_receiver_is_raised_at_the_end_and_stops_the_sender():
    def refuse(message):
        raise ValueError(message)

    def send_until_refused():
        with received(refuse) as connection:
            connection.send("first")
            for _ in range(100_000):  # Fails as soon as the receiver is closed.
                connection.send("next")

    with pytest.raises(ValueError, match="first"):
        send_until_refused()


def test_an_error_of_the_block_is_raised():
    found = []

    def send_and_fail():
        with received(found.append) as connection:
            connection.send(1)
            raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        send_and_fail()
    assert found == [1]
