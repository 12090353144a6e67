"""What a worker of Beam imports before its first job, wherever it runs.

`pipeline.worker_pool` imports it; workers that an engine starts in containers or processes do so
for the option `--beam_plugin`, which `beam_options.beam_args` adds.
"""

# Before all else: TFDV and TFMA, which a job may send first, can't be imported before it.
import tfx  # noqa: F401

from components import object_store

object_store.register()
