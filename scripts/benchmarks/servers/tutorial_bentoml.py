"""BentoML as its tutorial shows it: a picture argument, PIL, torchvision's transforms, ONNX Runtime's defaults."""

from __future__ import annotations

import os
from typing import Any

import bentoml
import numpy as np
import onnxruntime
from PIL.Image import Image
from torchvision import transforms


@bentoml.service
class Tutorial:
    """A typed endpoint."""

    def __init__(self) -> None:
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], providers=["CPUExecutionProvider"])
        self.prepare = transforms.Compose(
            [
                transforms.Resize(256, transforms.InterpolationMode(os.environ["BENCH_INTERPOLATION"])),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    @bentoml.api
    def classify(self, image: Image) -> dict[str, Any]:
        logits = self.session.run(None, {"images": self.prepare(image.convert("RGB"))[None].numpy()})[0][0]
        best = np.argsort(-logits)[:5]
        return {"classes": best.tolist(), "logits": logits[best].tolist()}
