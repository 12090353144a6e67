import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from listed import list_files
from PIL import Image
from run_on_disk import EPOCHS, NEW_CLASS, ORIGIN, THRESHOLD, picture, some_run
from tfx.types import Channel

from components import names
from components.artifact_files import DamagedArtifactError
from components.evaluator import champion_record, slice_wording, summary
from components.evaluator.champion_caution import CAUTION
from components.evaluator.champion_record import State
from components.example_validator import findings
from components.reporter.component import Reporter, ReporterSpec


class Page(HTMLParser):
    """The parsed page: elements with attributes, and text."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th", "p", "li", "h2", "h3"):
            self.text += " "

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]

    @property
    def flat_text(self):
        return " ".join(self.text.split())


def test_metrics_json_has_the_results_of_the_run(reported):
    run, _, metrics = reported
    evaluation = summary.read(run.uri(names.EVALUATION))
    for key in ("metrics", "intervals", "at_prevalence", "slices"):
        assert metrics[key] == evaluation[key]
    assert {"precision", "recall", "f1", "pr_auc", "auc", "accuracy", "threshold"} <= set(
        metrics["metrics"]
    )
    assert metrics["title"] == "cats-vs-dogs"
    assert metrics["blessed"] is True
    assert [gate["gate"] for gate in metrics["gates"]] == run.gates
    assert metrics["operating_point"]["rule"] == "best_f1"
    assert metrics["sampling"]["splits"]["test"]["dogs"]["used"] == 100
    assert metrics["quarantine"]["quarantined"] == 25
    assert metrics["pushed_model"] == "/models/7"
    assert metrics["reading"]["max_side"] == 96
    assert metrics["reading"]["resize"] == "bilinear, antialiased"
    assert metrics["training"] == {
        "model": "cnn",
        "parameters": 2_190_529,
        "trainable_parameters": 2_190_529,
        "epochs": 10,
        "epoch": 6,
        "keep_epoch": "best",
        "solver": None,
        "loss": EPOCHS[5]["loss"],
        "val_loss": EPOCHS[5]["val_loss"],
        "val_pr_auc": EPOCHS[5]["val_pr_auc"],
        "seconds": 61.0,
    }


SOLVER = {
    "optimizer": "lbfgs",
    "iterations": 31,
    "converged": True,
    "penalty": 0.25,
    "penalty_chosen": True,
    "cross_validation": [{"penalty": 0.25, "loss": 0.02, "standard_error": 0.004}] * 8,
}


@pytest.mark.parametrize("converged", [True, False])
def test_the_page_says_how_a_head_was_solved(converged, tmp_path):
    run = some_run(tmp_path)
    run.history |= {"epochs": EPOCHS[:1], "exported_epoch": 1}
    run.history |= {"solver": SOLVER | {"converged": converged}}
    run.write()
    html, metrics = run.report()
    text = Page(html).flat_text
    ended = "in 31 iterations" if converged else "but did not converge in 31 iterations"
    assert f"solved by L-BFGS instead of trained in epochs, {ended}; its penalty is" in text
    assert "C = 0.25, the best of 8 by cross-validation inside train." in text
    assert ("not the optimum" in text) is not converged
    assert "by epoch" not in text
    assert metrics["training"]["solver"]["penalty"] == 0.25


def test_the_page_says_how_images_are_read_and_shrunk(reported):
    _, html, _ = reported
    assert (
        "composited onto white, scaled down to 96 pixels (Lanczos, antialiased), and resized to "
        "64 x 64 pixels (bilinear, antialiased) between -1 and 1." in Page(html).flat_text
    )


def test_the_page_starts_with_the_answer(reported):
    _, html, metrics = reported
    page = Page(html)
    assert metrics["answer"] in page.flat_text
    assert metrics["reason"] in page.flat_text
    assert page.flat_text.index(metrics["answer"]) < page.flat_text.index("Verdict")


def test_the_page_has_no_external_resources(reported):
    _, html, _ = reported
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "xlink:href", "data", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), attributes
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'")


def test_the_page_runs_its_own_script_and_no_other(reported):
    _, html, _ = reported
    data, script = re.findall(r"<script(.*?)>(.*?)</script>", html, re.DOTALL)
    assert data[0] == ' type="application/json" id="threshold-counts"'
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert script[0] == ""
    assert f"script-src 'sha256-{digest}';" in html


def test_every_id_is_unique_and_every_reference_has_its_target(reported):
    _, html, _ = reported
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', html)
    assert {first or second for first, second in used} <= set(ids)


def test_figures_images_and_tables_are_accessible_without_sight(reported):
    _, html, metrics = reported
    page = Page(html)
    labels = [svg["aria-label"] for svg in page.all("svg")]
    assert len(labels) == 5
    counts = metrics["metrics"]
    matrix = f"“dogs” {counts['tp']}found {counts['fn']}missed others {counts['fp']}false alarms"
    assert matrix in page.flat_text
    assert all(image["alt"] for image in page.all("img"))
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    assert page.all("html") == [{"lang": "en"}]


def test_figures_have_the_pages_colours_in_light_and_dark_mode(reported):
    _, html, _ = reported
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert "var(--ink)" in drawings
    assert re.findall(r"(?:fill|stroke): #", drawings) == []
    assert "prefers-color-scheme: dark" in html


def test_names_of_users_are_escaped(tmp_path):
    name = "<script>$x$&amp;犬"  # Short enough not to be cut in the figures.
    run = some_run(
        tmp_path,
        positives=30,
        negatives=60,
        positive_class=name,
        title="<b>bold</b>",
        settings={"data": {"source": "<i>photos</i>", "manifest": None}},
        data_check=findings.of_check(ORIGIN, [NEW_CLASS | {"found": "<var>"}]),
        refusals=[{"uri": "<u>", "class_name": "<s>", "reason": "<em>", "detail": "<img src=x>"}],
    )
    html, metrics = run.write().report()
    page = Page(html)
    assert not {tag for tag, _ in page.elements} & {"u", "s", "em", "var"}
    assert len(page.all("script")) == 2
    for text in (name, "<b>bold</b>", "<i>photos</i>", "<img src=x>", "<var>"):
        assert text in page.text
    assert metrics["positive_class"] == name
    assert any(name in svg["aria-label"] for svg in page.all("svg"))
    drawn = Page("".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))).text
    assert f"“{name}”" in drawn
    assert f"called “{name}”" in page.text


def average_colour(data_uri):
    encoded = base64.b64decode(data_uri.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(encoded)) as image:
        return image.size, np.asarray(image, float).mean(axis=(0, 1))


def test_the_most_wrong_images_are_shown_worst_first_and_small(reported):
    run, html, _ = reported
    images = Page(html).all("img")
    indices = np.arange(len(run.labels))
    missed = indices[(run.labels == 1) & (run.probabilities < THRESHOLD)]
    alarms = indices[(run.labels == 0) & (run.probabilities >= THRESHOLD)]
    expected = [
        *missed[np.argsort(run.probabilities[missed])][:12],
        *alarms[np.argsort(-run.probabilities[alarms])][:12],
    ]
    assert len(images) - 24 == len(expected) >= 15
    for image, index in zip(images, expected, strict=False):
        size, colour = average_colour(image["src"])
        assert max(size) == 160
        with Image.open(io.BytesIO(picture(index))) as original:
            assert colour == pytest.approx(np.asarray(original, float).mean(axis=(0, 1)), abs=4)
        assert f"photos/{index}.jpg" in html


def test_slices_are_ranked_with_the_worst_marked(reported):
    _, html, metrics = reported
    borzoi = next(row for row in metrics["slices"] if row["slice"] == {"breed": "borzoi"})
    text = Page(html).flat_text
    recall, alarms = text[text.index("Missed “dogs”") :].split("False alarms slice")
    images = borzoi["tp"] + borzoi["fn"]
    assert "breed = borzoi worse than the rest" in recall
    assert f"{borzoi['fn']} of {images} {borzoi['recall']:.3f}" in recall
    assert recall.index("borzoi") < recall.index("beagle")
    # All positives, but not all negatives, have a breed.
    assert "(none)" not in recall
    assert "breed = (none)" in alarms


def test_the_worst_slice_the_bands_and_what_was_left_out_are_shown(reported):
    _, html, metrics = reported
    assert metrics["slice_search"]["found"]
    assert metrics["worst_slices"][0]["slice"] == {"breed": "borzoi"}
    text = Page(html).flat_text
    sentence = slice_wording.sentence(metrics)
    assert f"Worse than the rest: {sentence} (false discovery rate 0.05)." in text
    assert "Not sliced by patient: patient has 4,812 <values>." in text
    assert "Bands of image_size: small up to 16,384, medium up to 786,432, large above" in text


def test_sampling_and_quarantine_are_shown(reported):
    _, html, _ = reported
    text = Page(html).flat_text
    assert "test dogs 100 200 100" in text
    assert (
        "240 images are near-duplicates of others, in 31 clusters, the largest of 160 (8 %" in text
    )
    assert "Warning: one cluster <holds> 160 of 1,990 images." in text
    assert "1,900 keep their split from an earlier draw and 90 are new; 3 are held back" in text
    assert "2,025 images were listed, 1,990 accepted, 10 dropped as exact duplicates, 25" in text
    assert "Passed over, not images: @eaDir/ (3), hidden files (1)." in text
    assert "cats/broken 19.jpg" in text
    assert "cats/broken 20.jpg" not in text
    assert "The first 20 of 25" in text
    assert "pushed to /models/7" in text
    assert "trainer.model cnn" in text


def test_anomalies_of_the_data_are_shown_with_what_to_do(reported):
    _, html, metrics = reported
    assert metrics["data_check"] == {"checked": True, "schema": ORIGIN, "anomalies": [NEW_CLASS]}
    text = Page(html).flat_text
    assert "class_name new class 'foxes' (12 images) one of 'cats', 'dogs'" in text
    assert "1 anomaly, checked against the schema of version 6, kept 2026-11-24 03:00 UTC" in text
    assert "edit /models/schema/schema.pbtxt, or delete /models/schema to start over" in text


def test_data_without_anomalies_is_reported_to_match_the_schema(tmp_path):
    run = some_run(tmp_path, positives=10, negatives=20, data_check=findings.of_check(ORIGIN, []))
    html, _ = run.write().report()
    assert "No anomalies: classes, columns, sizes and shares match the schema of version 6" in (
        Page(html).flat_text
    )


def test_the_real_worlds_balance_is_shown_next_to_the_splits(reported):
    _, html, metrics = reported
    text = Page(html).flat_text
    assert "The real world has 49 negatives per positive, a share of 0.02; the split has 4" in text
    row = next(part for part in text.split("Precision ") if part.startswith("0."))
    in_split, in_world = metrics["metrics"]["precision"], metrics["at_prevalence"]["precision"]
    assert row.startswith(f"{in_split:.3f}")
    assert f"{in_world:.3f}" in text


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A run without history, refusals, push and gates, at the real world's prevalence."""
    run = some_run(
        tmp_path_factory.mktemp("bare"),
        positives=30,
        negatives=60,
        prevalence=1 / 3,
        history=None,
        gates=[],
    )
    html, metrics = run.write().report()
    return Page(html).flat_text, metrics


