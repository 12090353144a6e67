"""The child process of `shard_children`: ingests the shards that it is asked for, within limits.

Imports neither TensorFlow nor Beam, which would take longer to import than many shards to read.
"""

import json
import os

from components.image_example_gen import shards
from components.image_example_gen.shards import Rules, Staging
from components.images.child import limit
from components.images.child_process import Message, serve


def main() -> None:
    """Ingests shards until the parent process ends."""
    serve(_answer)


def _answer(request: Message) -> Message:
    asked = json.loads(request.head)
    rules, parent = Rules(**asked["rules"]), os.getppid()

    def before_images() -> None:
        if os.getppid() != parent:
            os._exit(1)  # the parent was killed, and nobody needs the rest of a large shard
        limit(rules.max_pixels)

    try:
        shards.ingest(
            [asked["shard"]], Staging(asked["folder"]), rules, before_images=before_images
        )
    except Exception:  # the parent reads the shard again, and says what is wrong
        return Message(b"false")
    return Message(b"true")


if __name__ == "__main__":
    main()
