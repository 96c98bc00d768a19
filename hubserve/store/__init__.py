"""The model store: publishes packages as versions of models in BentoML's store, finds and deletes them, and keeps aliases.

Imports no torch.
"""

from hubserve.store.archives_and_bentos import export_model, import_model, unpack_bento
from hubserve.store.publishing import delete, publish
from hubserve.store.pull import pull, pull_package
from hubserve.store.push import Pushed, push
from hubserve.store.stored_models import StoredModel, bentoml_home, list_models, resolve, stamp

__all__ = [
    "Pushed",
    "StoredModel",
    "bentoml_home",
    "delete",
    "export_model",
    "import_model",
    "list_models",
    "publish",
    "pull",
    "pull_package",
    "push",
    "resolve",
    "stamp",
    "unpack_bento",
]
