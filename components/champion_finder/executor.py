"""ChampionFinder's executor."""

import logging
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import Artifact, artifact_utils

from components import names
from components.champion_finder import found_champion
from components.champion_finder.found_champion import Request
from components.checked_artifacts import checked

REGISTRY = "registry"
SERVING_VERSION = "serving_version"
POSITIVE_CLASS = "positive_class"
REQUIRED = "required"
CODE_VERSION = "code_version"

_logger = logging.getLogger("outnumbered.champion_finder")


class Executor(BaseExecutor):
    """Finds the serving version."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the champion.

        Args:
          input_dict: empty.
          output_dict: `champion`, one artifact.
          exec_properties: `registry`, `serving_version`, `positive_class` and `required`, see
            `found_champion.Request`.

        Raises:
          RegistryError: the registry can't be read, or the champion is not as the run requires:
            a file or the signature is not as it was pushed, or it can't be compared.
        """
        target = artifact_utils.get_single_uri(output_dict[names.CHAMPION])
        request = Request(
            registry=exec_properties[REGISTRY],
            version=exec_properties[SERVING_VERSION],
            positive_class=exec_properties[POSITIVE_CLASS],
            required=exec_properties[REQUIRED],
        )
        found = found_champion.find(request, target)
        if found.version is None:
            _logger.info("no champion in %s: %s", found.registry, found.reason)
        elif found.reason:
            _logger.warning("%s", found.reason)
        else:
            _logger.info("the champion is %s", found.name)
