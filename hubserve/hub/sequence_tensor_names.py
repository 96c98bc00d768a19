"""Renames the tensors in the files of LightSpeech's authors, and in those of ML.NET for NAS-BERT, to the names of our networks.

A key without a rule is put in brackets, which no network has, so that `hubserve.hub.key_formats.convert` reports it.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hubserve.errors import KeyFormatError
from hubserve.hub.lightspeech_network import USUAL_PITCH
from hubserve.weights_warning import warn_of_weights

LAYERS_OF_A_BLOCK = 6
"""Number of layers of a block in ML.NET's files, which count those that are identities as well."""

_LIGHTSPEECH_RULES = (
    (r"(encoder|decoder)\.layers\.(\d+)\.op\.(.+)", r"\1.layers.\2.\3"),
    (r"(decoder|pitch_predictor)\.pos_embed_alpha", r"\1.positions.pos_embed_alpha"),
    (r"(dur_predictor|pitch_predictor)\.conv\.(\d+)\.0\.(.+)", r"\1.convolutions.\2.\3"),
    (r"(dur_predictor|pitch_predictor)\.conv\.(\d+)\.2\.(.+)", r"\1.norms.\2.\3"),
    (r"(dur_predictor|pitch_predictor)\.linear\.(.+)", r"\1.linear.\2"),
    (r"(encoder|decoder)\.layer_norm\.(.+)", r"\1.layer_norm.\2"),
    (r"(encoder\.embed_tokens|mel_out|spk_embed_proj|pitch_embed)\.(.+)", r"\1.\2"),
)
"""Pairs of a pattern of the whole key in a file of the original code, and our key."""

_NASBERT_RULES = (
    (r"TokenEmbedding\.weight", "token_embedding.weight"),
    (r"PositionalEmbedding\.Embedding\.weight", "position_embedding.weight"),
    (r"EmbeddingLayerNorm\.(weight|bias)", r"embedding_norm.\1"),
    (r"EmbedTransfer\.HiddenTransfer\.(weight|bias)", r"embedding_transfer.\1"),
    (r"HiddenTransferList\.(\d+)\.InHiddenTransfer\.(weight|bias)", r"transfers.\1.\2"),
    (r"PredictionHead\.Classifier\.dense\.(weight|bias)", r"classifier.\1"),
)
_NASBERT_LAYER = re.compile(r"Layers\.(\d+)\.Operation\.(.+)\.(weight|bias)")
_NASBERT_LAYER_PARTS = {
    **{f"Conv{i}.conv.Conv.conv1": f"conv{i}.depthwise_conv" for i in (1, 2)},
    **{f"Conv{i}.conv.Conv.conv2": f"conv{i}.pointwise_conv" for i in (1, 2)},
    **{f"LayerNorm{i}": f"norm{i}" for i in (1, 2)},
    **{f"SelfAttention.{name.upper()}Projection": f"attention.{name}" for name in "qkv"},
    "SelfAttention.OutProjLinear": "attention.out",
    "FullConnects.fc1": "fc1",
    "FullConnects.fc2": "fc2",
    "LayerNorm": "norm",
    "FinalLayerNorm": "norm",
}
"""Path of a layer in an operation of ML.NET's networks -> its path in an operation of ours."""


def neuralspeech_lightspeech(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns the tensors of a file of LightSpeech's authors (microsoft/NeuralSpeech, LightSpeech) under our keys.

    The phoneme embedding, which is there twice, is taken from its later key, as torch does. Tensors that have no effect are
    left out: the buffers of the position embeddings, and the layer for speakers if `model` has none.

    The joint matrix of queries, keys and values becomes three. A WeightsWarning says that the file has no statistics of the
    pitch, if `model` has the default ones.
    """
    if (getattr(model, "f0_mean", None), getattr(model, "f0_std", None)) == USUAL_PITCH:
        warn_of_weights(
            "the file has no statistics of the pitch, without which the voice is too high or too low: set f0_mean and f0_std "
            "of the space to the mean and the standard deviation of train_f0s.npy in data.tgz beside it"
        )
    has_speakers = any(key.startswith("spk_embed_proj.") for key in model.state_dict())
    converted: dict[str, Tensor] = {}
    for key, tensor in state.items():
        unused = key == "encoder_embed_tokens.weight" or key.endswith("._float_tensor")
        if unused or (key.startswith("spk_embed_proj.") and not has_speakers):
            continue
        ours = _by_rules(key, _LIGHTSPEECH_RULES)
        stem, packed, rest = ours.partition(".self_attn.in_proj_weight")
        if packed and not rest:
            converted |= {f"{stem}.self_attn.{name}.weight": part for name, part in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            converted[ours.replace(".self_attn.out_proj.", ".self_attn.out.")] = tensor
    return converted


def mlnet_nasbert(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns the tensors of a NAS-BERT of ML.NET (dotnet/machinelearning, NasBert) under our keys.

    Files of a pre-trained encoder have no classifier. It is then initialised at random, which a WeightsWarning says.

    Raises:
        KeyFormatError: `model` has no classifier.
    """
    converted = {_nasbert_key(key): tensor for key, tensor in state.items()}
    weight = model.state_dict().get("classifier.weight")
    if weight is None:
        raise KeyFormatError(f"this format is of NAS-BERT, and {type(model).__name__} has no classifier.weight")
    if "classifier.weight" not in converted and "classifier.bias" not in converted:
        warn_of_weights(
            "the file has an encoder and no classifier, which is initialised at random: train it before it is used to classify"
        )
        converted["classifier.weight"] = torch.empty(weight.shape, dtype=weight.dtype, device="cpu").normal_(std=0.02)
        converted["classifier.bias"] = torch.zeros(len(weight), dtype=weight.dtype, device="cpu")
    return converted


def _nasbert_key(key: str) -> str:
    theirs = key.removeprefix("Encoder.")
    layer = _NASBERT_LAYER.fullmatch(theirs)
    if layer is None:
        return _by_rules(theirs, _NASBERT_RULES)
    if layer[2] not in _NASBERT_LAYER_PARTS:
        return f"[{key}]"
    block, place = divmod(int(layer[1]), LAYERS_OF_A_BLOCK)
    return f"blocks.{block}.layers.{place}.{_NASBERT_LAYER_PARTS[layer[2]]}.{layer[3]}"


def _by_rules(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    """Returns our key by the first rule whose pattern is the whole of `key`; the key in brackets if there is none."""
    for pattern, ours in rules:
        if found := re.fullmatch(pattern, key):
            return found.expand(ours)
    return f"[{key}]"
