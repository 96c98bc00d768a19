"""docs/inputs.md: its space makes networks of the inputs that it describes."""

from __future__ import annotations

import re
from pathlib import Path

from hubserve.export.tensor_proof import write_proven_tensors
from hubserve.hub.own_space import as_hub_space
from hubserve.package.signature import ModelSignature

PAGE = (Path(__file__).parent.parent / "docs" / "inputs.md").read_text()


def test_its_space_is_exported_with_proof(tmp_path):
    names: dict[str, object] = {"__name__": __name__}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], names)
    space = as_hub_space(names["Tagger"])(words=50)
    assert not space.takes_images
    signature = ModelSignature(space.inputs, space.outputs)
    network = space.freeze({"width": 8})
    proven = write_proven_tensors(network, signature, tmp_path, formats=["torchscript"])
    assert proven.reports[0].passed
    assert max(lengths["length"] for lengths in proven.reports[0].lengths) == 48
