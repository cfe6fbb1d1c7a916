"""Where Triton keeps what it has compiled."""

import logging
from pathlib import Path

from triton import knobs

from swarm_kernels.folders import private_folder, why_not

logger = logging.getLogger(__name__)


def settle_cache() -> None:
    """Where the folder that Triton would take does not do (for a user without a home, that would be one named "~"), it
    is given another, and a warning says so."""
    usual = Path(knobs.cache.dir)
    reason = why_not(usual) if usual.is_absolute() else "this user has no home folder"
    if not reason:
        return
    try:
        instead = private_folder("swarm-triton")
    except OSError as error:
        logger.warning("Triton's kernels cannot be kept in %s (%s), nor elsewhere (%s)", usual, reason, error)
        return
    logger.warning("Triton's kernels cannot be kept in %s (%s): they are in %s", usual, reason, instead)
    knobs.cache.dir = str(instead)
