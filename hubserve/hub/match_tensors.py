"""Compares the tensors of a file of weights with those of a network: none may be missing, left over, or of another shape."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from hubserve.errors import KeyFormatError


def check_tensors(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], key_format: str, key_formats: Sequence[str]
) -> None:
    """Raises KeyFormatError unless the state dicts `found` and `wanted` have the same keys with the same shapes.

    Args:
        found: Tensors of the file, under the names of the network.
        wanted: State dict of the network.
        key_format: Naming scheme by which the file was read, for the message.
        key_formats: All naming schemes, for the message.
    """
    other_shape = [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
    shapes = [f"{key} {tuple(found[key].shape)} where {tuple(wanted[key].shape)} is needed" for key in other_shape]
    complaints = [
        _listed("missing", [key for key in wanted if key not in found]),
        _listed("not of this model", [key for key in found if key not in wanted]),
        _listed("of another shape", shapes),
    ]
    if any(complaints):
        raise KeyFormatError(
            f"read as key format {key_format!r}, the weights do not fit the model: {'; '.join(filter(None, complaints))}. "
            f"Are they of another model, or of another format ({', '.join(key_formats)})?"
        )


def _listed(what: str, keys: list[str], most: int = 3) -> str:
    """Returns "4 missing: a, b, c and 1 more" for 4 keys, `what` = "missing" and `most` = 3; "" for an empty list."""
    if not keys:
        return ""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return f"{len(keys)} {what}: {', '.join(keys[:most])}{more}"
