"""Programs that hubserve runs in processes of their own: they import torch or load files that are not trusted yet."""
