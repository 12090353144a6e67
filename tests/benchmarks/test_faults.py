"""Whole runs survive faults: some kinds of `make faults-short`, the short form of `make faults`.

One output folder suffers a kill, a SIGTERM or a full disk in all its components in turn, and the
last run is compared. Left out, compared with `make faults`: a comparison after each single kill,
signal and size; kills of runs without a history, and of studies; signals in studies, in `predict`
and in a step's pod; HOME and folders for temporary files; two runs at once in each component, and
with one feature store; the object store of a cluster, and most faults of that of a local run.
"""

import pytest

from benchmarks.faults.__main__ import inject
from benchmarks.faults.cases import Bench, Outcome, unclear
from benchmarks.faults.kinds import SHORT
from benchmarks.faults.results import Result, differences
from benchmarks.faults.runner import Runner

KINDS = [kind for kind in SHORT if kind in ("sigterm", "damage", "bucket")]
"""Those for which no other test starts a whole run, and that take the least time."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    with Runner(folder / "processes") as runner:
        yield Bench(runner, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_by_faults_of_a_kind(kind, bench, capfd):
    found = inject(bench, kinds=[kind], each=10, seed=1, short=True)
    said = capfd.readouterr().err
    assert found["survived"] == found["injected"] >= 1, said
    assert found["lost"] == 0, said


def test_a_result_with_other_or_more_files_is_not_equal():
    expected = Result({"a": "1", "b": "2"}, frozenset({"a", "b"}), ())
    found = Result({"a": "3", "c": "4"}, frozenset({"a", ".c"}), ("Trainer/model/7",))
    assert differences(expected, expected) == []
    assert differences(expected, found) == [
        "not made: b",
        "made too much: c",
        "differs: a",
        "left over: .c",
        "left over of a step that did not finish: Trainer/model/7",
    ]


@pytest.mark.parametrize(
    ("err", "problem"),
    [
        ("error: no space left for /out; free some", None),
        ("Traceback (most recent call last): error: /out free", "a traceback"),
        ("/out free", "no message"),
        ("error: no space left; free some", "the message does not contain '/out'"),
    ],
)
def test_words_name_the_file_and_the_remedy(err, problem):
    found = list(unclear(Outcome(1, "", err), ["/out", "free"]))
    assert [text.partition(":")[0] for text in found] == ([problem] if problem else [])
