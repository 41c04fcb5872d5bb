"""The recorders of a lab: one for each stream that is being recorded."""

from collections.abc import Sequence
from typing import Any

from redis import Redis

from redisflow_lab._internal.printable import printable
from redisflow_lab.events import Event
from redisflow_lab.lab.recording.commands import changes, in_words
from redisflow_lab.lab.recording.recorder import Recorder


class Recorders:
    """Passes what happens in a lab to the recorder of the stream, if there is one."""

    def __init__(self) -> None:
        self._of: dict[str, Recorder] = {}

    def start(self, redis: Redis, stream: str) -> Recorder:
        """Start recording a stream; an earlier recording of it ends.

        redis: a client that nothing else uses
        """
        self.stop(stream)
        self._of[stream] = Recorder(redis, stream)
        return self._of[stream]

    def find(self, stream: str) -> Recorder | None:
        """The recorder of a stream; None if it is not being recorded."""
        return self._of.get(stream)

    def commanded(self, command: Sequence[Any], reply: Any) -> None:
        """Record a command that the notebook sent, and its reply."""
        for stream, recorder in [*self._of.items()]:
            if changes(command, stream):
                recorder.happened("command", in_words(command, reply))

    def started(self, stream: str, group: str, consumer: str) -> None:
        """Record the start of a worker process."""
        if recorder := self._of.get(stream):
            text = f"{printable(consumer)} is started"
            recorder.happened("started", text, group=group, consumer=consumer)

    def reported(self, event: Event) -> None:
        """Record an event of a worker."""
        if recorder := self._of.get(event.stream):
            recorder.reported(event)

    def ended(self, stream: str, group: str, consumer: str, how: str, *, died: bool) -> None:
        """Record the end of a worker process; `how`: "SIGKILL" or "exit 0", for example."""
        if recorder := self._of.get(stream):
            kind, text = _end(consumer, how, died=died)
            recorder.happened(kind, text, group=group, consumer=consumer)

    def process_started(self, name: str) -> None:
        """Record the start of a process for every stream, as it may consume any of them."""
        for recorder in [*self._of.values()]:
            recorder.happened("started", f"{printable(name)} is started", consumer=name)

    def process_ended(self, name: str, how: str, *, died: bool) -> None:
        """Record the end of a process for every stream; `how`: "SIGKILL", for example."""
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
    """The kind and the text of a happening."""
    if died:
        return "died", f"{printable(name)} is killed ({how})"
    return "ended", f"{printable(name)} ends ({how})"
