"""Event files: whole records in order, as TensorBoard reads them."""

import struct

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from training.events import Events


def read_events(path):
    """The events of a file, each record's length and content checked against their sums."""
    content, events = path.read_bytes(), []
    while content:
        length, length_sum = struct.unpack("<QI", content[:12])
        record, content = content[12 : 12 + length + 4], content[12 + length + 4 :]
        assert masked_crc32c(struct.pack("<Q", length)) == length_sum
        assert masked_crc32c(record[:-4]) == struct.unpack("<I", record[-4:])[0]
        events.append(Event.FromString(record[:-4]))
    return events


def test_scalars_are_read_back_and_later_steps_of_an_earlier_process_are_hidden(tmp_path):
    events = Events(tmp_path, purge_step=5)
    events.write_scalars(6, {"eval/loss": 0.5, "eval/accuracy": 0.25})
    events.write_scalars(8, {"eval/loss": float("nan")})
    (path,) = tmp_path.iterdir()
    version, purge, first, second = read_events(path)  # written at once, before the file is closed
    events.close()
    assert version.file_version == "brain.Event:2"
    assert (purge.step, purge.session_log.status) == (5, SessionLog.START)
    assert first.step == 6
    assert {value.tag: value.simple_value for value in first.summary.value} == {"eval/loss": 0.5, "eval/accuracy": 0.25}
    assert second.step == 8
