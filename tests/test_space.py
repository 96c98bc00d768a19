"""The space core: pickers, choices, and everything that follows from running one builder with different answerers."""

from __future__ import annotations

import doctest
import itertools
from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import hubserve.space
from hubserve.errors import ArchError, SpaceError
from hubserve.space import ModelSpace


@dataclass(frozen=True)
class Nested(ModelSpace):
    """Every verb once, with choices inside choices."""

    widths: tuple[int, ...] | int = (8, 16)

    def build(self, pick):
        width = pick("width", self.widths)
        stem = nn.Conv2d(3, width, pick("stem_ks", (1, 3)), padding="same")
        blocks = pick.repeat("depth", (1, 3), lambda i: self._block(pick, width, i))
        sources = pick.inputs("sources", 3, n_chosen=2)
        return nn.Sequential(stem, *blocks, nn.Conv2d(width, len(sources), 1))

    @staticmethod
    def _block(pick, width, i):
        return pick.layer(
            f"block_{i}",
            {
                "identity": nn.Identity,
                "conv": lambda: nn.Conv2d(width, width, pick(f"ks_{i}", (1, 3, 5)), padding="same"),
            },
        )


ARCH = {"width": 8, "stem_ks": 3, "depth": 2, "block_0": "conv", "ks_0": 5, "block_1": "identity", "sources": [0, 2]}


def enumerate_archs(space: ModelSpace) -> list[dict]:
    """All canonical archs, by trying every combination of answers."""
    seen = []
    for answers in itertools.product(*(list(choice.answers()) for choice in space.choices.values())):
        arch = space.canonical(dict(zip(space.choices, answers, strict=True)))
        if arch not in seen:
            seen.append(arch)
    return seen


def depth_space(depth):
    @dataclass(frozen=True)
    class Deep(ModelSpace):
        def build(self, pick):
            return nn.Sequential(*pick.repeat("depth", depth, lambda i: nn.ReLU()))

    return Deep()


class TestChoices:
    def test_order_candidates_and_conditions(self):
        choices = Nested().choices
        assert " ".join(choices) == "width stem_ks depth block_0 ks_0 block_1 ks_1 block_2 ks_2 sources"
        assert choices["ks_1"].candidates == (1, 3, 5)
        assert choices["ks_0"].conditions == ((("block_0", ("conv",)),),)
        assert choices["ks_1"].conditions == ((("depth", (2, 3)), ("block_1", ("conv",))),)
        assert choices["sources"].size == 3

    def test_a_fixed_setting_leaves_no_label(self):
        assert "width" not in Nested(widths=16).choices

    def test_read_once_and_on_the_meta_device(self):
        built = []

        @dataclass(frozen=True)
        class Probe(ModelSpace):
            def build(self, pick):
                layer = nn.Linear(pick("n", (1, 2)), 1)
                built.append(layer.weight.device.type)
                return layer

        space = Probe()
        assert space.choices is space.choices
        space.random(Random(0))
        space.canonical({"n": 1})
        assert built == ["meta"]

    def test_one_label_with_two_candidate_lists_is_refused(self):
        @dataclass(frozen=True)
        class Clash(ModelSpace):
            def build(self, pick):
                return nn.Linear(pick("n", (1, 2)), pick("n", (1, 3)))

        with pytest.raises(SpaceError, match=r"'n' is asked twice .*\(1, 2\), then \(1, 3\)"):
            _ = Clash().choices

    def test_a_shared_label_has_one_answer(self):
        @dataclass(frozen=True)
        class Shared(ModelSpace):
            def build(self, pick):
                return nn.Sequential(*(nn.Linear(pick("n", (1, 2)), 1) for _ in range(3)))

        assert Shared().count() == 2
        assert [layer.in_features for layer in Shared().freeze({"n": 2})] == [2, 2, 2]

    @pytest.mark.parametrize(("candidates", "complaint"), [((), "no candidates"), ((1, 1), "lists a candidate twice")])
    def test_bad_candidates(self, candidates, complaint):
        @dataclass(frozen=True)
        class Bad(ModelSpace):
            def build(self, pick):
                return nn.Linear(pick("n", candidates), 1)

        with pytest.raises(SpaceError, match=complaint):
            _ = Bad().choices

    def test_a_label_reached_by_two_paths_matters_under_either(self):
        @dataclass(frozen=True)
        class TwoPaths(ModelSpace):
            def build(self, pick):
                def conv():
                    return nn.Conv2d(3, 3, pick("ks", (1, 3)))

                return nn.Sequential(*(pick.layer(name, {"skip": nn.Identity, "conv": conv}) for name in ("a", "b")))

        assert TwoPaths().count() == len(enumerate_archs(TwoPaths())) == 7


