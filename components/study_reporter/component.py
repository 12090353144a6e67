"""StudyReporter: compares the arms of a study."""

import json
from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import artifacts, names
from components.study_reporter import executor


def study_reporter(
    arms: Mapping[str, BaseChannel],
    *,
    title: str,
    study: Mapping[str, Any],
    curve: BaseChannel | None = None,
) -> BaseComponent:
    """Returns a component with one input per arm, named `arm_00` and so on.

    A union of channels would be one input, but compiles to a Resolver, which the backend of
    Kubeflow Pipelines doesn't run.

    Outputs:
      study_report: a self-contained `study.html`, `study.json`, `runs.csv` and
        `predictions.parquet`.

    Args:
      arms: a ModelRun channel by the arm's name, in the study's order.
      title: title of the page.
      study: plain JSON values: `name`; `comparisons`, `all` (the default), `baseline` or a
        list of pairs of arms; `baseline`, an arm, or None for the first; `settings` of the
        whole study; `prevalence`, the real world's share of positives, as a number or as
        weights by class or side, or None; `costs`, `missed` and `false_alarm`, or None for equal
        costs; of a learning curve `curve`: the `arm` that it is of, and `series`, lists of indices
        of points by the kind of numbers that they vary.
      curve: a ModelRun channel of a learning curve; None if there is none.

    Raises:
      ValueError: `arms` is empty.
    """
    if not arms:
        raise ValueError(f"arms must contain at least one arm. Received: {dict(arms)}")
    keys = [executor.input_key(index) for index in range(len(arms))]
    if curve is not None:
        keys.append(executor.CURVE)
    spec_class = _spec_class(keys)
    component = type(
        "StudyReporter",
        (BaseComponent,),
        {
            "__module__": __name__,
            "__doc__": "Compares the arms of a study.",
            "SPEC_CLASS": spec_class,
            "EXECUTOR_SPEC": ExecutorClassSpec(executor.Executor),
        },
    )
    parameters = {
        executor.TITLE: title,
        executor.ARMS: json.dumps(list(arms)),
        executor.STUDY: json.dumps(study),
        names.STUDY_REPORT: Channel(type=artifacts.StudyReport),
    }
    channels = [*arms.values(), *([curve] if curve is not None else [])]
    inputs = dict(zip(keys, channels, strict=True))
    return component(spec=spec_class(**inputs, **parameters))


def _spec_class(keys: list[str]) -> type[ComponentSpec]:
    return type(
        "StudyReporterSpec",
        (ComponentSpec,),
        {
            "__module__": __name__,
            "__doc__": "Parameters, inputs and outputs of the StudyReporter.",
            "PARAMETERS": {
                key: ExecutionParameter(type=str)
                for key in (executor.TITLE, executor.ARMS, executor.STUDY)
            },
            "INPUTS": {key: ChannelParameter(type=standard_artifacts.ModelRun) for key in keys},
            "OUTPUTS": {names.STUDY_REPORT: ChannelParameter(type=artifacts.StudyReport)},
        },
    )
