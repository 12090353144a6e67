"""The templates of the project's HTML pages: values are escaped, and a missing one is an error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2


def template(path: Path, filters: Mapping[str, Any]) -> jinja2.Template:
    """Returns a template.

    Args:
      path: the file.
      filters: functions that the template may use as filters, by their names there.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters)
    return environment.get_template(path.name)