def test_a_run_without_optional_parts_names_what_is_missing(bare):
    text, metrics = bare
    assert "This model has no training history" in text
    assert "No images were refused" in text
    assert "The data was not checked: no schema has been kept yet; this run's schema is kept" in (
        text
    )
    assert "No model was pushed" in text
    assert "No gates are set" in text
    assert metrics["training"] is None
    assert metrics["pushed_model"] is None
    assert metrics["blessed"] is False
    assert metrics["answer"].startswith("Not blessed: ")


def test_at_the_real_worlds_prevalence_each_metric_is_shown_once(bare):
    text, metrics = bare
    assert "the split has the same" in text
    assert "test split real world" not in text
    assert metrics["at_prevalence"]["intervals"] == metrics["intervals"]
    assert metrics["at_prevalence"]["precision"] == pytest.approx(metrics["metrics"]["precision"])


def test_the_page_shows_the_balance_at_which_the_threshold_was_chosen(reported, bare):
    _, html, metrics = reported
    text, point = Page(html).flat_text, metrics["operating_point"]
    assert (point["prevalence"], point["own_balance"]["prevalence"]) == (0.02, 0.2)
    assert "49 negatives per positive; val itself has 4 negatives per positive. Unweighted" in text
    assert f"Unweighted, precision is {point['own_balance']['precision']:.3f}" in text
    assert f"On val itself it has precision {point['precision']:.3f}" in text
    promised = point["promised"]
    low, high = promised["intervals"]["f1"]
    assert f"F1 {promised['f1']:.3f} (95 % interval {low:.3f} to {high:.3f}) are to be" in text
    assert point["remarks"][0] in text
    assert "2 negatives per positive, which val has too" in bare[0]


