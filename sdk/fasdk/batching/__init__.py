"""Captures from any thread, judged together on an engine's lanes.

`policy` says how captures share an engine, `batcher` is the queue, `lanes` the threads that empty
it, `pending` a capture that waits and the order in which its caller hears.
"""

from fasdk.batching.batcher import CLOSED, MicroBatcher
from fasdk.batching.policy import BatchingPolicy, WhenFull

__all__ = ["CLOSED", "BatchingPolicy", "MicroBatcher", "WhenFull"]
