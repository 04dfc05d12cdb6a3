"""The toolhost's end of the channel: numbered frames over two descriptors, kept until acknowledged, resumable.

Knows sequence numbers, acknowledgements and the resume marker; nothing of methods or processes.
"""

from __future__ import annotations

import os

import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any
else:
    from _collections import deque

READ_SIZE = 1 << 18
WRITE_BATCH = 64
ACK_BYTES = 64 << 10
ACK_FRAMES = 32


class Link:
    """`deliver(header, payload)` gets each new numbered frame once, in order; `watch_writable(bool)` asks the
    loop to call `flush` when the output takes bytes again."""

    def __init__(
        self,
        source: int,
        sink: int,
        marker: bytes,
        deliver: Callable[[dict[str, Any], bytes], None],
        watch_writable: Callable[[bool], None],
    ) -> None:
        self._source = source
        self._sink = sink
        self._marker = marker
        self._deliver = deliver
        self._watch_writable = watch_writable
        self._parser = wire.FrameParser()
        self._tail = b""
        self._received = 0
        self._sent = 0
        self._ack_sent = 0
        self._unacked_in = 0
        self._kept: deque[tuple[int, int, bytes, bytes]] = deque()
        self._out: deque[bytes | memoryview] = deque()
        self._waiting = False
        self._mute = False
        self._resuming = False
        self._doubt: wire.Malformed | None = None
        self.unacked_bytes = 0
        self.on_room: Callable[[], None] | None = None

    # -- sending ---------------------------------------------------------------------------------------------

    def send(self, message: dict[str, Any], payload: bytes = b"") -> None:
        """Number, keep and queue one frame. It leaves with the next flush."""
        self._sent += 1
        message["jsonrpc"] = "2.0"
        message["seq"] = self._sent
        message["ack"] = self._received
        self._keep(wire.dumps(message), payload)

    def send_output(self, call: str, stream: int, payload: bytes) -> None:
        """The hot frame, written without the encoder (a call id needs no escaping)."""
        self._sent += 1
        self._keep(
            b'{"jsonrpc":"2.0","method":"process.output","params":{"call":"%s","fd":%d},"seq":%d,"ack":%d}'
            % (call.encode(), stream, self._sent, self._received),
            payload,
        )

    def _keep(self, header: bytes, payload: bytes) -> None:
        if len(header) > wire.HEADER_LIMIT or len(payload) > wire.PAYLOAD_LIMIT:
            raise wire.Malformed("own frame over its limits")
        front = wire.encode_frame(header, payload)
        size = len(front) + len(payload)
        self._kept.append((self._sent, size, front, payload))
        self.unacked_bytes += size
        self._ack_sent = self._received
        self._unacked_in = 0
        if not self._mute:
            self._out.append(front)
            if payload:
                self._out.append(payload)

    def _control(self, extra: bytes = b"") -> None:
        self._ack_sent = self._received
        self._unacked_in = 0
        header = b'{"jsonrpc":"2.0","seq":0,"ack":%d%s}' % (self._received, extra)
        if not self._mute:
            self._out.append(wire.encode_frame(header, b""))

    def flush(self) -> None:
        """Write what the descriptor takes now; ask to be called again for the rest."""
        out = self._out
        while out:
            batch = [out[i] for i in range(min(len(out), WRITE_BATCH))]
            try:
                written = os.writev(self._sink, batch)
            except BlockingIOError:
                break
            except OSError:
                # Nobody reads. Everything is kept; the next resume sends it again.
                self._mute = True
                out.clear()
                break
            while written:
                first = out[0]
                if written >= len(first):
                    written -= len(first)
                    out.popleft()
                else:
                    out[0] = memoryview(first)[written:]
                    written = 0
        waiting = bool(out)
        if waiting != self._waiting:
            self._waiting = waiting
            self._watch_writable(waiting)

    def idle(self) -> bool:
        """Acknowledge what no answer has acknowledged yet; true if that queued something."""
        if self._received == self._ack_sent:
            return False
        self._control()
        return True

    def has_unacked_input(self) -> bool:
        return self._received != self._ack_sent

    # -- receiving -------------------------------------------------------------------------------------------

    def on_readable(self) -> bool:
        """Read once and deliver; false at the end of input. Raises Malformed."""
        try:
            data = os.read(self._source, READ_SIZE)
        except BlockingIOError:
            return True
        if not data:
            return False
        # The marker counts wherever it stands: across reads, inside a cut frame, several times.
        window = self._tail + data
        fresh = len(self._tail)
        at = window.find(self._marker)
        if self._doubt is not None and not 0 <= at < fresh:
            raise self._doubt
        self._doubt = None
        done = 0
        while at >= 0:
            if at > fresh:
                self._take(window[max(done, fresh) : at])
            self._resume()
            done = at + wire.MARKER_SIZE
            at = window.find(self._marker, done)
        rest = window[max(done, fresh) :]
        self._tail = window[done:][-(wire.MARKER_SIZE - 1) :]
        try:
            self._take(rest)
        except wire.Malformed as error:
            # A marker of which only the beginning has arrived looks like a bad frame until the rest is here.
            if not any(self._tail.endswith(self._marker[:size]) for size in range(1, wire.MARKER_SIZE)):
                raise
            self._doubt = error
        return True

    def _take(self, data: bytes) -> None:
        for header, payload in self._parser.feed(data):
            seq = header.get("seq")
            ack = header.get("ack")
            if type(seq) is not int or type(ack) is not int or seq < 0:
                raise wire.Malformed("seq or ack missing")
            self._acknowledged(ack)
            if not seq:
                self._control_frame(header)
                continue
            if self._resuming:
                raise wire.Malformed("frame between the marker and resume")
            if seq <= self._received:
                continue
            if seq != self._received + 1:
                raise wire.Malformed("gap in the sequence")
            self._received = seq
            self._unacked_in += len(payload) + 256
            self._deliver(header, payload)
            if self._unacked_in >= ACK_BYTES or self._received - self._ack_sent >= ACK_FRAMES:
                self._control()

    def _acknowledged(self, ack: int) -> None:
        if ack > self._sent or ack < 0:
            raise wire.Malformed("ack of a frame never sent")
        kept = self._kept
        freed = 0
        while kept and kept[0][0] <= ack:
            freed += kept.popleft()[1]
        if freed:
            self.unacked_bytes -= freed
            if self.on_room is not None:
                self.on_room()

    def _resume(self) -> None:
        """The marker: forget the cut frames of both directions and stay silent until the other side says what
        it has (a frame sent before the retransmission would be a gap)."""
        self._parser.reset()
        self._out.clear()
        self._mute = True
        self._resuming = True

    def _control_frame(self, header: dict[str, Any]) -> None:
        method = header.get("method")
        if method is None:
            return
        attempt = header.get("id")
        if method != "resume" or not self._resuming or type(attempt) is not int or attempt < 0:
            raise wire.Malformed("unexpected control frame")
        self._resuming = False
        self._mute = False
        self._out.append(self._marker)
        self._control(b',"id":%d,"method":"resumed"' % attempt)
        for _, _, front, payload in self._kept:
            self._out.append(front)
            if payload:
                self._out.append(payload)
