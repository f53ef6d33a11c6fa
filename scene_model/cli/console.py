"""What Lightning says without being asked."""

from __future__ import annotations

import logging
import warnings


def quiet_console() -> None:
    """Keep advertisements and warnings about Lightning's own inside off the console, and other warnings on one line."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    warnings.formatwarning = _one_line


def _one_line(message: Warning | str, *args: object, **kwargs: object) -> str:
    """Without the line of code that gave the warning, which says nothing to users."""
    return f"warning: {' '.join(str(message).split())}\n"


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip: For seamless" not in record.getMessage()