def test_the_page_shows_how_scores_became_probabilities(reported):
    _, html, metrics = reported
    text, found = Page(html).flat_text, metrics["operating_point"]["calibration"]
    assert f"From score to probability: {found['description']}." in text
    assert f"On val, {found['remarks'][0]}." in text
    assert metrics["calibration"].keys() == {"prevalence", "before", "after"}


def test_a_passed_gate_shows_whether_its_interval_extends_beyond_it(reported):
    _, html, metrics = reported
    text, doubt = Page(html).flat_text, "the interval extends beyond the gate"
    assert [gate["may_be_missed"] for gate in metrics["gates"]] == [False, False, True]
    assert text.count(doubt) == 1
    (low, high), images = (metrics["gates"][2][key] for key in ("interval", "images"))
    assert f"{low:.3f} to {high:.3f} {images} ✓ passed {doubt}" in text
    assert "the true recall may be below the gate" in metrics["reason"]


def test_a_model_that_predicts_no_positives_gets_a_report(tmp_path):
    run = some_run(tmp_path, positives=10, negatives=20)
    run.probabilities = run.probabilities * 0.4
    html, metrics = run.write().report()
    assert metrics["metrics"]["precision"] is None
    assert metrics["intervals"]["precision"] is None
    assert "raises no alarm," in metrics["answer"]
    assert "There were none." in html


