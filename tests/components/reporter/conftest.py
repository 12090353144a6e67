import pytest
from run_on_disk import NEW_CLASS, ORIGIN, compared_with_champion, some_run

from components.evaluator.slice_choice import Choice
from components.example_validator import findings
from components.registry import Pushed


@pytest.fixture(scope="session")
def reported(tmp_path_factory):
    """A run and its report; its test split has a higher prevalence than the real world."""
    run = some_run(
        tmp_path_factory.mktemp("run"),
        refusals=[
            {
                "uri": f"cats/broken {number}.jpg",
                "class_name": "cats",
                "reason": "undecodable",
                "detail": "truncated",
            }
            for number in range(25)
        ],
        pushed=Pushed(version=7, path="/models/7", is_new=True),
        data_check=findings.of_check(ORIGIN, [NEW_CLASS]),
        choice=Choice(
            groups=[["breed"]],
            bounds={"image_size": (16384, 786432)},
            left_out={"patient": "patient has 4,812 <values>"},
        ),
        # The last is only just passed.
        gates=["recall >= 0.5", "precision >= 0.2", "recall >= 0.70"],
    )
    run.champion = compared_with_champion(run)
    return run.write(), *run.report()


@pytest.fixture(scope="session")
def doubting(tmp_path_factory):
    """A run with features, in which a label of train is wrong and an image of val is odd."""
    # The probabilities of the model are those of its test split's balance.
    folder = tmp_path_factory.mktemp("doubting")
    run = some_run(folder, has_features=True, prevalence=0.2)
    run.train.labels[3] = 0
    run.val.features[0] = 0
    run.val.features[0, 9] = 1
    return run.write(), *run.report()
