"""The file `pushed.json` of a Pusher's output: what was pushed, and the verdict on the model.

It is for steps that can read files only. Imports no TFX.
"""

from pydantic import BaseModel, ConfigDict

FILE = "pushed.json"


class PushedFile(BaseModel):
    """The content of the file.

    Attributes:
      pushed: 1 if the registry has the model, else 0.
      pushed_destination: path or URI of the pushed model.
      pushed_version: its version.
      is_new: False if the registry had the model before.
      blessed: the verdict; None in files of earlier releases.
      reason: the verdict in words.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    pushed: int
    pushed_destination: str | None = None
    pushed_version: str | None = None
    is_new: bool | None = None
    blessed: bool | None = None
    reason: str | None = None
