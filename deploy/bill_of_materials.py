"""Writes a CycloneDX bill of materials per container image, from the lock file.

    python deploy/bill_of_materials.py --output dist

The same lock file gives the same bill: it has no timestamp, and its serial number depends on its
content only. Imports the standard library only.
"""

import argparse
import json
import subprocess
import uuid
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]


class Image(NamedTuple):
    """A container image.

    Attributes:
      dockerfile: path of its Dockerfile, relative to the project.
      packages: options with which uv selects the packages that it contains.
      programs: build arguments that name the images from which programs are copied into it.
    """

    dockerfile: str
    packages: tuple[str, ...]
    programs: tuple[str, ...] = ()


IMAGES = {
    "outnumbered": Image("Dockerfile", ("--no-dev",)),
    "outnumbered-gpu": Image("Dockerfile", ("--no-dev", "--extra", "gpu")),
    "outnumbered-worker": Image("Dockerfile", ("--no-dev", "--group", "worker"), ("BEAM",)),
    "outnumbered-gateway": Image(
        "deploy/gateway/Dockerfile",
        ("--only-group", "gateway", "--only-group", "gateway-s3", "--only-group", "gateway-gcs"),
    ),
}


def main() -> None:
    """Writes one file per image."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--uv", default="uv", help="the program uv")
    parser.add_argument("--output", type=Path, default=Path("dist"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, image in IMAGES.items():
        path = arguments.output / f"{name}.cdx.json"
        path.write_text(bill(name, image, arguments.uv), encoding="utf-8")
        print(path)


def bill(name: str, image: Image, uv: str) -> str:
    """Returns the bill of materials of an image, as CycloneDX JSON.

    Args:
      name: name of the image.
      image: what it contains.
      uv: the program uv.

    Raises:
      SystemExit: uv can't export the lock file.
    """
    document = _exported(image, uv)
    metadata = document["metadata"]
    del metadata["timestamp"]
    metadata["component"] |= {"type": "container", "name": name}
    dockerfile = ROOT / image.dockerfile
    for found in (_base(dockerfile), *(_program(dockerfile, each) for each in image.programs)):
        document["components"].append(found)
        document["dependencies"].append({"ref": found["bom-ref"]})
    del document["serialNumber"]
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, content).urn
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _exported(image: Image, uv: str) -> dict[str, Any]:
    command = [uv, "export", "--quiet", "--frozen", "--format", "cyclonedx1.5", *image.packages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"uv can't export the lock file; CycloneDX requires uv 0.9.11 or newer. "
            f"Received: {done.stderr.strip()}"
        )
    return json.loads(done.stdout)


def _base(dockerfile: Path) -> dict[str, Any]:
    """Returns the base image, which has Python and the packages of its operating system."""
    note = (
        "the default of the build argument BASE; its operating system's packages are those of "
        "the base image, and the image adds none"
    )
    return _component("container", "base", _default(dockerfile, "BASE"), note)


def _program(dockerfile: Path, argument: str) -> dict[str, Any]:
    """Returns the program that is copied from another image."""
    note = f"the default of the build argument {argument}, from which /opt/apache/beam is copied"
    return _component("application", "program", _default(dockerfile, argument), note)


def _default(dockerfile: Path, argument: str) -> str:
    """Returns the default of a build argument."""
    lines, start = dockerfile.read_text(encoding="utf-8").splitlines(), f"ARG {argument}="
    return next(line.removeprefix(start) for line in lines if line.startswith(start))


def _component(kind: str, role: str, image: str, note: str) -> dict[str, Any]:
    name, _, version = image.partition(":")
    return {
        "type": kind,
        "bom-ref": f"{role}-{image}",
        "name": name,
        "version": version,
        "properties": [{"name": "outnumbered:note", "value": note}],
    }


if __name__ == "__main__":
    main()
