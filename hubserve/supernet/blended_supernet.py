"""The blended supernet: all candidates at once, weighed by learned logits."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hubserve.errors import ArchError, SupernetError
from hubserve.space import Arch, Choice, ModelSpace
from hubserve.supernet.blend import Blend, Mixture
from hubserve.supernet.blendable import survey, wrap
from hubserve.supernet.blending_picker import BlendingPicker
from hubserve.supernet.masks import MaskedAxes, find_masks
from hubserve.supernet.memory import activation_bytes
from hubserve.supernet.network_shapes import Atlas
from hubserve.supernet.supernet import Subnet, Supernet
from hubserve.supernet.tensor_keys import Slot, Tags, slots

MAX_DRAWS = 2000
"""Draws after which a space's own check counts as never satisfied."""


@dataclass(frozen=True)
class Structure:
    """One network with all that can be blended in it.

    Attributes:
        subnet: on the supernet's memory.
        mixture: what its modules read.
        masks: of its tensors.
    """

    subnet: Subnet
    mixture: Mixture
    masks: tuple[MaskedAxes, ...]


def run(structure: Structure, x: Any, blends: Mapping[str, Blend], weights: Mapping[str, torch.Tensor] | None = None) -> Any:
    """The output of a blended network; see `BlendedSupernet.forward`."""
    mixture = structure.mixture
    mixture.blends = blends
    mixture.prefixes.clear()
    tensors = dict(structure.subnet.leaves if weights is None else weights)
    keeps: dict[Any, Any] = {}
    mixture.keeps = keeps
    changed = set() if weights is None else set(tensors)
    kept: dict[int, torch.Tensor] = {}
    for masked in structure.masks:
        tensor = tensors[masked.key]
        if id(masked.mask) not in kept:
            # Weights of candidates stay on the CPU, where answers are drawn; the network may be elsewhere.
            kept[id(masked.mask)] = masked.mask.keep(mixture.blends).to(tensor.device)
        keep = kept[id(masked.mask)]
        shape = [size if axis in masked.axes else 1 for axis, size in enumerate(tensor.shape)]
        tensors[masked.key] = tensor * keep.view(shape)
        keeps.setdefault(masked.key, keep)
        changed.add(masked.key)
    paths = {slot.path: tensors[slot.key] for slot in structure.subnet.slots if slot.key in changed}
    return torch.func.functional_call(structure.subnet.network, paths, (x,)) if paths else structure.subnet.network(x)


