"""Runs the formats for phones and boards that need no torch, with the runtime of each: LiteRT and ncnn, which are optional.

The files hold one image a call, as apps use them, so a batch is run image by image.
"""

import threading
from pathlib import Path

import numpy as np

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.package.runner import Batch
from hubserve.preprocess import Preprocess

NCNN_WEIGHTS = "model.ncnn.bin"
"""Name of the file with the weights of an ncnn model, beside the file with its layers."""

NCNN_INPUT, NCNN_OUTPUT = "in0", "out0"
"""Names that pnnx gives to the input and output of a network."""

LITERT_INPUT, LITERT_OUTPUT = "pixels", "logits"
"""Names of the input of a LiteRT file, RGB pixel values 0..255 as float32, (1, height, width, 3), and of one of its outputs;
"probabilities" is the other one."""

LITERT_PREPARATION = "hubserve_preprocess"
"""Name of the metadata entry of a LiteRT file that says how it prepares pixels: the JSON of a `Preprocess`."""


class OneByOneRunner:
    """Base class of the runners of files that take one image a call; a subclass computes its logits in `_logits`.

    Calls from several threads are safe: they wait for each other.
    """

    name: str
    device = "cpu"

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, batch: Batch) -> Batch:
        """Returns the logits (n, classes) of a batch of prepared images (n, 3, height, width), both float32.

        Raises:
            ExportError: The runtime cannot run the model on these images, for instance because of their size.
        """
        try:
            with self._lock:
                return np.stack([self._logits(np.ascontiguousarray(image)) for image in batch])
        except ExportError:
            raise
        except Exception as error:  # The runtimes raise RuntimeError, ValueError and others, without a common base.
            raise ExportError(f"{self.name} cannot run the network on {batch.shape}: {first_line(error)}") from error

    def _logits(self, image: Batch) -> Batch:
        """Returns a copy of the logits (classes,) of one prepared image (3, height, width)."""
        raise NotImplementedError


class LiteRtRunner(OneByOneRunner):
    """A runner that loads a `.tflite` file into LiteRT, the runtime of Android, formerly TensorFlow Lite.

    The file takes pixels, as apps have them, and normalises them itself; so the runner turns prepared images into pixels again.

    Args:
        path: Path of the file.
        threads: Number of threads that one call may use.
        name: Name of the format.

    Raises:
        ExportError: LiteRT is not installed, cannot load the file, or the file was not written by hubserve.
    """

    def __init__(self, path: Path, *, threads: int = 1, name: str = "litert") -> None:
        super().__init__()
        self.name = name
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise not_installed("LiteRT", "litert", error) from error
        try:
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
            self._run = interpreter.get_signature_runner()
            entry = _preparation(path)
            self._preprocess = Preprocess.model_validate_json(entry or "{}")
        except Exception as error:  # The errors of LiteRT have no common base.
            raise ExportError(f"LiteRT cannot load {path}: {first_line(error)}") from error
        if entry is None:
            raise ExportError(f"{path} does not say how it prepares pixels, so hubserve did not write it; export it again")

    def _logits(self, image: Batch) -> Batch:
        logits: Batch = self._run(**{LITERT_INPUT: pixels_of(image, self._preprocess)})[LITERT_OUTPUT][0].copy()
        return logits


def pixels_of(image: Batch, preprocess: Preprocess) -> Batch:
    """Returns the pixels (1, height, width, 3) RGB, 0..255 but not rounded, of a prepared image (3, height, width)."""
    mean, std = (np.array(values, np.float64)[:, None, None] for values in (preprocess.mean, preprocess.std))
    pixels = (image * std + mean) * preprocess.scale
    ordered = pixels[::-1] if preprocess.channels == "bgr" else pixels
    return np.ascontiguousarray(ordered.transpose(1, 2, 0)[None], np.float32)


def _preparation(path: Path) -> bytes | None:
    """Returns the metadata entry `LITERT_PREPARATION` of a LiteRT file; None if it has none."""
    from ai_edge_litert.schema_py_generated import Model

    model = Model.GetRootAs(path.read_bytes(), 0)
    for entry in (model.Metadata(index) for index in range(model.MetadataLength())):
        if entry.Name() == LITERT_PREPARATION.encode():
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
    return None


class NcnnRunner(OneByOneRunner):
    """A runner that loads a `.param` file, and the weights in `NCNN_WEIGHTS` beside it, into ncnn; it computes in float32.

    Args:
        path: Path of the `.param` file.
        threads: Number of threads that one call may use.

    Raises:
        ExportError: ncnn is not installed, or cannot load the files.
    """

    name = "ncnn"

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        super().__init__()
        try:
            import ncnn
        except ImportError as error:
            raise not_installed("ncnn", "ncnn", error) from error
        self._ncnn = ncnn
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = threads
        # By default it stores and computes in 16 bits where the CPU can.
        for setting in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
            setattr(options, f"use_{setting}", False)
        if self._net.load_param(str(path)) != 0 or self._net.load_model(str(path.with_name(NCNN_WEIGHTS))) != 0:
            raise ExportError(f"ncnn {ncnn.__version__} cannot load {path} with {NCNN_WEIGHTS}")

    def _logits(self, image: Batch) -> Batch:
        with self._net.create_extractor() as extractor:
            extractor.input(NCNN_INPUT, self._ncnn.Mat(image))
            status, logits = extractor.extract(NCNN_OUTPUT)
            if status != 0:
                raise ExportError(f"ncnn cannot run the network on an image of {image.shape}: status {status}")
            return np.array(logits).reshape(-1)


def not_installed(runtime: str, extra: str, error: ImportError) -> ExportError:
    """Returns the error that `runtime` is missing, with the extra of hubserve that installs it."""
    return ExportError(f"{runtime} is not installed ({error}): pip install 'hubserve[{extra}]'")
