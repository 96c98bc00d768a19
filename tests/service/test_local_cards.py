"""Pre-searched models whose weights are here, as a process of its own finds them."""

from __future__ import annotations

import time

import anyio
import pytest
from anyio import to_thread

from hubserve.cards.card import list_cards
from hubserve.service import local_cards
from hubserve.service.local_cards import LocalCards


@pytest.mark.slow
def test_names_are_found_and_kept(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    cards = LocalCards()
    found = anyio.run(cards.names)
    assert "efficientnet-lite0" in found  # Its weights come with an installed package.
    assert found == sorted(found)
    assert set(found) < set(list_cards())
    began = time.monotonic()
    assert anyio.run(cards.names) == found
    assert time.monotonic() - began < 0.1
    # A process that fails leaves what was known.
    monkeypatch.setattr(local_cards, "WORKER", "hubserve.workers.nosuch")
    monkeypatch.setattr(local_cards, "FRESH_SECONDS", 0.0)
    assert anyio.run(cards.names) == found
    assert "cannot look for weights" in caplog.text


def test_calls_that_wait_take_one_thread_together(monkeypatch):
    cards, looks = LocalCards(), []

    def look() -> None:
        looks.append(1)
        time.sleep(0.3)

    monkeypatch.setattr(cards, "_look", look)

    async def ask() -> int:
        limiter = to_thread.current_default_thread_limiter()
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(cards.names)
            await anyio.sleep(0.1)
            return limiter.borrowed_tokens

    assert anyio.run(ask) == 1
    assert len(looks) == 1
