"""An object store on localhost with the buckets of a cluster."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SPAN = "7"
ARTIFACTS, PHOTOS = "artifacts", "photos"


@dataclass(frozen=True)
class ObjectStore:
    """An S3 API on localhost, with the buckets of a cluster."""

    url: str
    client: Any
    secret: dict[str, str] = field(default_factory=lambda: {"id": "key", "secret": "of it"})

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for a process that uses the store."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.secret["id"],
            "AWS_SECRET_ACCESS_KEY": self.secret["secret"],
        }

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """The keys of the objects in a bucket."""
        listed = self.client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def read(self, uri: str) -> bytes:
        """The content of an object."""
        bucket, _, key = uri.partition("://")[2].partition("/")
        return self.client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Uploads the files of a folder below a prefix."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder)}")
