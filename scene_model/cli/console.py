"""What Lightning says without being asked."""

from __future__ import annotations

import logging
import warnings


def quiet_console() -> None:
    """Keep advertisements, and warnings about Lightning's own inside, off the console."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip: For seamless" not in record.getMessage()
