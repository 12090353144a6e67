"""Runs the gateway: `python -m gateway`."""

import sys

from gateway.server import run
from gateway.settings import SettingsError, from_environment

if __name__ == "__main__":
    try:
        run(from_environment())
    except SettingsError as error:
        sys.exit(f"gateway: {error}")
