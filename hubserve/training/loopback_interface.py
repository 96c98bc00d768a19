"""`use_loopback_only`, by which processes that train together cannot be reached from other machines."""

import os
import sys

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


def use_loopback_only() -> None:
    """Makes gloo and NCCL, in this process, listen on the loopback interface only.

    Otherwise gloo listens on the address to which the name of the machine resolves, without authentication.
    """
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ[variable] = LOOPBACK
