"""What POST /exports takes for the name of a model; the rest is in test_routes.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hubserve import store
from hubserve.errors import ModelNotFoundError
from hubserve.service.name_resolution import NameResolver
from hubserve.service.routes.exports import _check_known
from hubserve.store import aliases
from tests.stores import store_at, tiny_package


def test_names_mean_what_they_do_elsewhere(tmp_path):
    with store_at(tmp_path):
        tag = store.publish(tiny_package().path, name="flowers").tag
        aliases.set_alias("production", tag)
        resolver = NameResolver()
        resolver.refresh()
        shared = SimpleNamespace(find_model=lambda name: resolver.traffic_shares(name)[0].versions[0], resolver=resolver)
        for name in ("production", "flowers", "flowers:latest", tag, "efficientnet-lite0"):
            _check_known(shared, name)
        with pytest.raises(ModelNotFoundError, match=r"no alias, not in the store, .* Did you mean production\?"):
            _check_known(shared, "producton")
