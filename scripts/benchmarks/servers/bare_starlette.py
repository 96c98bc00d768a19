"""Starlette and uvicorn alone: PIL and ONNX Runtime in a thread pool, one thread a session."""

from __future__ import annotations

import io
import os

import numpy as np
import onnxruntime
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from torchvision import transforms

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
prepare = transforms.Compose(
    [
        transforms.Resize(256, transforms.InterpolationMode(os.environ["BENCH_INTERPOLATION"])),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)


def work(data: bytes) -> dict[str, list[float]]:
    """One picture, in a thread."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    logits = session.run(None, {"images": prepare(image)[None].numpy()})[0][0]
    best = np.argsort(-logits)[:5]
    return {"classes": best.tolist(), "logits": logits[best].tolist()}


async def classify(request: Request) -> JSONResponse:
    """The only route."""
    return JSONResponse(await run_in_threadpool(work, await request.body()))


async def ready(_: Request) -> JSONResponse:
    """For whoever waits for the server."""
    return JSONResponse({})


app = Starlette(routes=[Route("/classify", classify, methods=["POST"]), Route("/readyz", ready)])
