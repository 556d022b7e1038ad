"""Scalars for TensorBoard: an event file, written at once and in order.

The protocol buffers are tensorboardX's. Its SummaryWriter is not used: it writes from a thread, whose failures on a
full disk nobody hears of.
"""

import socket
import struct
import time


class Events:
    """Appends scalars to an event file of its own in a folder."""

    def __init__(self, folder, purge_step=None):
        """Opens the file; TensorBoard hides events of ``purge_step`` and later that an earlier process wrote."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.Event = Event
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{time.time_ns()}"
        self.file = (folder / name).open("wb")
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_step is not None:
            self._write(Event(wall_time=time.time(), step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def close(self):
        """Closes the file."""
        self.file.close()

    def write_scalars(self, step, values):
        """Adds {tag: number} at a step."""
        from tensorboardX.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(self.Event(wall_time=time.time(), step=step, summary=summary))
        self.file.flush()

    def _write(self, event):
        """Appends a record: length and content, each with its masked CRC."""
        from tensorboardX.record_writer import masked_crc32c

        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        for part in (length, content):
            self.file.write(part + struct.pack("<I", masked_crc32c(part)))
