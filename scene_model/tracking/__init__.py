"""Tracks of a whole video from windows of it that the network saw independently of each other.

`WindowLinker` takes the windows of a video in order and returns what has become final, `VideoTracker` has one for each
video of its batches; everything around them is a pure function.
Letters for shapes: T frames of a window, Q queries, C classes, D channels; F frames of the linker's time axis, M live
tracks, K tracklets, which are what one window shows.
"""

from scene_model.tracking.config import LinkingConfig
from scene_model.tracking.linker import TrackRows, WindowLinker
from scene_model.tracking.video import FinalTracks, VideoTracker
from scene_model.tracking.window import Window, window_starts

__all__ = ["FinalTracks", "LinkingConfig", "TrackRows", "VideoTracker", "Window", "WindowLinker", "window_starts"]
