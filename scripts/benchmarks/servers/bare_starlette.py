"""Starlette and uvicorn alone: PIL and ONNX Runtime in as many threads as there are cores, none of which starts more."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import onnxruntime
import torch
from anyio.to_thread import current_default_thread_limiter
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from torchvision import transforms

torch.set_num_threads(1)
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


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Of the forty threads that a pool has otherwise, all but a few would only take turns."""
    current_default_thread_limiter().total_tokens = len(os.sched_getaffinity(0))
    yield


app = Starlette(routes=[Route("/classify", classify, methods=["POST"]), Route("/readyz", ready)], lifespan=lifespan)
