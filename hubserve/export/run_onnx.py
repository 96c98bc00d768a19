"""Classifies images with the ONNX model of a package. It needs onnxruntime, numpy and pillow, but not PyTorch or hubserve.

    python run_onnx.py photo.jpg [more.png ...] [--top 5] [--json]

This file must be in the package folder, beside model.onnx, manifest.json (preprocessing) and labels.txt.
HUBSERVE_REQUIRE_JPEG_END=1 refuses JPEGs without an end marker.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hubserve.preprocess.rgb_image import read_rgb_file

# ONNX Runtime reads this variable at import. Without it, it writes a device id into the home folder and reports usage.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

NARROW = 20
"""Ratio of the longer to the shorter side above which only the middle of an image is resized, to limit the memory used."""


def prepare(image: Image.Image, how: dict[str, Any]) -> np.ndarray:
    """Preprocesses an image: makes it a square of the input size, as `how["fit"]` says, and normalises its pixels.

    With "crop", which is also the default, the image is resized and its centre cropped; see `whole_image` for the others.

    Args:
        image: RGB image of any size.
        how: The object "preprocess" of manifest.json.

    Returns:
        The input of the network, (3, input_size, input_size) float32.
    """
    size = how["input_size"]
    if how.get("fit", "crop") != "crop":
        return normalise(np.asarray(whole_image(image, how)), how)
    short, long = sorted(image.size)
    if long > NARROW * short:
        image = resize_middle(image, how)
    elif short != how["resize"]:
        # The shorter side becomes `resize` pixels; the length of the longer side is rounded down.
        longer = int(how["resize"] * long / short)
        target = (how["resize"], longer) if image.width <= image.height else (longer, how["resize"])
        image = image.resize(target, FILTERS[how["interpolation"]])
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return normalise(np.asarray(image.crop((left, top, left + size, top + size))), how)


def whole_image(image: Image.Image, how: dict[str, Any]) -> Image.Image:
    """Resizes a whole RGB image to a square of the input size, without cropping.

    If `how["fit"]` is "squash", its aspect ratio changes; if it is "pad", borders in the mean colour fill the square.
    """
    size, resample = how["input_size"], FILTERS[how["interpolation"]]
    if how["fit"] == "squash":
        return image.resize((size, size), resample)
    colour = [round(min(max(value * how["scale"], 0), 255)) for value in how["mean"]]
    red, green, blue = colour if how["channels"] == "rgb" else colour[::-1]
    width, height = (max(1, round(length * size / max(image.size))) for length in image.size)
    square = Image.new("RGB", (size, size), (red, green, blue))
    square.paste(image.resize((width, height), resample), ((size - width) // 2, (size - height) // 2))
    return square


def normalise(square: np.ndarray, how: dict[str, Any]) -> np.ndarray:
    """Converts RGB pixels, (input_size, input_size, 3), to the input of the network, (3, input_size, input_size) float32.

    Pixels are divided by `how["scale"]`, and then the mean of each channel is subtracted and divided by its standard deviation.
    """
    pixels = square.astype(np.float32)
    if how["channels"] == "bgr":
        pixels = pixels[:, :, ::-1]
    pixels = (pixels / np.float32(how["scale"]) - np.float32(how["mean"])) / np.float32(how["std"])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def resize_middle(image: Image.Image, how: dict[str, Any]) -> Image.Image:
    """Resizes only the middle of a long, narrow image, with the same pixels there as if the whole image were resized.

    Args:
        image: RGB image whose longer side is more than NARROW times the shorter one.
        how: The object "preprocess" of manifest.json; `resize`, `input_size` and `interpolation` are used.

    Returns:
        An image with `input_size` pixels along the longer side and `resize` along the shorter one.
    """
    short, long = sorted(image.size)
    length = int(how["resize"] * long / short)
    scale = long / length
    begin = round((length - how["input_size"]) / 2) * scale
    end = begin + how["input_size"] * scale
    reach = 2 * max(scale, 1) + 1
    first, last = math.floor(begin - reach), math.ceil(end + reach)
    edges: tuple[int, int, int, int] = (first, 0, last, short)
    box: tuple[float, float, float, float] = (begin - first, 0, end - first, short)
    target = (how["input_size"], how["resize"])
    if image.height > image.width:
        edges, box, target = (0, first, short, last), (0, begin - first, short, end - first), target[::-1]
    return image.crop(edges).resize(target, FILTERS[how["interpolation"]], box=box)


def cores() -> int:
    """Returns the number of cores that this process may use, by its affinity and the CPU quota of its container.

    ONNX Runtime itself ignores the quota and would start too many threads.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(found, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # There is no quota.
        return found


def classify(folder: Path, images: list[Path], top: int) -> dict[str, list[tuple[str, float]]]:
    """Classifies image files and returns, by path, (label, probability) of the most likely classes, the most likely first.

    Args:
        folder: Package folder.
        images: Image files.
        top: Number of classes to return for each image; all are returned if there are fewer.

    Raises:
        Exception: A file of the package or an image cannot be read, or the model cannot be run; its class may be almost any.
    """
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    labels = (folder / "labels.txt").read_text("utf-8").removesuffix("\n").split("\n")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    answers = {}
    for path in images:
        batch = prepare(read_rgb_file(path), manifest["preprocess"])[None]
        (logits,) = session.run(None, {manifest["inputs"][0]["name"]: batch})[0].astype(np.float64)
        scaled = logits / (manifest.get("temperature") or 1.0)
        likely = np.exp(scaled - scaled.max())
        likely /= likely.sum()
        answers[str(path)] = [(labels[i], float(likely[i])) for i in np.argsort(-logits, kind="stable")[:top]]
    return answers


def main() -> None:
    """Reads the command line, classifies the images and prints the classes."""
    parser = argparse.ArgumentParser(description="Classify images with this package.")
    parser.add_argument("images", metavar="image", nargs="+", type=Path)
    parser.add_argument("--top", type=int, default=5, help="classes to name")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    # Labels and paths with characters that the terminal does not have, as under LC_ALL=C, are printed with escapes.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    answers = classify(Path(__file__).resolve().parent, arguments.images, arguments.top)
    if arguments.json:
        print(json.dumps(answers))
        return
    for path, classes in answers.items():
        print(path)
        for label, probability in classes:
            print(f"  {probability:7.2%}  {label}")


if __name__ == "__main__":
    main()
