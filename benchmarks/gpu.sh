#!/usr/bin/env bash
# All checks and measurements that need a GPU, within ten minutes; --help says how.
exec "${PYTHON:-python3}" "$(dirname "$0")/gpu.py" "$@"
