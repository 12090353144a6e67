"""An ExampleGen without a driver, which the backend of Kubeflow Pipelines would not run."""

from tfx.components.example_gen import utils
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.example_gen.import_example_gen import executor as import_executor
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.proto import example_gen_pb2
from tfx.types import Channel, standard_artifacts
from tfx.types.standard_component_specs import FileBasedExampleGenSpec


class ExampleGen(BaseBeamComponent):
    """Reads the files that are there when it runs: `{SPAN}` and `{VERSION}` are not resolved.

    Outputs:
      examples: as those of ImportExampleGen or CsvExampleGen.
    """

    SPEC_CLASS = FileBasedExampleGenSpec
    EXECUTOR_SPEC = BeamExecutorSpec(import_executor.Executor)

    def __init__(
        self,
        input_base: str,
        *,
        input_config: example_gen_pb2.Input | None = None,
        output_config: example_gen_pb2.Output | None = None,
        payload_format: int = example_gen_pb2.FORMAT_TF_EXAMPLE,
        executor: type[BaseExampleGenExecutor] = import_executor.Executor,
    ):
        """Specifies the component.

        Args:
          input_base: the folder of the files: one that Beam can read in the pod, such as gs://… or
            a mounted volume.
          input_config: files of each split; None takes all as one split.
          output_config: splits to make; None makes `train` and `eval`, 2 to 1, of one input split.
          payload_format: that of the records, such as `FORMAT_TF_EXAMPLE`.
          executor: reads the files; that of ImportExampleGen reads TFRecords of `tf.Example`.
        """
        inputs = input_config or utils.make_default_input_config()
        super().__init__(
            spec=FileBasedExampleGenSpec(
                input_base=input_base,
                input_config=inputs,
                output_config=output_config or utils.make_default_output_config(inputs),
                output_data_format=payload_format,
                output_file_format=example_gen_pb2.FORMAT_TFRECORDS_GZIP,
                examples=Channel(type=standard_artifacts.Examples),
            ),
            custom_executor_spec=BeamExecutorSpec(executor),
        )
