"""A LightningCLI in which checkpoints are defaults, errors are sentences and runs have folders of their own."""

from scene_model.cli.command_line import CheckpointCLI
from scene_model.cli.console import quiet_console
from scene_model.cli.memory import keep_freed_memory
from scene_model.cli.user_errors import user_errors

__all__ = ["CheckpointCLI", "keep_freed_memory", "quiet_console", "user_errors"]