def test_predictions_of_images_that_are_not_in_the_examples_are_an_error(tmp_path):
    run = some_run(tmp_path, positives=10, negatives=20)
    run.write()
    for shard in (tmp_path / "examples" / "Split-test").iterdir():
        shard.write_bytes(b"")
    list_files(tmp_path / "examples")
    with pytest.raises(ValueError, match="the examples must be those of the predictions"):
        run.report()


def test_examples_without_one_of_their_shards_are_an_error(tmp_path):
    run = some_run(tmp_path, positives=10, negatives=20).write()
    next((tmp_path / "examples" / "Split-test").iterdir()).unlink()
    with pytest.raises(DamagedArtifactError, match="is missing, with 15 records"):
        run.report()


def test_the_components_parameters_are_plain_text():
    inputs = {key: Channel(type=kind.type) for key, kind in ReporterSpec.INPUTS.items()}
    reporter = Reporter(**inputs, title="a run", settings={"trainer": {"model": "cnn"}})
    assert reporter.exec_properties["title"] == "a run"
    assert json.loads(reporter.exec_properties["settings"]) == {"trainer": {"model": "cnn"}}


def test_the_labels_that_the_model_doubts_most_are_listed_and_shown(doubting):
    _, html, metrics = doubting
    doubt = metrics["label_doubt"]
    assert doubt["looked_at"] == {"test": 500, "train": 60, "val": 30}
    assert doubt["with_features"] == {"train": 60, "val": 30}
    assert doubt["left_out"] == {}
    assert [row["rank"] for row in doubt["images"]] == list(range(1, 101))
    of_train = [row for row in doubt["images"] if row["split"] == "train"]
    wrong = next(row for row in of_train if row["reason"] == "contradicted")
    assert (wrong["uri"], wrong["label"]) == ("train/3.jpg", 0)
    odd = next(row for row in doubt["images"] if row["reason"] == "atypical")
    assert (odd["uri"], odd["label"], odd["rank"]) == ("val/0.jpg", 1, 2)
    page = Page(html)
    shown = page.text[page.text.index("Doubtful labels") :]
    assert len(re.findall(r"\d+\. (?:contradicted|atypical)", shown)) == 24
    assert "Looked at: 500 images of test, 60 images of train, 30 images of val." in page.flat_text
    _, colour = average_colour(page.all("img")[-24 + odd["rank"] - 1]["src"])
    with Image.open(io.BytesIO(picture(7 * 0))) as original:
        assert colour == pytest.approx(np.asarray(original, float).mean(axis=(0, 1)), abs=4)


