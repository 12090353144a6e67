"""Stand-in for TensorFlow Serving that follows its model config, as the real one does."""

import threading
import time
from pathlib import Path

from google.protobuf import text_format
from serving_stand_in import MODEL, StandIn
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig


class ConfigPollingStandIn(StandIn):
    """A model server that polls a model config: it loads the new version, then unloads the old one.

    A version that can't be loaded leaves the old one as it is. As in TensorFlow Serving's
    `ServerCore::ReloadConfig` and `AvailabilityPreservingPolicy`.

    Attributes:
      configs: the different configs that were read.
      unloadable: versions whose load fails.
      loads: whether a version is loaded; until then it stays in the state LOADING.
      keeps: whether a version that is no longer in the config stays available.
    """

    def __init__(self, config):
        super().__init__()
        self.versions = {}
        self.configs = []
        self.unloadable = set()
        self.loads = True
        self.keeps = False
        self._config = config
        self._polls = True
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def start(self):
        super().start()
        self._thread.start()

    def stop(self):
        self._polls = False
        self._thread.join()
        super().stop()

    def _poll(self):
        while self._polls:
            if self._config.exists():
                config = text_format.Parse(self._config.read_text(), ModelServerConfig())
                if config not in self.configs[-1:]:
                    self.configs.append(config)
                self._follow(config)
            time.sleep(0.01)

    def _follow(self, config):
        for model in config.model_config_list.config:
            assert (model.name, model.model_platform) == (MODEL, "tensorflow")
            (version,) = model.model_version_policy.specific.versions
            if version in self.unloadable:
                self.versions = {**self.versions, version: ModelVersionStatus.END}
                self.failed = {version}
            elif not self.loads and self.versions.get(version) != ModelVersionStatus.AVAILABLE:
                self.versions = {**self.versions, version: ModelVersionStatus.LOADING}
            else:
                # As TensorFlow Serving: the files must be there, and complete, when it loads them.
                assert (Path(model.base_path) / str(version) / "saved_model.pb").is_file()
                others = self.versions if self.keeps else {}
                self.versions = {**others, version: ModelVersionStatus.AVAILABLE}
