"""LitServe: a worker for each core, none of which starts more threads, and batches of up to eight."""

# No `from __future__ import annotations`: LitServe looks at the type of `request` itself, and not at its name.
import io
import os
import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime
import torch
from fastapi import Request
from PIL import Image
from torchvision import transforms


class Classifier(litserve.LitAPI):
    """Decoding, batches, inference."""

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
        self.prepare = transforms.Compose(
            [
                transforms.Resize(256, transforms.InterpolationMode(os.environ["BENCH_INTERPOLATION"])),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def decode_request(self, request: Request) -> np.ndarray:
        image = Image.open(io.BytesIO(request["image"].file.read())).convert("RGB")
        return self.prepare(image).numpy()

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"images": batch})[0]

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, logits: np.ndarray) -> dict[str, Any]:
        best = np.argsort(-logits)[:5]
        return {"classes": best.tolist(), "logits": logits[best].tolist()}


if __name__ == "__main__":
    api = Classifier(max_batch_size=8, batch_timeout=0.005, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=len(os.sched_getaffinity(0)))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, num_api_servers=1, log_level="error")
