"""The preparation of images in the browser (prepare.js), run by node: the numbers of the service's reference."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL import __version__ as pillow_version

from hubserve.preprocess import Preprocess
from hubserve.service import page

NODE = shutil.which("node")
MODULE = Path(page.__file__).with_name("prepare.js")

PREPARE = """
import { readFileSync, writeFileSync } from 'node:fs';
const [module, folder] = process.argv.slice(2);
const text = encodeURIComponent(readFileSync(module, 'utf8'));
const { prepare, onWhite, likeliest } = await import(`data:text/javascript,${text}`);
for (const { name, width, height, preprocess, planes } of JSON.parse(readFileSync(`${folder}/cases.json`))) {
  const data = new Uint8ClampedArray(readFileSync(`${folder}/${name}.raw`));
  const image = planes === 4 ? onWhite({ data, width, height }) : { data, width, height };
  writeFileSync(`${folder}/${name}.f32`, new Uint8Array(prepare(image, preprocess).buffer));
}
console.log(JSON.stringify(likeliest([1, 3, 3, 2], ['a', 'b', 'c', 'd'], 2, 3)));
"""

SIZES = [(50, 37), (37, 50), (64, 64), (200, 31), (31, 200), (11, 9), (36, 36), (33, 400)]
"""Widths and heights: shrunk, enlarged, and unchanged; in both orders of the directions."""

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="there is no node here: apt-get install nodejs"),
    pytest.mark.skipif(int(pillow_version.partition(".")[0]) < 13, reason="earlier versions resize the width first, always"),
]


def run_node(folder: Path, *arguments: str | Path) -> str:
    """Writes PREPARE into `folder`, runs it, and returns what it printed."""
    (folder / "prepare.mjs").write_text(PREPARE)
    command = [str(NODE), str(folder / "prepare.mjs"), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def write_case(folder: Path, pixels: np.ndarray, preprocess: Preprocess) -> dict[str, object]:
    name = f"case{len(list(folder.glob('*.raw')))}"
    (folder / f"{name}.raw").write_bytes(pixels.tobytes())
    height, width, planes = pixels.shape
    settings = preprocess.model_dump(mode="json")
    return {"name": name, "width": width, "height": height, "planes": planes, "preprocess": settings}


def found(folder: Path, case: dict[str, object], side: int) -> np.ndarray:
    return np.frombuffer((folder / f"{case['name']}.f32").read_bytes(), np.float32).reshape(3, side, side)


def test_it_equals_the_reference(tmp_path):
    """Bit by bit, for each fit, filter and order of the channels."""
    rng = np.random.default_rng(0)
    cases, images = [], []
    for index, (width, height) in enumerate(SIZES):
        for fit in ("crop", "pad", "squash"):
            for interpolation in ("bilinear", "bicubic"):
                preprocess = Preprocess(
                    input_size=32,
                    resize=36,
                    fit=fit,
                    interpolation=interpolation,
                    channels=("rgb", "bgr")[index % 2],
                    scale=(255, 1)[index % 2],
                )
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                cases.append(write_case(tmp_path, pixels, preprocess))
                images.append((preprocess, pixels))
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    run_node(tmp_path, MODULE, tmp_path)
    for case, (preprocess, pixels) in zip(cases, images, strict=True):
        np.testing.assert_array_equal(
            found(tmp_path, case, 32), preprocess.reference(Image.fromarray(pixels)), err_msg=str(case)
        )


def test_long_images_transparency_and_classes(tmp_path):
    """Long images are within 1 of 255, as the reference says of itself; transparent parts become white."""
    rng = np.random.default_rng(1)
    preprocess = Preprocess(input_size=32, resize=36, mean=(0, 0, 0), std=(1, 1, 1))
    long = rng.integers(0, 256, (17, 900, 3), dtype=np.uint8)
    squash = Preprocess(input_size=40, resize=40, fit="squash", scale=1, mean=(0, 0, 0), std=(1, 1, 1))
    clear = rng.integers(0, 256, (40, 40, 4), dtype=np.uint8)
    clear[:20, :, 3], clear[20:, :, 3] = 0, 255
    cases = [write_case(tmp_path, long, preprocess), write_case(tmp_path, clear, squash)]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    printed = run_node(tmp_path, MODULE, tmp_path)
    apart = found(tmp_path, cases[0], 32) - preprocess.reference(Image.fromarray(long))
    assert np.abs(apart).max() * 255 < 1.001
    seen = found(tmp_path, cases[1], 40).transpose(1, 2, 0)
    assert (seen[:20] == 255).all()
    np.testing.assert_array_equal(seen[20:], clear[20:, :, :3])
    answer = json.loads(printed)
    assert [row["label"] for row in answer] == ["b", "c", "d"]
    powers = np.exp(np.array([3, 3, 2, 1]) / 2)
    assert [row["probability"] for row in answer] == pytest.approx(list(powers[:3] / powers.sum()))
