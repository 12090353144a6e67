"""Several draws of the splits from the same images, for studies that repeat them.

Each draw is that of a sampler with a `random_state` of its own. The images that any draw uses are
written once, as one split; the draws themselves are a table of row numbers of that split.
"""

import hashlib
import io
import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tfx.dsl.io import fileio

FILE = "draws.parquet"

_SEED_BITS = 31

SCHEMA = pa.schema(
    [("draw", pa.int32()), ("split", pa.dictionary(pa.int32(), pa.string())), ("row", pa.int64())]
)
"""The number of the draw, the name of its split, and a row of the split with all used images."""


def random_states(random_state: int, draws: int) -> list[int]:
    """Returns the seed of each draw: `random_state` itself, then numbers that are derived from it.

    The seed of a draw does not depend on how many draws there are.
    """
    derived = (_derived(random_state, draw) for draw in range(1, draws))
    return [random_state, *derived]


def _derived(random_state: int, draw: int) -> int:
    digest = hashlib.sha256(b"%d/draw %d" % (random_state, draw)).digest()
    return int.from_bytes(digest[:4], "big") >> (32 - _SEED_BITS)


def write(draws: Sequence[dict[str, NDArray[np.int64]]], uri: str) -> None:
    """Writes the draws into the Sampling artifact at `uri`.

    Args:
      draws: of each draw the rows by split, int64, in increasing order.
      uri: of the artifact; it is created.
    """
    tables = [
        pa.table(
            {
                "draw": np.full(len(rows), number, np.int32),
                "split": pa.array([split] * len(rows)).dictionary_encode(),
                "row": rows,
            }
        ).cast(SCHEMA)
        for number, splits in enumerate(draws)
        for split, rows in splits.items()
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(tables).unify_dictionaries(), buffer)
    fileio.makedirs(uri)
    with fileio.open(os.path.join(uri, FILE), "wb") as file:
        file.write(buffer.getvalue())


def read(uri: str) -> list[dict[str, NDArray[np.int64]]]:
    """Reads what `write` wrote."""
    with fileio.open(os.path.join(uri, FILE), "rb") as file:
        rows = pq.read_table(pa.BufferReader(file.read())).to_pandas()
    return [
        {
            str(split): found["row"].to_numpy()
            for split, found in of_draw.groupby("split", observed=True, sort=False)
        }
        for _, of_draw in rows.groupby("draw", sort=True)
    ]
