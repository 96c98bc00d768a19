"""The model store: publishes packages as versions of models in BentoML's store, finds and deletes them, and keeps aliases.

Imports no torch.
"""

from hubserve.store.publishing import delete, publish
from hubserve.store.stored_models import StoredModel, bentoml_home, list_models, resolve, stamp
from hubserve.store.transfer import export_model, import_model, unpack_bento

__all__ = [
    "StoredModel",
    "bentoml_home",
    "delete",
    "export_model",
    "import_model",
    "list_models",
    "publish",
    "resolve",
    "stamp",
    "unpack_bento",
]
