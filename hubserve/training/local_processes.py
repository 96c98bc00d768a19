"""Lightning's DDP for processes of this machine that nobody outside it can reach. Imports Lightning Fabric, an extra.

By default the first process listens on all addresses of the machine, without authentication, and gloo on the address that the
name of the machine resolves to.
"""

import os
import sys
from pathlib import Path

import torch
from lightning_fabric.strategies.ddp import DDPStrategy

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class LocalProcesses(DDPStrategy):
    """Starts the processes, which find each other by a file and listen on the loopback interface only.

    Args:
        folder: Folder for that file, which no other training uses.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(start_method="spawn")
        self._folder = folder

    def setup_environment(self) -> None:
        """Makes the group of processes; called in each of them before the training."""
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ[variable] = LOOPBACK
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
