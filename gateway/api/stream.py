"""A turn as an HTTP answer, streamed or whole; leaving it lets go of the turn."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.agent.turns import Turn, TurnLog, Turns
from gateway.messages import jsonbytes
from gateway.messages.errors import ApiError


class TurnResponse(Response):
    """Follows a turn until its end or the client's.

    Streamed: the head goes out with the first event; a turn that fails before it is a plain error answer.
    Whole: the head goes out with the answer, or after `patience` seconds, and from then on a space now and
    then keeps the connection alive (JSON may begin with spaces).
    """

    def __init__(
        self, turns: Turns, turn: Turn, *, stream: bool, patience: float, request_id: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        self._turns = turns
        self._turn = turn
        self._stream = stream
        self._patience = patience
        self._request_id = request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._turns.follow(self._turn) as log:
            answer = self._send_events(log, send) if self._stream else self._send_whole(log, send)
            sending = asyncio.ensure_future(answer)
            leaving = asyncio.ensure_future(_disconnected(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, leaving):
                    task.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)
            if not sending.cancelled() and sending.exception() is None and self._turn.succeeded:
                self._turn.delivered = True

    async def _send_events(self, log: TurnLog, send: Send) -> None:
        await log.wait_started()
        if log.error is not None and not log.chunks:
            await self._send_error(log.error, send)
            return
        await self._send_head(send, 200, "text/event-stream; charset=utf-8")
        async for chunk in log.read():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_whole(self, log: TurnLog, send: Send) -> None:
        begun = False
        ended = asyncio.ensure_future(_until_end(log))
        try:
            while not (await asyncio.wait({ended}, timeout=self._patience))[0]:
                if not begun:
                    await self._send_head(send, 200, "application/json")
                    begun = True
                await send({"type": "http.response.body", "body": b" ", "more_body": True})
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)
        error, body = _assembled(log, self._request_id)
        if not begun and error is not None:
            await self._send_error(error, send)
            return
        if not begun:
            await self._send_head(send, 200, "application/json")
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send_error(self, error: ApiError, send: Send) -> None:
        self.headers.update(error.headers)
        await self._send_head(send, error.status, "application/json")
        body = jsonbytes.encode(error.envelope(self._request_id))
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send_head(self, send: Send, status: int, content_type: str) -> None:
        self.headers["content-type"] = content_type
        del self.headers["content-length"]
        await send({"type": "http.response.start", "status": status, "headers": self.raw_headers})


async def _disconnected(receive: Receive) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return


async def _until_end(log: TurnLog) -> None:
    async for _ in log.read():
        continue


def _assembled(log: TurnLog, request_id: str) -> tuple[ApiError | None, bytes]:
    """The whole message, or the error that the turn ended with."""
    if log.error is not None:
        return log.error, jsonbytes.encode(log.error.envelope(request_id))
    return None, jsonbytes.encode(log.message())
