"""``python -m distmlip``."""

from distmlip.cli import app

app(prog_name="distmlip")
