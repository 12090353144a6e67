"""The child process of `shard_children`: ingests the shards that it is asked for, within limits.

Imports neither TensorFlow nor Beam, which would take longer to import than many shards to read.
"""

import json
import os
from collections.abc import Iterator
from functools import partial
from itertools import islice

from components.image_example_gen import shards
from components.image_example_gen.shards import Rules, Staging
from components.images.child import limit
from components.images.child_process import Message, serve
from components.images.reader import RefusedImageError


def main() -> None:
    """Ingests shards until the parent process ends."""
    serve(_answer)


def _answer(request: Message, following: Iterator[Message]) -> Message:
    asked = json.loads(request.head)
    rules, parent = Rules(**asked["rules"]), os.getppid()
    sent = islice(following, asked["sent"])

    def before_images() -> None:
        if os.getppid() != parent:
            os._exit(1)  # the parent was killed, and nobody needs the rest of a large shard
        limit(rules.max_pixels)

    try:
        shards.ingest(
            [asked["shard"]],
            Staging(asked["folder"]),
            rules,
            before_images=before_images,
            contents=(partial(_content, each) for each in sent) if asked["sent"] else None,
        )
    except EOFError:  # the parent has ended, or gave the shard up
        raise
    except Exception:  # the parent reads the shard again, and says what is wrong
        for _ in sent:  # not to take it for the next request
            pass
        return Message(b"false")
    return Message(b"true")


def _content(message: Message) -> bytes:
    if message.head:
        raise RefusedImageError(*json.loads(message.head))
    return message.body


if __name__ == "__main__":
    main()
