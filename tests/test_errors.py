"""Messages of errors."""

from __future__ import annotations

from limbeck.errors import InputError


def test_what_another_library_said_is_one_line_with_one_full_stop():
    error = InputError(
        "no model can be loaded (not found.\nLook again.).", path="a.yaml", line=3, remedy="look"
    )
    assert str(error) == "a.yaml:3: no model can be loaded (not found. Look again.). To mend: look."
    assert str(InputError("no model\n")) == "no model."
