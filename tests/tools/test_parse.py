"""A model's arguments become typed inputs, or the client's kind of error."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.tools.inputs import BashInput, GrepInput, NotebookEditInput, ReadInput
from gateway.tools.parse import InvalidInput, parse_input

PREFIX = "<tool_use_error>InputValidationError: {} failed due to the following {}:\n"


def told(tool: str, input_type: Any, arguments: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_input(tool, input_type, arguments)
    return str(caught.value)


def test_a_missing_parameter_is_named() -> None:
    assert told("Bash", BashInput, {}) == (
        PREFIX.format("Bash", "issue") + "The required parameter `command` is missing</tool_use_error>"
    )


def test_every_problem_is_listed() -> None:
    text = told("Bash", BashInput, {"timeout": "abc", "colour": 1})
    assert text.startswith(PREFIX.format("Bash", "issues"))
    assert "`command` is missing" in text
    assert "An unexpected parameter `colour` was provided" in text
    assert "The parameter `timeout` type is expected as `number` but provided as `string`" in text


@pytest.mark.parametrize("arguments", [{"command": 5}, {"command": None}, {"command": ["ls"]}, {"command": {}}])
def test_wrong_types_are_refused(arguments: dict[str, Any]) -> None:
    assert "type is expected as `string` but provided as" in told("Bash", BashInput, arguments)


@pytest.mark.parametrize("arguments", [[], "ls", None, 3])
def test_arguments_that_are_no_object_are_refused(arguments: Any) -> None:
    assert "InputValidationError" in told("Bash", BashInput, arguments)


def test_numbers_and_booleans_written_as_strings_are_taken() -> None:
    parsed = parse_input("Bash", BashInput, {"command": "ls", "timeout": "2000", "run_in_background": "true"})
    assert (parsed.timeout, parsed.run_in_background) == (2000.0, True)
    assert parse_input("Read", ReadInput, {"file_path": "/a", "offset": "3"}).offset == 3


def test_a_number_written_as_text_stays_text_where_text_is_wanted() -> None:
    assert parse_input("Bash", BashInput, {"command": "2000"}).command == "2000"


def test_flags_of_grep_have_their_names() -> None:
    parsed = parse_input("Grep", GrepInput, {"pattern": "x", "-A": 2, "-n": False, "-i": True, "-C": "1"})
    assert (parsed.after, parsed.line_numbers, parsed.ignore_case, parsed.around) == (2, False, True, 1)


def test_a_value_outside_the_choice_is_refused() -> None:
    assert "content|files_with_matches|count" in told("Grep", GrepInput, {"pattern": "x", "output_mode": "all"})
    assert "edit_mode" in told(
        "NotebookEdit", NotebookEditInput, {"notebook_path": "/a", "new_source": "", "edit_mode": "x"}
    )
