"""A LightningCLI in which checkpoints are defaults, errors are sentences and runs have folders of their own."""

from scene_model.cli.command_line import CheckpointCLI
from scene_model.cli.console import quiet_console
from scene_model.cli.user_errors import user_errors

__all__ = ["CheckpointCLI", "quiet_console", "user_errors"]