class TestFreeze:
    def test_holds_only_what_was_picked(self):
        model = Nested().freeze(ARCH)
        assert [tuple(p.shape) for p in model.parameters() if p.dim() == 4] == [(8, 3, 3, 3), (8, 8, 5, 5), (2, 8, 1, 1)]
        assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 2, 8, 8)
        assert {type(m).__module__.split(".")[0] for m in model.modules()} == {"torch"}

    def test_answers_compare_by_value_and_keep_the_candidates_type(self):
        assert Nested().freeze({**ARCH, "width": 8.0})[0].out_channels == 8

    def test_labels_nobody_asks_for_are_ignored(self):
        Nested().freeze({**ARCH, "block_2": "conv", "unheard_of": 1})

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"width": 9}, r"arch\['width'\] = 9 is not one of \(8, 16\)"),
            ({"sources": [0]}, r"\['sources'\] = \[0\] is not a list of 2 of \(0, 1, 2\)"),
            ({"sources": [1, 1]}, "each once"),
            ({"sources": 1}, "is not a list"),
            ({"block_0": "pool"}, r"not one of \('identity', 'conv'\)"),
        ],
    )
    def test_a_wrong_answer_is_named(self, change, complaint):
        with pytest.raises(ArchError, match=complaint):
            Nested().freeze({**ARCH, **change})
        with pytest.raises(ArchError, match=complaint):
            Nested().validate({**ARCH, **change})

    def test_a_missing_label_names_the_nearest(self):
        arch = {**ARCH, "stem_k": 3}
        del arch["stem_ks"]
        with pytest.raises(ArchError, match=r"no 'stem_ks', which must be one of \(1, 3\). Did you mean stem_k\?"):
            Nested().freeze(arch)
        with pytest.raises(ArchError, match="Did you mean stem_k"):
            Nested().validate(arch)


class TestCanonicalAndCount:
    def test_drops_what_does_not_matter(self):
        arch = {**ARCH, "ks_1": 3, "block_2": "conv", "ks_2": 1, "sources": (2, 0)}
        assert Nested().canonical(arch) == ARCH

    def test_count_equals_enumeration(self):
        space = Nested()
        assert space.count() == len(enumerate_archs(space)) == 2 * 2 * 3 * (4 + 4**2 + 4**3)

    def test_every_number_is_another_arch(self):
        space = Nested()
        archs = [space.grid_arch(i) for i in range(space.grid_size)]
        assert all(space.canonical(arch) == arch for arch in archs)
        assert all(arch in archs for arch in enumerate_archs(space))
        assert len(archs) == space.count()
        with pytest.raises(SpaceError, match=f"has no arch {len(archs)}: its {len(archs)} archs are numbered from 0"):
            space.grid_arch(len(archs))

    def test_count_is_exact_beyond_floats(self):
        @dataclass(frozen=True)
        class Big(ModelSpace):
            def build(self, pick):
                return nn.Sequential(*(nn.Linear(pick(f"n{i}", (1, 2, 3)), 1) for i in range(200)))

        assert Big().count() == 3**200
        assert set(Big().grid_arch(3**200 - 1).values()) == {3}

    def test_any_subset(self):
        @dataclass(frozen=True)
        class Subset(ModelSpace):
            def build(self, pick):
                return nn.Linear(len(pick.inputs("in", 3, n_chosen=None)) + 1, 1)

        assert Subset().count() == len(enumerate_archs(Subset())) == 8
        assert Subset().freeze({"in": []}).in_features == 1


