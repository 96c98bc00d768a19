"""`LocalProcesses`: Lightning's DDP strategy for processes on this machine, without ports that other machines can reach.

By default the first process listens on all addresses of the machine, without authentication, and gloo listens on the address to
which the name of the machine resolves. The module imports Lightning Fabric, an optional dependency.
"""

import multiprocessing
import os
import signal
from pathlib import Path

import torch
from lightning_fabric.strategies.ddp import DDPStrategy

from hubserve.process_tree import end_with_parent
from hubserve.training.loopback_interface import use_loopback_only


class LocalProcesses(DDPStrategy):
    """A DDP strategy whose processes find each other by a file and listen on the loopback interface only.

    Args:
        folder: Folder for that file; no other training may use it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(start_method="spawn")
        self._folder = folder

    def setup_environment(self) -> None:
        """Creates the process group of torch.distributed; Lightning calls the method in each process before the training.

        From then on the process ends when its parent does (on Linux). SIGINT is left to the parent, since a terminal sends it
        to all of them.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_with_parent()
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:  # It ended before.
            os._exit(1)
        use_loopback_only()
        if self.root_device.type == "cuda":
            torch.cuda.set_device(self.root_device)
        torch.distributed.init_process_group(
            self._get_process_group_backend(),
            init_method=(self._folder / "processes").as_uri(),
            rank=self.local_rank,
            world_size=self.num_processes,
            device_id=self.root_device if self.root_device.type == "cuda" else None,
        )
        super().setup_environment()
