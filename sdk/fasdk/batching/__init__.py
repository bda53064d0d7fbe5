"""Micro-batching of captures from many threads on an engine's lanes.

`policy` holds the settings, `batcher` the queue, `group` the lanes of one loaded bundle, `worker` a
lane's thread, and `request` a queued capture with the order in which its caller is answered.
"""

from fasdk.batching.batcher import CLOSED, MicroBatcher
from fasdk.batching.policy import BatchingPolicy, WhenFull

__all__ = ["CLOSED", "BatchingPolicy", "MicroBatcher", "WhenFull"]
