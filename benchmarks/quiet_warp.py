"""Imported before what imports warp, which else introduces itself on every terminal."""

from __future__ import annotations

import warp

warp.config.log_level = warp.LOG_ERROR
