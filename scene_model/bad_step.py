"""The file of a training step that went wrong: its batch, and the weights that met it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from scene_model.batch import SceneBatch, SequenceInfo
from scene_model.errors import UserError
from scene_model.files import NewFile, file_errors
from scene_model.intact_loading import load_intact


@dataclass(frozen=True)
class BadStep:
    """What is known of the step beside the weights.

    Args:
        batch: as the model got it, on the host.
        precision: of the trainer, such as ``bf16-mixed``.
        device: its type, such as ``cuda``.
    """

    batch: SceneBatch
    precision: str
    device: str


def write_bad_step(path: Path, module: LightningModule, batch: SceneBatch, precision: str) -> None:
    """Write the file, whole or not at all; `load_from_checkpoint` takes it too, and it loads with ``weights_only``.

    Args:
        path: of the file.
        module: with the weights of the step.
        batch: of the step; whole-sequence annotations and original frames are left out.
        precision: of the trainer.

    Raises:
        UserError: it cannot be written.
    """
    content = {
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "batch": _plain(batch),
        "precision": precision,
        "device": batch.frames.device.type,
    }
    with NewFile(path) as file, file_errors(path):
        with file.part.open("wb") as part:
            torch.save(content, part)
        file.place()


def read_bad_step(path: Path) -> BadStep:
    """Read what the file holds beside the weights.

    Raises:
        UserError: there is no such file, or it is none that `write_bad_step` wrote.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    try:
        content = load_intact(path)
        batch = _batch(content["batch"])
        return BadStep(batch, content["precision"], content["device"])
    except Exception as error:  # torch.load fails in as many ways as files can be broken
        raise UserError(
            f"{path}: expected a bad_step_<step>.pt of a training, found another or a damaged file"
        ) from error


def where(batch: SceneBatch) -> str:
    """Sequences and frames of a batch in words, frames by their numbers in the sequence, padding left out."""
    clips = [
        (info.name, [str(info.first_frame + n) for n in numbers])
        for info, numbers in zip(batch.sequences, batch.real_frames(), strict=True)
    ]
    return ", ".join(f"{name} (frames {', '.join(numbers)})" for name, numbers in clips)


def _plain(batch: SceneBatch) -> dict[str, Any]:
    """A batch as tensors, numbers and text only."""
    state = batch.__getstate__()
    tensors = {name: value.cpu() for name, value in state.items() if isinstance(value, Tensor)}
    rows = {"targets": state["targets"], "is_last": batch.is_last}
    return tensors | rows | {"sequences": [asdict(info) for info in batch.sequences]}


def _batch(plain: dict[str, Any]) -> SceneBatch:
    batch = SceneBatch.__new__(SceneBatch)
    sequences = [SequenceInfo(**info) for info in plain["sequences"]]
    batch.__setstate__(plain | {"sequences": sequences, "truths": [None] * len(sequences), "originals": None})
    return batch
