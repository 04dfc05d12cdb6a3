"""From a model's arguments to a typed input, with the client's kind of error for what does not fit."""

from __future__ import annotations

import types
import typing
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from gateway.tools.texts import input_validation_error

Input = TypeVar("Input", bound=Struct)


class InvalidInput(ValueError):
    """The text is for the model."""


def parse_input(tool: str, input_type: type[Input], arguments: Any) -> Input:
    """Numbers and booleans written as strings are accepted, as the client does. Raises `InvalidInput`."""
    if not isinstance(arguments, dict):
        raise InvalidInput(
            input_validation_error(tool, [f"The input is expected as `object`, got `{_kind(arguments)}`"])
        )
    fields = {field.encode_name: field for field in msgspec.structs.fields(input_type)}
    problems = [
        f"The required parameter `{name}` is missing"
        for name, field in fields.items()
        if field.required and name not in arguments
    ]
    problems += [f"An unexpected parameter `{name}` was provided" for name in arguments if name not in fields]
    known: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in fields:
            continue
        value = _coerced(value, fields[name].type)
        try:
            msgspec.convert(value, fields[name].type)
        except msgspec.ValidationError:
            problems.append(
                f"The parameter `{name}` type is expected as `{_expected(fields[name].type)}` "
                f"but provided as `{_kind(value)}`"
            )
        known[name] = value
    if problems:
        raise InvalidInput(input_validation_error(tool, problems))
    return msgspec.convert(known, input_type)


def _coerced(value: Any, expected: Any) -> Any:
    if not isinstance(value, str):
        return value
    scalars = _scalars(expected)
    if bool in scalars and value in ("true", "false"):
        return value == "true"
    for scalar in (int, float):
        if scalar in scalars and str not in scalars:
            try:
                return scalar(value)
            except ValueError:
                return value
    return value


def _scalars(expected: Any) -> set[type]:
    origin = typing.get_origin(expected)
    if origin is typing.Annotated:
        return _scalars(typing.get_args(expected)[0])
    if origin in (typing.Union, types.UnionType):
        return set().union(*(_scalars(part) for part in typing.get_args(expected)))
    if origin is typing.Literal:
        return {str}
    return {expected} if isinstance(expected, type) else set()


def _expected(expected: Any) -> str:
    if typing.get_origin(expected) is typing.Literal:
        return "|".join(typing.get_args(expected))
    if typing.get_origin(expected) in (typing.Union, types.UnionType):
        return _expected(typing.get_args(expected)[0])
    names = {str: "string", bool: "boolean", int: "int", float: "number"}
    return next((names[scalar] for scalar in (str, bool, int, float) if scalar in _scalars(expected)), "object")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds: dict[type, str] = {str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return kinds.get(type(value), "object")
