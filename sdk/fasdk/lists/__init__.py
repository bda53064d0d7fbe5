"""Lists of captures in the forms that people write them in."""

from __future__ import annotations

from fasdk.lists.frame_list import FrameList, FrameRow, read_frame_list
from fasdk.lists.options import FaceForm, ListOptions

__all__ = ["FaceForm", "FrameList", "FrameRow", "ListOptions", "read_frame_list"]
