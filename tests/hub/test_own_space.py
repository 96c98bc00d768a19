"""Which classes of one's own are model spaces, and what they get from those of the hub."""

from __future__ import annotations

import pickle
import sys

import cloudpickle
import pytest

from hubserve.errors import SpaceError
from hubserve.hub import HubSpace, MobileNetV3Space, get_space
from hubserve.hub.own_space import as_hub_space, own_class
from hubserve.hub.registry import space_name
from tests.own_modules import write_distribution, write_package


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    write_package(tmp_path, "spaces_of_own")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("spaces_of_own")]:
        del sys.modules[name]


PATH = "spaces_of_own.spaces:Small"


def test_a_plain_model_space_becomes_one_like_those_of_the_hub(folder):
    space = get_space(PATH, {"num_labels": 7})
    assert isinstance(space, HubSpace)
    assert (space.num_labels, space.input_size, space.paper, space.cells({})) == (7, 224, None, {})
    assert space == get_space(PATH, {"num_labels": 7})
    assert space.count() == 4
    assert space_name(space) == PATH
    assert own_class(space) is sys.modules["spaces_of_own.spaces"].Small


def test_the_class_is_made_once(folder):
    assert type(get_space(PATH)) is type(get_space(PATH))
    assert as_hub_space(MobileNetV3Space) is MobileNetV3Space


def test_it_can_be_sent_to_another_process(folder):
    assert pickle.loads(cloudpickle.dumps(get_space(PATH))).count() == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoSpace", "is a class and no model space"),
        ("NoClasses", "has no field num_labels"),
        ("NoData", r"is not a frozen dataclass: write @dataclass\(frozen=True\)"),
        ("small", "is a Small, and a model space is a subclass"),
        ("ModelSpace", "lacks build, so it makes no networks"),
        ("Smal", r"Did you mean Small or small\?"),
    ],
)
def test_what_is_no_space(folder, name, message):
    with pytest.raises(SpaceError, match=f"spaces_of_own.spaces.*{message}"):
        get_space(f"spaces_of_own.spaces:{name}")


def test_settings(folder):
    with pytest.raises(SpaceError, match=r"has no setting 'num_label'. Did you mean num_labels\?"):
        get_space(PATH, {"num_label": 7})
    with pytest.raises(SpaceError, match="num_labels = 0 must be at least 1"):
        get_space(PATH, {"num_labels": 0})


def test_an_entry_point(folder):
    write_distribution(folder, "spaces_of_own", "1.5", f"[hubserve.spaces]\nSmaller = {PATH}\n")
    space = get_space("Smaller")
    assert space_name(space) == PATH
    with pytest.raises(SpaceError, match=r"Did you mean Smaller\?"):
        get_space("Smallerr")


def test_the_name_of_a_space_that_cannot_be_imported(folder):
    small = own_class(get_space(PATH))

    class Local(small):
        pass

    assert space_name(Local()) == "Local"
    assert space_name(MobileNetV3Space()) == "MobileNetV3Space"
