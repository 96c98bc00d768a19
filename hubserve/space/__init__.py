"""Model spaces: families of networks, each defined by one method `build(pick)`, and the pickers that answer its questions.

A `ModelSpace` describes a family of networks by its method `build(pick)`. The method builds *one* network and calls `pick` for
each value in which the networks of the family differ. With different pickers, the same method gives the list of choices or the
network of one arch.

>>> @dataclass(frozen=True)
... class Tiny(ModelSpace):
...     def build(self, pick):
...         width = pick("width", (8, 16))
...         blocks = pick.repeat("depth", (1, 3), lambda i: nn.Conv2d(width, width, pick(f"ks_{i}", (1, 3)), padding="same"))
...         return nn.Sequential(nn.Conv2d(3, width, 1), *blocks)
>>> Tiny().count()
28
>>> Tiny().freeze({"width": 8, "depth": 1, "ks_0": 3})
Sequential(
  (0): Conv2d(3, 8, kernel_size=(1, 1), stride=(1, 1))
  (1): Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=same)
)
"""

from hubserve.space.choice import Arch, Choice, Condition, OneOf
from hubserve.space.input_choice import AnyOf, KOf
from hubserve.space.model_space import ModelSpace
from hubserve.space.picker import FrozenPicker, Picker, RecordingPicker

__all__ = ["AnyOf", "Arch", "Choice", "Condition", "FrozenPicker", "KOf", "ModelSpace", "OneOf", "Picker", "RecordingPicker"]
