"""One bad input: files in an empty folder, a command that reads them, and what must be said of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

SMALL = (
    *("--model.backbone.name", "mobilenet_v3_small"),
    *("--model.encoder.channels", "32"),
    *("--model.decoder.num_queries", "6"),
    *("--model.decoder.num_layers", "1"),
    *("--data.image_size", "[64,64]"),
    *("--data.batch_size", "1"),
)


@dataclass(frozen=True)
class Case:
    """What a user might do.

    Args:
        name: unique among all cases.
        arguments: of the command line; paths are relative to the folder.
        says: what the sentence or the warning must name: the file, the line or the key.
        files: contents by relative path; what is costly to make is made when it is needed.
        is_found_late: the command has begun, so that its run folder stays; what is found before leaves nothing.
        is_refused: exit code 2; else success, with a warning that says so where `says` is not empty.
    """

    name: str
    arguments: tuple[str, ...]
    says: str
    files: dict[str, bytes | Callable[[], bytes]] = field(default_factory=dict, hash=False)
    is_refused: bool = True
    is_found_late: bool = False

    def write(self, folder):
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content() if callable(content) else content)
