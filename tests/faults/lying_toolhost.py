"""Put in the place of `__main__.py` of a copy of the toolhost: it tells the truth until a command says `LIE:`."""

import os
from collections.abc import Callable
from typing import Any

import main
import wire

Json = dict[str, Any]

_truth = main._Session._deliver
_silent: list[bool] = []


def _frame(header: bytes, payload: bytes = b"") -> None:
    os.set_blocking(1, True)
    os.write(1, wire.encode_frame(header, payload) + payload)


def _huge(session: Any, header: Json) -> None:
    os.set_blocking(1, True)
    os.write(1, (64).to_bytes(4, "big") + (1 << 31).to_bytes(4, "big") + b"x" * 64)


LIES: dict[str, Callable[[Any, Json], object]] = {
    "garbage": lambda session, header: _frame(b"\x00\xff garbage"),
    "huge": _huge,
    "list": lambda session, header: _frame(b"[1, 2, 3]"),
    "deep": lambda session, header: _frame(b"[" * 30000),
    "gap": lambda session, header: _frame(wire.dumps({"jsonrpc": "2.0", "seq": 99999, "ack": 0, "method": "x"})),
    "ack": lambda session, header: _frame(wire.dumps({"jsonrpc": "2.0", "seq": 0, "ack": 99999})),
    "wrong-id": lambda session, header: session._link.send({"id": 424242, "result": {}}),
    "wrong-type": lambda session, header: session._link.send({"id": header["id"], "result": {"pid": "root"}}),
    "no-result": lambda session, header: session._link.send({"id": header["id"], "result": [1]}),
    "output": lambda session, header: session._link.send(
        {"method": "process.output", "params": {"call": header["params"]["call"], "fd": 7}}, b"x"
    ),
    "too-much": lambda session, header: [
        session._link.send_output(header["params"]["call"], 1, b"x" * 65536) for _ in range(64)
    ],
    "exit": lambda session, header: os._exit(0),
}


def _lying(session: Any, header: Json, payload: bytes) -> None:
    if _silent and header.get("method") == "process.kill":
        return
    argv = header.get("params", {}).get("argv", [])
    _, found, lie = (argv[-1] if argv else "").partition("LIE:")
    if not found:
        _truth(session, header, payload)
    elif lie == "silence":
        # The command runs; that it is to end is not heard.
        _truth(session, header, payload)
        _silent.append(True)
    else:
        LIES[lie](session, header)


main._Session._deliver = _lying
main.main()
