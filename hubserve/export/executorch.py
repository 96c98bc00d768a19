"""Writes ExecuTorch programs (`.pte`), which PyTorch's runtime for phones and boards runs with the kernels of XNNPACK."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.missing_extra import needs_extra
from hubserve.export.quiet_exporters import quiet_exporters
from hubserve.package.runner import Batch


def export_executorch(source: ExportableModel, path: Path) -> None:
    """Writes a model as an ExecuTorch program in float32 that takes one image.

    XNNPACK runs every operation that it has; ExecuTorch's own kernels run the others.

    Args:
        source: Model to export.
        path: File to write.

    Raises:
        ExportError: ExecuTorch is not installed, or cannot convert the model.
    """
    _write(source, path, lambda: source.single_image_program)


def export_executorch_int8(source: ExportableModel, path: Path) -> None:
    """Writes a model as an ExecuTorch program whose convolutions and matrix products are in 8-bit integers.

    Weights have a scale for each channel. Activations have one for each tensor, which the images of `source.calibration` set.

    Args:
        source: Model to export, with images for calibration.
        path: File to write.

    Raises:
        ExportError: ExecuTorch is not installed, there are no images, or the model cannot be converted.
    """

    def program() -> torch.export.ExportedProgram:
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )

        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        quantized = quantized_module(source.single_image_program, quantizer, source.calibration)
        return torch.export.export(quantized, (source.example[:1],))

    _write(source, path, program)


def quantized_module(
    program: torch.export.ExportedProgram, quantizer: Any, calibration: Sequence[Batch]
) -> torch.fx.GraphModule:
    """Returns a captured model with quantize and dequantize operations, whose ranges were measured on images.

    Args:
        program: The model, captured with one image.
        quantizer: A quantizer of a runtime, as `torchao.quantization.pt2e` defines them.
        calibration: Batches of prepared images, each (n, 3, height, width) float32, at least one.

    Raises:
        ExportError: There are no images.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    if not any(map(len, calibration)):
        raise ExportError(
            "8-bit integers need images to calibrate the range of every tensor, and there are none: give a folder of some 100 "
            "images of the kind that the model will see (--images FOLDER)"
        )
    observed = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for batch in calibration:
            for image in batch:
                observed(torch.from_numpy(image[None]))
    quantized: torch.fx.GraphModule = convert_pt2e(observed)
    return quantized


def _write(source: ExportableModel, path: Path, program: Callable[[], torch.export.ExportedProgram]) -> None:
    with needs_extra("ExecuTorch", "executorch"):
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    try:
        with quiet_exporters():
            edge = to_edge_transform_and_lower(program(), partitioner=[XnnpackPartitioner()])
            path.write_bytes(edge.to_executorch().buffer)
    except ExportError:
        raise
    except Exception as error:  # The errors of ExecuTorch have no common base.
        path.unlink(missing_ok=True)
        raise ExportError(f"{source.name} becomes no ExecuTorch program: {first_line(error)}") from error
