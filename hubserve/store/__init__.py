"""The model store: BentoML's, holding packages, and the aliases of its models. Imports no torch."""

from __future__ import annotations

from hubserve.store.models import (
    StoredModel,
    delete,
    export_model,
    folder,
    import_model,
    list_models,
    publish,
    resolve,
    stamp,
    unpack_bento,
)

__all__ = [
    "StoredModel",
    "delete",
    "export_model",
    "folder",
    "import_model",
    "list_models",
    "publish",
    "resolve",
    "stamp",
    "unpack_bento",
]
