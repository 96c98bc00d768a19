from common import *
import random, torch
from torch.utils.data import TensorDataset
from hubserve.evaluator import Classification
from hubserve.evaluator import Trial
from hubserve.hub import get_space
data = TensorDataset(torch.randn(9, 3, 32, 32), torch.arange(9) % 4); space = get_space("MobileNetV3Space", {"num_labels": 4})
try:
    found = Classification(train_dataloaders=data, val_dataloaders=data, num_classes=4, max_epochs=1, batch_size=8).evaluate(space, space.random(random.Random(0)), Trial())
except Exception as error:
    verdict(False, f"{type(error).__name__}: {error}")
verdict(True, found)