class TestSampling:
    @given(st.integers(0, 2**32))
    def test_random_and_mutate_stay_inside_and_canonical(self, seed):
        space, rng = Nested(), Random(seed)
        arch = space.random(rng)
        assert space.canonical(arch) == arch
        child = space.mutate(arch, rng)
        assert space.canonical(child) == child
        assert child != arch

    def test_the_seed_decides(self):
        assert [Nested().random(Random(7)) for _ in range(3)] == [Nested().random(Random(7))] * 3

    def test_each_candidate_is_equally_likely(self):
        space, rng = Nested(), Random(0)
        drawn = Counter(space.random(rng)["depth"] for _ in range(3000))
        assert all(abs(drawn[depth] - 1000) < 120 for depth in (1, 2, 3))

    def test_mutation_changes_one_answer_and_draws_only_what_it_brings_in(self):
        space, rng = Nested(), Random(1)
        for _ in range(200):
            child = space.mutate(ARCH, rng)
            changed = [label for label in ARCH if label in child and child[label] != ARCH[label]]
            assert len(changed) == 1
            brought_in = [label for label in child if label not in ARCH]
            assert all(changed[0] in {gate for path in space.choices[b].conditions for gate, _ in path} for b in brought_in)

    def test_weights_are_a_prior(self):
        @dataclass(frozen=True)
        class Weighted(ModelSpace):
            def build(self, pick):
                return nn.Linear(pick("n", (1, 2), weights=(0.9, 0.1)), 1)

        rng = Random(0)
        ones = sum(Weighted().random(rng)["n"] == 1 for _ in range(2000))
        assert 1720 < ones < 1880

    @pytest.mark.parametrize(
        ("depth", "candidates"),
        [((2, 4), (2, 3, 4)), ((2, 2), (2,)), ((1, 2, 4), (1, 2, 4)), ((3,), (3,)), ([2, 4], (2, 4)), (range(2, 5), (2, 3, 4))],
    )
    def test_depths(self, depth, candidates):
        assert depth_space(depth).choices["depth"].candidates == candidates

    @pytest.mark.parametrize("depth", [(4, 2), (1, 2, 2), (-1, 2), (), ("1", "2", "3"), (1.5, 2, 3)])
    def test_senseless_depths(self, depth):
        with pytest.raises(SpaceError, match="choice 'depth'"):
            _ = depth_space(depth).choices

    def test_check_is_obeyed(self):
        @dataclass(frozen=True)
        class Unequal(ModelSpace):
            def build(self, pick):
                return nn.Linear(pick("a", (1, 2, 3)), pick("b", (1, 2, 3)))

            def check(self, arch):
                if arch["a"] == arch["b"]:
                    raise ArchError(f"a and b must differ, both are {arch['a']}")

        space, rng = Unequal(), Random(0)
        assert all(arch["a"] != arch["b"] for arch in (space.random(rng) for _ in range(100)))
        assert all(space.mutate({"a": 1, "b": 2}, rng) not in ({"a": 1, "b": 1}, {"a": 2, "b": 2}) for _ in range(50))
        with pytest.raises(ArchError, match="must differ"):
            space.freeze({"a": 2, "b": 2})

    def test_check_is_asked_once(self):
        asked = []

        @dataclass(frozen=True)
        class Counting(ModelSpace):
            def build(self, pick):
                return nn.Linear(pick("a", (1, 2, 3)), pick("b", (1, 2, 3)))

            def check(self, arch):
                asked.append(dict(arch))

        space = Counting()
        arch = space.random(Random(0))
        for call, times in [
            (lambda: space.random(Random(0)), 1),
            (lambda: space.freeze(arch), 1),
            (lambda: space.canonical(arch), 1),
            (lambda: space.mutate(arch, Random(0)), 2),  # What it is given, which may come from a user, and what it returns.
        ]:
            asked.clear()
            call()
            assert len(asked) == times

    def test_nothing_to_mutate(self):
        @dataclass(frozen=True)
        class Single(ModelSpace):
            def build(self, pick):
                return nn.Linear(pick("n", (4,)), 1)

        with pytest.raises(SpaceError, match="nothing to mutate"):
            Single().mutate({"n": 4})


def test_settings_become_hashable():
    assert Nested(widths=[8, 16]) == Nested(widths=(8, 16))
    assert hash(Nested(widths=[8, 16])) == hash(Nested())


def test_the_examples_in_the_docstring_run():
    names = {"dataclass": dataclass, "nn": nn, "ModelSpace": ModelSpace}
    results = doctest.testmod(hubserve.space, extraglobs=names)
    assert results.attempted >= 3
    assert results.failed == 0
