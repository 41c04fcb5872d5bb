"""What a lab records: for each stream that was asked for, its recorder."""

from collections.abc import Sequence
from typing import Any

from redis import Redis

from redisflow_lab._internal.printable import printable
from redisflow_lab.events import Event
from redisflow_lab.lab.recording.commands import changes, in_words
from redisflow_lab.lab.recording.recorder import Recorder


class Recorders:
    """Takes what a lab tells, and passes it to the recorder of the stream, if there is one."""

    def __init__(self) -> None:
        self._of: dict[str, Recorder] = {}

    def start(self, redis: Redis, stream: str) -> Recorder:
        """Record a stream from here on; an earlier recording of it ends.

        redis: a client that nothing else uses
        """
        self.stop(stream)
        self._of[stream] = Recorder(redis, stream)
        return self._of[stream]

    def find(self, stream: str) -> Recorder | None:
        """The recorder of a stream; None if it is not recorded."""
        return self._of.get(stream)

    def commanded(self, command: Sequence[Any], reply: Any) -> None:
        """A client of the notebook has sent a command, and got a reply."""
        for stream, recorder in [*self._of.items()]:
            if changes(command, stream):
                recorder.happened("command", in_words(command, reply))

    def started(self, stream: str, group: str, consumer: str) -> None:
        """A worker process has been started."""
        if recorder := self._of.get(stream):
            text = f"{printable(consumer)} is started"
            recorder.happened("started", text, group=group, consumer=consumer)

    def reported(self, event: Event) -> None:
        """A worker has reported an event."""
        if recorder := self._of.get(event.stream):
            recorder.reported(event)

    def ended(self, stream: str, group: str, consumer: str, how: str, *, died: bool) -> None:
        """A worker process has ended; `how`: "SIGKILL" or "exit 0", for example."""
        if recorder := self._of.get(stream):
            kind, text = _end(consumer, how, died=died)
            recorder.happened(kind, text, group=group, consumer=consumer)

    def process_started(self, name: str) -> None:
        """A process has been started, which may be a consumer of any stream."""
        for recorder in [*self._of.values()]:
            recorder.happened("started", f"{printable(name)} is started", consumer=name)

    def process_ended(self, name: str, how: str, *, died: bool) -> None:
        """A process has ended; `how`: "SIGKILL" or "exit 0", for example."""
        for recorder in [*self._of.values()]:
            recorder.happened(*_end(name, how, died=died), consumer=name)

    def stop(self, stream: str) -> None:
        """End the recording of a stream, if there is one."""
        if recorder := self._of.pop(stream, None):
            recorder.close()

    def close(self) -> None:
        """End all recordings."""
        for stream in [*self._of]:
            self.stop(stream)


def _end(name: str, how: str, *, died: bool) -> tuple[str, str]:
    """The kind of a happening, and its text."""
    if died:
        return "died", f"{printable(name)} is killed ({how})"
    return "ended", f"{printable(name)} ends ({how})"
