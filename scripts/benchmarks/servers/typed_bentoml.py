"""Our engine behind BentoML's typed endpoint: what a mounted application saves, with all else equal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml

from hubserve.host import cores
from hubserve.package.package import read_package
from hubserve.service.engine import Engine


@bentoml.service(threads=cores())
class Typed:
    """One picture a request, in as many threads as there are cores."""

    def __init__(self) -> None:
        self.engine = Engine(read_package(Path(os.environ["BENCH_PACKAGE"])), device="cpu")
        self.engine.warm_up()

    @bentoml.api
    def classify(self, image: Path) -> dict[str, Any]:
        answer = self.engine.classify(image.read_bytes())
        return {"predictions": [prediction.model_dump() for prediction in answer.predictions]}
