"""`ElasticSupernet`: a supernet whose shared tensors begin as the weights of a trained model."""

from collections.abc import Mapping

from torch import Tensor, nn

from hubserve.space import Arch, FrozenPicker
from hubserve.supernet.allocation import MakePicker
from hubserve.supernet.channel_groups import sort_channels
from hubserve.supernet.elastic_space import ElasticSpace
from hubserve.supernet.supernet import Supernet
from hubserve.supernet.tensor_keys import AnswerTags, NetworkTensor, TaggingPicker, network_tensors


class ElasticSupernet(Supernet):
    """The networks of an elastic space, on windows of the weights of a trained model, which is its largest network.

    Unlike in other supernets, the candidates of a layer choice share their weights. A smaller kernel is the middle of the
    largest one, fewer channels are those that come first, and a stage with fewer layers has the first ones of the model. The
    channels are sorted by importance once, at the beginning, so that those that come first are the most important ones; up to
    rounding, the largest network computes what it did before.

    Args:
        space: The archs that are no larger than that of the model.
        state: State dict of the model.
        sort: Whether to sort the channels by importance; False keeps their order.

    Raises:
        RuntimeError: `state` is not of the largest network of `space`.
    """

    space: ElasticSpace

    def __init__(self, space: ElasticSpace, state: Mapping[str, Tensor], *, sort: bool = True) -> None:
        self._state, self._sort = state, sort
        super().__init__(space)
        del self._state

    @property
    def network(self) -> nn.Module:
        """The largest network. Its parameters and statistics are the shared tensors themselves."""
        return self.subnet(self.space.largest).network

    def _allocate(self, seed: int) -> None:
        network, found = self._build(self.space.largest)
        network.to(next(tensor.dtype for tensor in self._state.values() if tensor.is_floating_point()))
        network.load_state_dict(self._state, strict=True)
        if self._sort:
            sort_channels(network)
        for tensor in found:
            if tensor.is_shared:
                self.tensors.allocate(tensor, tensor.shape)

    def _build(self, arch: Arch, picker: MakePicker = TaggingPicker) -> tuple[nn.Module, list[NetworkTensor]]:
        # Without tags, so that the candidates of a layer choice have the same keys.
        network = self.space.build(FrozenPicker(arch))
        return network, network_tensors(network, AnswerTags())
