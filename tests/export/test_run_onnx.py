"""The program in every package runs where there is no PyTorch and no hubserve, and answers as we do."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hubserve.export import run_onnx
from hubserve.preprocess import Preprocess, decode_image
from hubserve.service.engine import Engine
from tests.images import noise, photo
from tests.stores import small_package

ALONE = ("numpy", "numpy.libs", "PIL", "pillow.libs", "onnxruntime")
"""Folders of site-packages that the program needs; the environment has these and nothing else."""


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    ours = Path(sysconfig.get_path("purelib"))
    for name in ALONE:
        if (ours / name).exists():
            (site / name).symlink_to(ours / name)
    return folder / "bin" / "python"


def test_in_an_environment_of_its_own(bare_python, tmp_path):
    """Its site-packages hold numpy, pillow and onnxruntime."""
    images = {"cat.jpg": photo("chelsea"), "noise.png": noise(50, seed=2)}
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    probe = "import importlib.util as u; print([n for n in ('torch', 'torchvision', 'hubserve', 'onnx') if u.find_spec(n)])"
    assert subprocess.run([bare_python, "-I", "-c", probe], capture_output=True, text=True, check=True).stdout == "[]\n"
    command = [bare_python, "-I", small_package().path / "run_onnx.py", *images, "--json", "--top", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    answers = json.loads(done.stdout)
    engine = Engine(small_package(), device="cpu")
    for name, data in images.items():
        expected = engine.classify(data, top_k=3).predictions
        assert [label for label, _ in answers[name]] == [p.label for p in expected]
        for (_, probability), p in zip(answers[name], expected, strict=True):
            assert probability == pytest.approx(p.probability, abs=0.02)
    text = subprocess.run([*command[:-3], "--top", "1"], capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert text.splitlines()[0] == "cat.jpg"
    assert answers["cat.jpg"][0][0] in text.splitlines()[1]


@pytest.mark.parametrize(
    "size", [(451, 300), (300, 451), (36, 36), (33, 200), (40, 41), (3000, 1), (1, 3000), (2000, 97), (20_000, 36)]
)
@pytest.mark.parametrize("how", [{}, {"interpolation": "bicubic", "channels": "bgr", "scale": 1.0, "std": (1.0, 2.0, 57.0)}])
def test_prepares_exactly_as_the_reference(size, how):
    preprocess = Preprocess(input_size=32, resize=36, **how)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    expected = preprocess.reference(image)
    found = run_onnx.prepare(image, preprocess.model_dump())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_reads_images_as_we_do(tmp_path):
    """Turned by EXIF, half transparent, palette."""
    rng = np.random.default_rng(0)
    turned = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    clear = Image.fromarray(rng.integers(0, 256, (20, 30, 4), dtype=np.uint8))
    for name, image, extra in (("a.png", turned, {"exif": exif}), ("b.png", clear, {}), ("c.png", turned.convert("P"), {})):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **extra)
        (tmp_path / name).write_bytes(buffer.getvalue())
        np.testing.assert_array_equal(
            np.asarray(run_onnx.read_rgb(tmp_path / name)), np.asarray(decode_image(buffer.getvalue()))
        )


def test_the_package_holds_this_very_file():
    assert (small_package().path / "run_onnx.py").read_bytes() == Path(run_onnx.__file__).read_bytes()
    assert sys.version_info >= (3, 11)
