"""Live models over a real store: who answers for a name while versions come, go, and turn out to be damaged."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import pytest

from hubserve import store
from hubserve.errors import ModelNotFoundError, ModelRefusedError
from hubserve.service.engine import Engine
from hubserve.service.live_models import LiveModels
from hubserve.service.name_resolution import DEFAULT, NameResolver
from hubserve.store import aliases
from tests.stores import small_package, store_at
from tests.waiting import until


class Loader:
    """Loads engines, with a count, and holds those whose tag is in `held` until `go_on`."""

    def __init__(self):
        self.loaded, self.held, self.go_on = [], set(), threading.Event()

    def __call__(self, model):
        if model.tag in self.held:
            assert self.go_on.wait(30)
        engine = Engine(model.package, device="cpu")
        self.loaded.append(model.tag)
        return engine


@pytest.fixture
def home(tmp_path):
    with store_at(tmp_path / "bentoml") as home:
        yield home


@pytest.fixture
def load():
    return Loader()


@pytest.fixture
def refusals():
    return []


@pytest.fixture
def taken():
    return []


@pytest.fixture
def make(home, load, refusals, taken):
    made = []

    def live_models(default=None, *, memory_bytes=1e12) -> LiveModels:
        made.append(
            LiveModels(
                NameResolver(default),
                load,
                seconds=0.02,
                memory_bytes=memory_bytes,
                on_refusal=lambda model: refusals.append(model.tag),
                on_memory=taken.append,
            )
        )
        return made[-1]

    yield live_models
    load.go_on.set()
    for one in made:
        one.close()


def publish(version: str, name: str = "small") -> str:
    return store.publish(small_package().path, name=name, version=version).tag


def damage(tag: str) -> None:
    with (store.resolve(tag).path / "model.onnx").open("ab") as file:
        file.write(b"!")


def answering(live_models: LiveModels, name: str = DEFAULT) -> str:
    return asyncio.run(asyncio.wait_for(live_models.get(name), 30)).tag


def comes_to(live_models: LiveModels, tag: str, name: str = DEFAULT) -> None:
    deadline = time.monotonic() + 30
    while answering(live_models, name) != tag:
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestNames:
    def test_name_tag_and_the_newest_of_all(self, make, load):
        publish("v1")
        publish("v2")
        publish("v1", name="other")
        live_models = make()
        assert answering(live_models) == "other:v1"
        assert answering(live_models, "small") == answering(live_models, "small:latest") == "small:v2"
        assert answering(live_models, "small:v1") == "small:v1"
        assert sorted(load.loaded) == ["other:v1", "small:v1", "small:v2"]

    def test_the_default_of_the_settings(self, make):
        publish("v1")
        publish("v1", name="other")
        assert answering(make("small")) == "small:v1"

    @pytest.mark.parametrize("name", ["nosuch", "small:v2", "small:v", "small:", ":", "a:b:c", "../x", "smal", "x" * 5000])
    def test_names_that_are_none(self, make, name):
        publish("v1")
        with pytest.raises(ModelNotFoundError, match="the store has no"):
            answering(make(), name)

    def test_near_names(self, make):
        publish("v1")
        with pytest.raises(ModelNotFoundError, match=r"no 'smal'\. Did you mean small\?"):
            answering(make(), "smal")

    def test_an_empty_store_and_then_a_model(self, make):
        live_models = make()
        with pytest.raises(ModelNotFoundError, match="the store is empty"):
            answering(live_models)
        publish("v1")
        assert answering(live_models) == "small:v1"

    def test_many_ask_at_once_and_it_is_loaded_once(self, make, load):
        publish("v1")
        live_models = make()

        async def ask():
            return {served.tag for served in await asyncio.gather(*(live_models.get("small") for _ in range(50)))}

        assert asyncio.run(ask()) == {"small:v1"}
        assert load.loaded == ["small:v1"]


class TestVersionsComeAndGo:
    def test_a_new_one_is_warm_before_it_answers(self, make, load):
        publish("v1")
        live_models = make()
        assert answering(live_models) == "small:v1"
        load.held.add("small:v2")
        publish("v2")
        time.sleep(0.2)
        assert answering(live_models) == "small:v1"
        load.go_on.set()
        comes_to(live_models, "small:v2")
        # Nobody asks for the old one any more.
        assert [served.tag for served in live_models.loaded] == ["small:v2"]

    def test_a_slow_load_holds_up_nobody_who_is_served(self, make, load):
        publish("v1")
        publish("v1", name="slow")
        live_models = make("small")
        assert answering(live_models) == "small:v1"
        load.held.add("slow:v1")
        slow = live_models.ask("slow")
        assert answering(live_models) == "small:v1"
        assert not slow.done()
        load.go_on.set()
        assert slow.result(30).tag == "slow:v1"

    def test_a_deleted_one_gives_place_to_the_one_before(self, make):
        publish("v1")
        publish("v2")
        live_models = make()
        assert answering(live_models) == "small:v2"
        store.delete("small:v2")
        comes_to(live_models, "small:v1")
        with pytest.raises(ModelNotFoundError):
            answering(live_models, "small:v2")

    def test_a_tag_that_was_deleted_and_published_anew_is_loaded_anew(self, make, load):
        publish("v1")
        live_models = make()
        before = asyncio.run(live_models.get("small:v1"))
        store.delete("small:v1")
        publish("v1")
        deadline = time.monotonic() + 30
        while asyncio.run(live_models.get("small:v1")) is before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert load.loaded == ["small:v1"] * 2


class TestDamage:
    def test_the_old_one_goes_on_and_the_new_one_is_told(self, make, refusals):
        publish("v1")
        with store_at(store.bentoml_home().parent / "elsewhere"):
            damaged = store.resolve(publish("v2"))
            damage("small:v2")
        live_models = make()
        assert answering(live_models) == "small:v1"
        damaged.path.rename(store.resolve("small:v1").path.parent / "v2")
        deadline = time.monotonic() + 30
        while not live_models.refused:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert answering(live_models) == "small:v1"
        assert refusals == ["small:v2"]
        assert "model.onnx was changed" in next(iter(live_models.refused.values()))
        states = {model.tag: live_models.state_of(model) for model in live_models.resolver.models}
        assert states["small:v1"] == ("loaded", None)
        assert states["small:v2"][0] == "refused"
        with pytest.raises(ModelRefusedError, match=r"small:v2: PackageError: .* was changed"):
            answering(live_models, "small:v2")

    def test_at_the_start_the_next_older_one_stands_in(self, make):
        publish("v1")
        publish("v2")
        damage("small:v2")
        assert answering(make()) == "small:v1"

    def test_parity_that_was_not_passed(self, make):
        publish("v1")
        publish("v2")
        path = store.resolve("small:v2").path / "parity.json"
        path.write_text(path.read_text().replace('"passed": true', '"passed": false'))
        assert answering(make(), "small") == "small:v1"

    def test_nothing_but_damage(self, make):
        publish("v1")
        damage("small:v1")
        with pytest.raises(ModelRefusedError, match="no version of any model can be loaded; small:v1: PackageError"):
            answering(make())

    def test_a_refusal_is_forgotten_with_its_version(self, make):
        publish("v1")
        publish("v2")
        damage("small:v2")
        live_models = make()
        assert answering(live_models) == "small:v1"
        store.delete("small:v2")
        publish("v2")
        comes_to(live_models, "small:v2")
        assert live_models.refused == {}


class TestAliases:
    def test_production_is_the_default(self, make):
        publish("v1")
        publish("v2")
        aliases.set_alias("production", "small:v1")
        live_models = make()
        assert answering(live_models) == answering(live_models, "production") == "small:v1"
        aliases.set_alias("production", "small:v2")
        comes_to(live_models, "small:v2")
        aliases.delete_alias("production")
        with pytest.raises(ModelNotFoundError):
            comes_to(live_models, "nobody", "production")

    def test_a_canary_gets_its_share(self, make):
        publish("v1")
        publish("v2")
        aliases.set_alias("production", "small:v1", canary="small:v2", weight=20)
        live_models = make()

        async def ask():
            return Counter([(await live_models.get("production")).tag for _ in range(2000)])

        counts = asyncio.run(ask())
        # Six standard deviations of a fair draw.
        assert abs(counts["small:v2"] - 400) < 6 * (2000 * 0.2 * 0.8) ** 0.5
        assert counts["small:v1"] + counts["small:v2"] == 2000
        assert live_models.resolver.aliases_of("small:v2") == ["production (canary, 20 %)"]

    def test_a_damaged_canary_gets_nothing(self, make):
        publish("v1")
        publish("v2")
        damage("small:v2")
        aliases.set_alias("production", "small:v1", canary="small:v2", weight=99)
        live_models = make()
        # The version before it stands in, which is the stable one.
        assert {answering(live_models, "production") for _ in range(20)} == {"small:v1"}

    def test_a_damaged_file_changes_nothing(self, make, home):
        publish("v1")
        publish("v2")
        aliases.set_alias("production", "small:v1")
        live_models = make()
        assert answering(live_models) == "small:v1"
        (home / aliases.FILE).write_text("{")
        publish("v1", name="other")
        assert answering(live_models, "other") == "other:v1"
        assert answering(live_models, "production") == "small:v1"


class TestMemory:
    def test_who_was_not_asked_for_longest_is_unloaded(self, make, load):
        for name in ("a", "b", "c"):
            publish("v1", name=name)
        live_models = make("a", memory_bytes=1)
        for name in ("b", "c", "b"):
            assert answering(live_models, name) == f"{name}:v1"
            # The default, and who was asked for last, stay whatever they take; the live_models lets go of the others by itself.
            deadline = time.monotonic() + 30
            while not {served.tag for served in live_models.loaded} <= {"a:v1", f"{name}:v1"}:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert load.loaded.count("b:v1") == 2
        assert all(served.memory_bytes >= 10_000 for served in live_models.loaded)

    def test_what_all_take_is_told(self, make, taken):
        for name in ("a", "b", "c"):
            publish("v1", name=name)
        live_models = make("a", memory_bytes=1)
        answering(live_models)
        answering(live_models, "b")
        assert max(taken) == sum(served.memory_bytes for served in live_models.loaded)
        answering(live_models, "c")
        until(lambda: len(live_models.loaded) == 2 and taken[-1] == sum(served.memory_bytes for served in live_models.loaded))

    def test_with_memory_all_stay(self, make, load):
        for name in ("a", "b", "c"):
            publish("v1", name=name)
        live_models = make("a")
        for name in ("b", "c", "b", "a", "c"):
            answering(live_models, name)
        assert sorted(load.loaded) == ["a:v1", "b:v1", "c:v1"]
