"""How a command ends."""

import sys

import pytest
import typer

from kernels.command import RESUMES, command_line

app = typer.Typer()


@app.command()
def interrupted():
    raise KeyboardInterrupt


@pytest.mark.parametrize("about", [{}, {"stopped": RESUMES}], ids=["anew", "resumes"])
def test_only_a_command_that_goes_on_says_so_when_it_is_stopped(about, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["interrupted"])
    with pytest.raises(SystemExit) as done:
        command_line(app, **about)
    assert done.value.code == 130
    said = capsys.readouterr().err
    assert said.startswith("stopped")
    assert ("goes on from there" in said) == bool(about)
