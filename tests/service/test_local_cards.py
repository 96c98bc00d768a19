"""Pre-searched models whose weights are here, as a process of its own finds them."""

from __future__ import annotations

import time

from hubserve.cards.card import list_cards
from hubserve.service import local_cards
from hubserve.service.local_cards import LocalCards


def test_names_are_found_and_kept(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    cards = LocalCards()
    found = cards.names()
    assert "efficientnet-lite0" in found  # Its weights come with an installed package.
    assert found == sorted(found)
    assert set(found) < set(list_cards())
    began = time.monotonic()
    assert cards.names() == found
    assert time.monotonic() - began < 0.1
    # A process that fails leaves what was known.
    monkeypatch.setattr(local_cards, "WORKER", "hubserve.workers.nosuch")
    monkeypatch.setattr(local_cards, "FRESH_SECONDS", 0.0)
    assert cards.names() == found
    assert "cannot look for weights" in caplog.text