class BlendedSupernet(nn.Module):
    """A network in which all candidates of a choice take part, each by its weight, on the weights of a supernet.

    The same builder runs with a picker that answers with everything:
    - candidates of a layer choice, and layers on several inputs, are summed by weight (Liu et al. 2019, DARTS);
    - a repeat gives the weighted sum of what comes out at each depth;
    - numbers such as widths and kernels: the largest network runs on tensors multiplied by the expected mask, which says how
      much of each channel and of each place of a kernel is kept. With all weight on one candidate this is exactly the smaller
      network. A layer that some answers leave out is passed by with the rest of the weight.

    What cannot be blended is sampled: the answer is drawn from the probabilities before each pass, and the logits learn by
    the score function (`log_probability`). Such are answers about which the builder's own arithmetic decides (number of cells,
    edges of NasBench101's graph) and those for which a mask is not exactly the smaller network; `prove` finds out by running
    both.

    Args:
        space: any model space.
        seed: of the fresh weights and logits.
        cache: structures kept ready, the most recently used ones, and as many subnets; they hold modules and no weights.

    Attributes:
        supernet: the shared weights; subnets and extraction are its. It alone goes to a GPU.
        logits: label -> one number for each candidate (input choices: for each input), 1e-3 times N(0, 1) at first; on the
            CPU.
        blended: labels that are blended.
        sampled: labels that are sampled.

    Shapes:
        forward: what the networks of the space take and give.

    Raises:
        SupernetError: as for Supernet.
    """

    def __init__(self, space: ModelSpace, *, seed: int = 0, cache: int = 64) -> None:
        super().__init__()
        self.space = space
        self.supernet = Supernet(space, seed=seed, cache=cache)
        generator = torch.Generator().manual_seed(seed)
        self._logits = nn.ParameterDict(
            {
                _name(label): nn.Parameter(1e-3 * torch.randn(len(choice.candidates), generator=generator))
                for label, choice in space.choices.items()
                if choice.size > 1
            }
        )
        self._structures: OrderedDict[str, Structure] = OrderedDict()
        self._cache_size = cache
        self._version = self.supernet.version
        self._everywhere = False
        self._proven = False
        self._atlas, self._layered = Atlas(space, layers=False), Atlas(space, layers=True)
        self._plan = survey(self._atlas)
        self._blended = self._plan.layers | self._plan.repeats | self._plan.values

    @property
    def logits(self) -> dict[str, nn.Parameter]:
        return {label: self._logits[_name(label)] for label in self.space.choices if _name(label) in self._logits}

    @property
    def blended(self) -> frozenset[str]:
        return frozenset(self._blended & self.logits.keys())

    @property
    def sampled(self) -> frozenset[str]:
        return frozenset(self.logits) - self.blended

    def arch_parameters(self) -> list[nn.Parameter]:
        """The logits."""
        return list(self._logits.values())

    def weights(self) -> Iterator[nn.Parameter]:
        """The shared weights."""
        return self.supernet.parameters()

    def probabilities(self) -> dict[str, torch.Tensor]:
        """Label -> probability of each candidate; of subsets of inputs, the probability that each input is in."""
        return {label: self.space.choices[label].relaxation.probabilities(logits) for label, logits in self.logits.items()}

    def blends(self, probabilities: Mapping[str, torch.Tensor] | None = None) -> dict[str, Blend]:
        """All candidates of all blended labels, weighed by their probabilities, or by `probabilities`."""
        found = self.probabilities() if probabilities is None else probabilities
        return {label: Blend.all_of(found[label]) for label in self.logits if label in self.blended}

    def forward(
        self,
        x: Any,
        blends: Mapping[str, Blend] | None = None,
        sampled: Mapping[str, Any] | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> Any:
        """Runs the blended network.

        Args:
            x: a batch.
            blends: of the blended labels; None weighs by the probabilities.
            sampled: answers to the sampled labels; None takes the likeliest.
            weights: tensors to use in place of the leaves of `structure(sampled)`, by key.
        """
        return run(self.structure(sampled, x), x, self.blends() if blends is None else blends, weights)

    def structure(self, sampled: Mapping[str, Any] | None = None, x: Any = None) -> Structure:
        """The network for these answers to the sampled labels; its leaves are what training moves.

        Args:
            sampled: as for `forward`.
            x: a batch, with which the first call proves what can be blended.
        """
        if not self._proven and x is not None:
            self.prove(x)
        answers = {**self._plan.base, **(self.likeliest(self.sampled) if sampled is None else sampled)}
        if self._version != self.supernet.version:
            self._structures.clear()
            self._version = self.supernet.version
        key = json.dumps({label: answers[label] for label in sorted(self.sampled)})
        structure = self._structures.pop(key, None) or self._build_structure(answers)
        self._structures[key] = structure
        while len(self._structures) > self._cache_size:
            self._structures.popitem(last=False)
        if structure.subnet.network.training != self.training:
            structure.subnet.network.train(self.training)
        return structure

    def likeliest(self, labels: frozenset[str] | None = None) -> Arch:
        """The likeliest answer to each of `labels` (None: to all) on its own, and the space's first where nothing is learned.

        Not held to the space's check.
        """
        chosen = {label: choice.answer_at(0) for label, choice in self.space.choices.items()}
        for label, probabilities in self.probabilities().items():
            chosen[label] = self.space.choices[label].likeliest(probabilities.detach())
        return {label: answer for label, answer in chosen.items() if labels is None or label in labels}

    def arch(self) -> Arch:
        """The canonical arch of the likeliest answers.

        Where the space's own check refuses them together, the likeliest of many archs drawn from the probabilities.

        Raises:
            SupernetError: none of those drawn is valid either.
        """
        try:
            return self.space.canonical(self.likeliest())
        except ArchError:
            rng = Random(0)
            drawn = [self._draw_valid(frozenset(self.logits), rng) for _ in range(64)]
            with torch.no_grad():
                best = max(drawn, key=lambda arch: float(self.log_probability(arch)))
            return self.space.canonical(best)

    def sample(self, rng: Random) -> Arch:
        """Answers to the sampled labels, drawn from the probabilities; redrawn until the space's check agrees.

        Raises:
            SupernetError: it never does.
        """
        drawn = self._draw_valid(self.sampled, rng)
        return {label: drawn[label] for label in self.sampled}

    def sample_arch(self, rng: Random) -> Arch:
        """A canonical arch with all answers drawn from the probabilities.

        Raises:
            SupernetError: no arch that was drawn satisfies the space's check.
        """
        return self.space.canonical(self._draw_valid(frozenset(self.logits), rng))

    def log_probability(self, answers: Mapping[str, Any]) -> torch.Tensor:
        """Of the learned answers among `answers`, with a graph; those that do not matter beside the others count nothing."""
        total = torch.zeros(())
        for label, logits in self.logits.items():
            choice = self.space.choices[label]
            if label in answers and _matters(choice, answers):
                total = total + choice.relaxation.log_probability(logits, choice.indices(answers[label]))
        return total

    def _draw_valid(self, labels: frozenset[str], rng: Random) -> Arch:
        """Answers to all labels: those of `labels` drawn, the others the likeliest."""
        likeliest = self.likeliest()
        probabilities = {label: p.tolist() for label, p in self.probabilities().items() if label in labels}
        for _ in range(MAX_DRAWS):
            answers = {**likeliest, **{label: self.space.choices[label].draw(p, rng) for label, p in probabilities.items()}}
            try:
                self.space.validate(answers)
            except ArchError:
                continue
            return answers
        raise SupernetError(
            f"{type(self.space).__name__}: no valid arch in {MAX_DRAWS} draws from the learned probabilities of "
            f"{', '.join(sorted(labels))}; its check() may refuse nearly everything"
        )

    def activation_bytes(self, x: torch.Tensor, held: int | None = None) -> int:
        """Bytes that a pass on batches like `x` keeps for the backward pass, blended weights included; runs on no numbers.

        Args:
            x: a batch, of which only the shape counts.
            held: candidates of each choice that run; None runs all.
        """
        answers = {**self._plan.base, **self.likeliest(self.sampled)}
        depths = self._plan.repeats & self._blended
        masks: list[MaskedAxes] = []
        if open_values := [self.space.choices[label] for label in sorted(self._plan.values & self._blended)]:
            masks = find_masks(self._atlas_of_structures, answers, open_values, everywhere=self._everywhere)
        mixture = Mixture()
        with torch.device("meta"):
            build = partial(self._build, answers, depths, layers=True, mixture=mixture)
            network, found = build(masked=frozenset(each.key for each in masks))
            blends = {
                label: Blend(torch.ones(len(p), requires_grad=True), tuple(range(len(p)))[: held or len(p)])
                for label, p in self.probabilities().items()
                if label in self.blended
            }
            structure = Structure(Subnet(network.train(), tuple(found)), mixture, tuple(masks))
            if x.is_floating_point():
                network.to(x.dtype)
            return activation_bytes(network, lambda: run(structure, torch.empty(x.shape, dtype=x.dtype), blends))

    @property
    def _atlas_of_structures(self) -> Atlas:
        return self._layered if self._plan.layers else self._atlas

    def prove(self, x: Any) -> None:
        """Finds out what can be blended: with all weight on one candidate the network must be the one of that candidate.

        Runs both on `x`, for a few archs, first with as few masks as may be enough. Labels for which they differ are sampled
        from then on.
        """
        self._proven = True
        few = x[:4] if isinstance(x, torch.Tensor) else x
        mode, rng = self.training, Random(0)
        self.eval()
        with torch.no_grad():
            trials = [self._trial(rng, i) for i in range(N_TRIALS)]
            self._blended -= {
                label for label in sorted(self._plan.repeats & self.blended) if not self._sums_up(few, label, trials[0])
            }
            while not all(self._agrees(few, trial) for trial in trials):
                if not self._everywhere:
                    self._everywhere = True
                else:
                    self._blended -= self._culprits(few, trials)
        self.train(mode)

    def _trial(self, rng: Random, i: int) -> Arch:
        """Answers to all labels: the smallest, then random ones."""
        choices = self.space.choices
        answers = {label: choice.random(rng) for label, choice in choices.items()} | self.space.random(rng)
        open_labels = self._plan.values | self._plan.repeats
        smallest = {label: min(choices[label].candidates) for label in open_labels if choices[label].is_numeric}
        return {**answers, **smallest} if i == 0 else answers

    def _culprits(self, x: Any, trials: list[Arch]) -> set[str]:
        """Labels that alone make a difference; if none does, all that could."""
        suspects = self._blended - self._plan.layers
        found = set()
        for label in sorted(suspects):
            alone = [{**trial, **{s: self._plan.base[s] for s in suspects}, label: trial[label]} for trial in trials]
            if not all(self._agrees(x, answers) for answers in alone):
                found.add(label)
        return found or set(suspects)

    def _sums_up(self, x: Any, label: str, answers: Arch) -> bool:
        """Whether the depths of a repeat give one shape."""
        blends = {other: one_blend(self.space.choices[other], answers[other]) for other in self.blended - self._plan.layers}
        blends[label] = Blend.all_of(self.probabilities()[label])
        largest = {**answers, **{other: self._plan.base[other] for other in blends}}
        try:
            run(self._build_structure(largest, layers=False), x, blends)
        except SupernetError:
            return False
        return True

    def _agrees(self, x: Any, answers: Arch) -> bool:
        """Whether the network of `answers` is the same, built as it is, and with everything but layers and edges blended."""
        open_labels = self._blended - self._plan.layers
        blends = {label: one_blend(self.space.choices[label], answers[label]) for label in open_labels & self.logits.keys()}
        try:
            largest = {**answers, **{label: self._plan.base[label] for label in open_labels}}
            structure = self._build_structure(largest, layers=False)
            _live(structure.subnet.network)
            blended = run(structure, x, blends)
        except SupernetError:
            return False
        single = self.supernet.view(partial(self._build, answers, frozenset())).network
        _live(single)
        return _close(blended, single(x))

    def __getstate__(self) -> dict[str, Any]:
        # Structures are built anew where they are needed: what they hold of the last pass cannot be copied.
        return {**self.__dict__, "_structures": OrderedDict()}

    def _build_structure(self, answers: Arch, *, layers: bool = True) -> Structure:
        depths = self._plan.repeats & self._blended
        build = partial(self._build, depths=depths, layers=layers)
        masks: list[MaskedAxes] = []
        if open_values := [self.space.choices[label] for label in sorted(self._plan.values & self._blended)]:
            atlas = self._atlas_of_structures if layers else self._atlas
            masks = find_masks(atlas, answers, open_values, everywhere=self._everywhere)
        mixture = Mixture()
        masked = frozenset(each.key for each in masks)
        subnet = self.supernet.view(partial(build, answers, mixture=mixture, masked=masked))
        return Structure(subnet, mixture, tuple(masks))

    def _build(
        self,
        answers: Mapping[str, Any],
        depths: frozenset[str],
        *,
        layers: bool = False,
        mixture: Mixture | None = None,
        masked: frozenset[str] | None = None,
    ) -> tuple[nn.Module, list[Slot]]:
        """A network and its tensors.

        Args:
            answers: to what is not blended.
            depths: labels of the repeats that are.
            layers: whether layers and edges are.
            mixture: what the network reads; None where it is built to be looked at.
            masked: keys of masked tensors; given, modules that the masks need are wrapped.
        """
        tags = Tags()
        mixture = mixture or Mixture()
        network = self.space.build(BlendingPicker(answers, tags, mixture, depths, layers=layers))
        if masked is not None:
            optional = {label: there for label, there in self._plan.optional.items() if label in self._blended}
            wrap(network, tags, optional, masked, mixture)
        return network, slots(network, tags)


N_TRIALS = 3
"""Archs on which `prove` compares."""

TOLERANCE = 0.01
"""Of the largest output, the difference that still counts as none: small batches amplify what rounding leaves."""


def one_blend(choice: Choice, answer: Any) -> Blend:
    """All weight on one answer."""
    chosen = choice.indices(answer)
    return Blend(choice.relaxation.certain(len(choice.candidates), chosen), tuple(chosen))


def _name(label: str) -> str:
    # torch forbids dots in names.
    return label.replace(".", "\u2024")


def _matters(choice: Choice, answers: Mapping[str, Any]) -> bool:
    """Whether the known answers leave it possible that the choice is asked."""
    return any(
        all(label not in answers or answers[label] in values for label, values in alternative)
        for alternative in choice.conditions
    )


def _live(network: nn.Module) -> None:
    """Lets batch norms use the batch, as without training a deep network may forget its input; keeps their statistics."""
    for module in network.eval().modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.momentum = 0.0


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and bool((a - b).abs().max() <= TOLERANCE * b.abs().max())
    return all(_close(x, y) for x, y in zip(a, b, strict=True))
