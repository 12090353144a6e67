"""A pool of Beam workers, for engines with `--environment_type=EXTERNAL`.

`python -m pipeline.worker_pool --service_port=50000` serves the workers of all jobs in this
process: unlike those of Beam's own pool, they import the libraries once, and not again for each
job. Start one pool for each core. It must have the environment variables of the process that
submits jobs, such as the address and credentials of a store.
"""

# Before all else: it makes TFDV and TFMA importable.
import pipeline.worker_setup  # noqa: F401, I001

import argparse
import logging
import threading
from collections.abc import Sequence

from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves workers until the process is terminated.

    Args:
      arguments: of the command line; default: this process's.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline.worker_pool")
    parser.add_argument("--service_port", type=int, required=True, help="port of this service")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    address, _ = BeamFnExternalWorkerPoolServicer.start(port=given.service_port)
    logging.getLogger("outnumbered.worker_pool").info("workers can be asked for at %s", address)
    threading.Event().wait()


if __name__ == "__main__":
    main()
