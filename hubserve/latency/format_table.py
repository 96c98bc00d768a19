"""The records of a table of all formats (`FormatTable`): what `hubserve profile MODEL DATA --all-formats` measures."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hubserve.host import Host


class FormatRow(BaseModel):
    """One format that works on this machine.

    Attributes:
        format: The format: "eager" (PyTorch itself), "openvino" (the file of "onnx", run by OpenVINO), or a format of packages.
        runtime: Name and version of the library that ran it.
        file_bytes: Size of its files in bytes; for "eager", that of the file of weights.
        top1: Share of the labelled images that it classifies correctly, in [0, 1]; None without labelled images.
        top1_interval: 95 % Wilson confidence interval of `top1`; None without labelled images.
        p50_ms: Median latency of a call in milliseconds; None if too few calls could be measured in the time.
        images_per_second: Number of images in a call divided by its mean time.
        verdict: How reliable the latency is: "stable", "noisy" or "unstable".
        peak_mib: Largest resident memory, in MiB, of a process that loads and calls it, PyTorch and other libraries included;
            None if it was not measured.
        model_mib: How much of `peak_mib` loading and calling the model has added, in MiB; None if it was not measured.
        error: Largest difference of its logits from those of eager PyTorch, as a share of the standard deviation of these; None
            for "eager".
        same_top1: Share of the images of the comparison for which it has the best class of eager PyTorch, in [0, 1]; None for
            "eager".
    """

    model_config = ConfigDict(frozen=True)

    format: str
    runtime: str
    file_bytes: int
    top1: float | None
    top1_interval: tuple[float, float] | None
    p50_ms: float | None
    images_per_second: float
    verdict: Literal["stable", "noisy", "unstable"]
    peak_mib: float | None
    model_mib: float | None
    error: float | None
    same_top1: float | None


class FormatTable(BaseModel):
    """All formats of a model on this machine: those that work, and why the others do not.

    Attributes:
        format_version: Version of this record.
        model: Name of the model.
        created: Time of the measurement, in ISO 8601.
        host: Machine on which it was measured.
        batch_size: Number of images in a call whose latency and memory were measured.
        threads: Number of threads that a call may use.
        data: Folder, listing or address of the images; None if there were none.
        labelled_images: Number of images on which the accuracy was measured, the same for all formats.
        calibration_images: Number of other images, which calibrated the formats in 8-bit integers.
        accuracy_unknown: Reason why the accuracy was not measured; None if it was.
        rows: The formats that work, eager PyTorch first.
        failed: Reason why a format does not work here, or has other logits than eager PyTorch, by the name of the format.
    """

    model_config = ConfigDict(frozen=True)

    format_version: Literal[1] = 1
    model: str
    created: str
    host: Host
    batch_size: int
    threads: int
    data: str | None = None
    labelled_images: int = 0
    calibration_images: int = 0
    accuracy_unknown: str | None = None
    rows: tuple[FormatRow, ...] = Field(min_length=1)
    failed: dict[str, str] = {}