def test_without_features_the_images_of_train_are_left_out_with_the_reason(reported):
    _, html, metrics = reported
    doubt = metrics["label_doubt"]
    assert doubt["looked_at"] == {"test": 500, "val": 30}
    assert doubt["with_features"] == {}
    assert {row["split"] for row in doubt["images"]} <= {"test", "val"}
    assert {row["reason"] for row in doubt["images"]} == {"contradicted"}
    assert "About train: the model was trained on these images" in Page(html).flat_text


def test_the_figures_of_a_review_are_shown_at_both_balances(tmp_path):
    operating = {
        "costs": {"missed": 50.0, "false_alarm": 1.0},
        "review": {"share": 0.2, "lower": 0.3, "upper": 0.6},
    }
    run = some_run(tmp_path, positives=30, negatives=60, operating=operating).write()
    html, metrics = run.report()
    review, text = metrics["review"], Page(html).flat_text
    assert review["images"] == int(((run.probabilities >= 0.3) & (run.probabilities < 0.6)).sum())
    assert f"probabilities from 0.3 to 0.6: {review['images']} of the split" in text
    found = text[text.index("With a review by a person") :]
    for side in (review["metrics"], review["at_prevalence"]):
        assert f"{side['recall_with_review']:.3f}" in found
        assert f"{side['expected_cost']:,.1f}" in found


def test_reliability_is_shown_before_and_after_calibration(reported):
    _, html, metrics = reported
    page, calibration = Page(html), metrics["calibration"]
    (label,) = [svg["aria-label"] for svg in page.all("svg") if "Reliability" in svg["aria-label"]]
    for name in ("before", "after"):
        figures = calibration[name]
        assert f"{figures['ece']:.3g} {name} calibration" in label
        low, high = figures["intervals"]["ece"]
        assert f"{figures['ece']:.3f} {low:.3f} to {high:.3f}".replace(" ", "") in (
            page.flat_text.replace(" ", "")
        )


def test_a_gate_with_too_few_images_says_how_many_more_would_decide(tmp_path):
    gates = ["recall >= 0.70, lower bound", "recall >= 0.2 in every breed"]
    html, metrics = some_run(tmp_path, gates=gates).write().report()
    text = Page(html).flat_text
    first, second = metrics["gates"]
    assert first["outcome"] == "too_few_images"
    more = first["more_images"]["positives"]
    assert f"too few images to tell: {more:,} more positives would decide" in text
    assert f"{first['images']} ? too few images" in text
    assert second["slice"] == {"breed": "borzoi"}
    assert "recall >= 0.2 in every breedbreed = borzoi" in text


def test_the_page_compares_with_the_champion_on_the_split_and_on_the_newest_span(reported):
    run, html, metrics = reported
    text = Page(html).flat_text
    assert metrics["champion"] == run.champion
    assert "the champion is version 6 of the registry" in text
    assert "The whole split “test”: 500 images, 100 of them “dogs”" in text
    assert f"The whole split “test”: {CAUTION}. With sampler.assignment: stable no image" in text
    assert "The newest span: the champion may" not in text
    assert "The newest span, 2026-11-27: 250 images, 50 of them “dogs”" in text
    recall = run.champion["test"]["at_prevalence"]["recall"]
    figures = [f"{recall[each]:.3f}" for each in ("challenger", "champion")]
    assert f"Recall {' '.join(figures)} +{recall['difference']:.4f}" in text


def test_the_page_says_why_a_model_was_not_compared_with_the_champion(tmp_path):
    reason = "the champion, version 6 of <models>, can't be compared: it has no signature"
    record = champion_record.without_comparison(State.REFUSED, reason, 6)
    run = some_run(tmp_path, positives=20, negatives=40, champion=record)
    html, _ = run.write().report()
    assert f"Challenger and champion Not compared: {reason}." in Page(html).flat_text
    assert "<models>" not in html
