"""``python -m distmlip``."""

from distmlip.commands.cli import app

app(prog_name="distmlip")
