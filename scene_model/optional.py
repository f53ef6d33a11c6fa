"""Packages that only some users need."""

from __future__ import annotations

from importlib import import_module

from scene_model.errors import UserError

_PACKAGES = {"av": "PyAV", "faster_coco_eval": "faster-coco-eval"}


def require(module: str, purpose: str, extra: str) -> None:
    """Checks that an optional package is installed, and not broken.

    Args:
        module: its name in an import.
        purpose: what needs it; the sentence begins with it.
        extra: of this project, which brings the package along.

    Raises:
        UserError: it cannot be imported; the sentence holds the command that installs it.
    """
    try:
        import_module(module)
    except ImportError as error:
        package = _PACKAGES.get(module, module)
        raise UserError(f'{purpose} needs {package}: pip install -e ".[{extra}]"') from error
