"""Writes a run's artifacts like the components before the Reporter."""

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from listed import list_files, listed
from other_splits import (
    OtherSplit,
    drawn_split,
    write_features,
    write_predictions,
    write_records,
)
from PIL import Image
from tfx.types import standard_artifacts

from components import artifacts, example_files, names
from components.calibrator import calibration, operating_point
from components.evaluator import (
    blessing,
    champion,
    champion_record,
    gates,
    judgement,
    predictions,
    summary,
)
from components.evaluator.champion_caution import CAUTION
from components.evaluator.metrics import Costs, confusion
from components.evaluator.slice_choice import Choice
from components.evaluator.sliced_counts import SliceCounts
from components.example_validator import findings, findings_file
from components.example_validator.findings import Findings
from components.images.rules import ReadingRules
from components.pusher import pushed_model
from components.registry import Pushed
from components.reporter import executor
from components.reporter.metrics_schema import MetricsFile

THRESHOLD = 0.5
ORIGIN = {
    "version": 6,
    "time": "2026-11-24 03:00 UTC",
    "images": 1815,
    "folder": "/models/schema",
}
NEW_CLASS = {
    "feature": "class_name",
    "kind": "new class",
    "found": "'foxes' (12 images)",
    "expected": "one of 'cats', 'dogs'",
}
KINDS = {
    names.EVALUATION: standard_artifacts.ModelEvaluation,
    names.PREDICTIONS: artifacts.Predictions,
    names.VAL_PREDICTIONS: artifacts.Predictions,
    names.BLESSING: standard_artifacts.ModelBlessing,
    names.MODEL: standard_artifacts.Model,
    names.MODEL_RUN: standard_artifacts.ModelRun,
    names.EXAMPLES: standard_artifacts.Examples,
    names.FEATURED_EXAMPLES: standard_artifacts.Examples,
    names.SAMPLING: artifacts.Sampling,
    names.QUARANTINE: artifacts.Quarantine,
    names.ANOMALIES: standard_artifacts.ExampleAnomalies,
    names.PUSHED_MODEL: standard_artifacts.PushedModel,
    names.REPORT: artifacts.Report,
}
EPOCHS = [
    {
        "epoch": number,
        "loss": 0.5 / number,
        "val_loss": 0.5 / number + 0.02 * number,
        "val_pr_auc": 0.9 - 0.4 / number - 0.01 * max(0, number - 6),
    }
    for number in range(1, 11)
]


@dataclass
class Run:
    """A run whose model scored `labels` with `probabilities`."""

    root: Path
    labels: np.ndarray
    probabilities: np.ndarray
    breeds: list[str]
    positive_class: str = "dogs"
    prevalence: float = 0.02
    gates: list[str] = field(default_factory=lambda: ["recall >= 0.5", "precision >= 0.2"])
    title: str = "cats-vs-dogs"
    settings: dict = field(default_factory=lambda: {"trainer": {"model": "cnn", "epochs": 10}})
    history: dict | None = field(
        default_factory=lambda: {
            "model": "cnn",
            "parameters": 2_190_529,
            "trainable_parameters": 2_190_529,
            "epochs": EPOCHS,
            "best_epoch": 6,
            "exported_epoch": 6,
            "keep_epoch": "best",
            "seconds": 61.0,
        }
    )
    refusals: list[dict] = field(default_factory=list)
    pushed: Pushed | None = None
    data_check: Findings = field(default_factory=findings.not_checked)
    choice: Choice = field(default_factory=lambda: Choice(groups=[["breed"]]))
    train: OtherSplit = field(default_factory=lambda: drawn_split(names.TRAIN, 20, 40, seed=1))
    val: OtherSplit = field(default_factory=lambda: drawn_split(names.VAL, 10, 20, seed=2))
    has_features: bool = False
    operating: dict = field(default_factory=dict)
    champion: dict | None = None

    def artifact(self, key: str):
        made = KINDS[key]()
        made.uri = str(self.root / key)
        Path(made.uri).mkdir(exist_ok=True)
        return made

    def uri(self, key: str) -> str:
        return self.artifact(key).uri

    @property
    def image_ids(self) -> list[str]:
        return [f"{index * 7919 % 100003:064d}" for index in range(len(self.labels))]

    def write(self) -> "Run":
        self._write_examples()
        self._write_other_splits()
        rows = self._write_predictions()
        figures = summary.summarize(
            rows,
            self._slice_counts(),
            split=names.TEST,
            threshold=THRESHOLD,
            prevalence=self.prevalence,
            choice=self.choice,
            costs=Costs(**costs) if (costs := self.operating.get("costs")) else None,
            band=self.operating.get("review"),
        )
        summary.write(figures, self.uri(names.EVALUATION))
        if self.champion is not None:
            champion_record.write(self.champion, self.uri(names.EVALUATION))
        parsed = gates.parse_all(self.gates)
        verdict = judgement.verdict(parsed, figures, self.data_check, self.champion)
        findings_file.write(self.data_check, self.uri(names.ANOMALIES))
        blessing.write(verdict, self.artifact(names.BLESSING), self.artifact(names.MODEL))
        pushed_model.write(self.artifact(names.PUSHED_MODEL), self.pushed, verdict.to_dict())
        self._write_reports()
        return self

    def report(self) -> tuple[str, dict]:
        """Runs the Reporter; returns the page and the metrics."""
        left_out = {names.REPORT} | (set() if self.has_features else {names.FEATURED_EXAMPLES})
        inputs = {key: [self.artifact(key)] for key in KINDS if key not in left_out}
        executor.Executor().Do(
            listed(inputs),
            {names.REPORT: [self.artifact(names.REPORT)]},
            {executor.TITLE: self.title, executor.SETTINGS: json.dumps(self.settings)},
        )
        folder = Path(self.uri(names.REPORT))
        html = (folder / "report.html").read_text(encoding="utf-8")
        text = (folder / "metrics.json").read_text(encoding="utf-8")
        MetricsFile.model_validate_json(text, strict=True)
        return html, json.loads(text)

    def _needs_review(self) -> np.ndarray:
        band = self.operating.get("review") or {"lower": 1, "upper": 0}
        scores = self.probabilities.astype(np.float32)
        return (scores >= band["lower"]) & (scores < band["upper"])

    def _columns(self) -> dict[str, list]:
        count = len(self.labels)
        return {
            names.IMAGE_ID: self.image_ids,
            names.URI: [f"photos/{index}.jpg" for index in range(count)],
            names.CLASS_NAME: [self.positive_class if label else "cats" for label in self.labels],
            names.LABEL: self.labels.tolist(),
            names.PROBABILITY: self.probabilities.astype(np.float32).tolist(),
            names.SCORE: np.sqrt(self.probabilities).astype(np.float32).tolist(),
            names.IS_POSITIVE: (self.probabilities >= THRESHOLD).astype(int).tolist(),
            names.NEEDS_REVIEW: self._needs_review().astype(int).tolist(),
            "breed": self.breeds,
        }

    def _write_predictions(self):
        table = pa.table(self._columns(), schema=predictions.schema(["breed"]))
        predictions.write(table, self.uri(names.PREDICTIONS), index=0, count=1)
        predictions.write_list(self.uri(names.PREDICTIONS))
        return predictions.read(self.uri(names.PREDICTIONS))

    def _slice_counts(self) -> list[SliceCounts]:
        breeds = np.array(self.breeds)
        members = {(): np.ones(len(breeds), bool)}
        members |= {(("breed", str(breed)),): breeds == breed for breed in np.unique(breeds)}
        predicted = self.probabilities >= THRESHOLD
        return [
            SliceCounts(dict(key), confusion(self.labels[chosen], predicted[chosen]))
            for key, chosen in members.items()
        ]

    def _write_examples(self) -> None:
        folder = Path(example_files.split_dir(self.uri(names.EXAMPLES), names.TEST))
        folder.mkdir()
        for shard in range(2):
            path = folder / example_files.shard_name(shard, 2)
            with tf.io.TFRecordWriter(str(path)) as writer:
                for index in range(shard, len(self.labels), 2):
                    writer.write(self._example(index))
        list_files(self.uri(names.EXAMPLES))

    def _write_other_splits(self) -> None:
        write_predictions(self.uri(names.VAL_PREDICTIONS), self.val, self.positive_class)
        for split in (self.train, self.val):
            pictures = [picture(7 * index) for index in range(len(split.labels))]
            extra = {names.IMAGE: pictures}
            write_records(self.uri(names.EXAMPLES), split, self.positive_class, extra)
            write_features(self.uri(names.FEATURED_EXAMPLES), split, self.positive_class)

    def _example(self, index: int) -> bytes:
        values = {names.IMAGE: picture(index), names.IMAGE_ID: self.image_ids[index].encode()}
        feature = {
            key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            for key, value in values.items()
        }
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    def _write_reports(self) -> None:
        positives = int(self.labels.sum())
        used = {self.positive_class: positives, "cats": len(self.labels) - positives}
        self._json(
            names.SAMPLING,
            "sampling.json",
            {
                "population": {"prevalence": self.prevalence, "source": "settings"},
                "splits": {
                    names.TEST: {
                        name: {"asked": count, "available": 2 * count, "used": count}
                        for name, count in used.items()
                    }
                },
                "near_duplicates": {
                    "max_distance": 4,
                    "clusters": 31,
                    "images": 240,
                    "largest": 160,
                    "largest_share": 160 / 1990,
                    "warning": "one cluster <holds> 160 of 1,990 images",
                },
                "ledger": {
                    "carried_forward": 1900,
                    "newcomers": 90,
                    "held_back": 3,
                    "absent": 17,
                },
            },
        )
        refused = len(self.refusals)
        self._json(
            names.QUARANTINE,
            "summary.json",
            {
                "listed": 2000 + refused,
                "accepted": 1990,
                "duplicates": 10,
                "quarantined": refused,
                "passed_over": {"@eaDir/": 3, "hidden files": 1},
                "by_reason": {"undecodable": refused} if refused else {},
                "by_class": used,
                "positive_class": self.positive_class,
                "max_bad_fraction": 0.01,
            },
        )
        lines = "".join(json.dumps(row) + "\n" for row in self.refusals)
        (Path(self.uri(names.QUARANTINE)) / "quarantine.jsonl").write_text(lines)
        if self.history is not None:
            self._json(names.MODEL_RUN, "history.json", self.history)
        assets = Path(self.uri(names.MODEL)) / "Format-Serving" / "assets"
        assets.mkdir(parents=True)
        point = operating_point.choose(
            self.probabilities,
            self.labels,
            rule="fixed",
            threshold=THRESHOLD,
            prevalence=self.prevalence,
            promised=True,
        )
        calibrated = calibration.calibrate(
            np.sqrt(self.probabilities), self.labels, prevalence=self.prevalence, balance=None
        )
        text = replace(point, rule="best_f1").to_json(calibrated.as_json())
        found = json.loads(text) | self.operating
        (assets / "operating_point.json").write_text(json.dumps(found))
        rules = ReadingRules(image_size=64, pixel_range=(-1.0, 1.0), max_side=96)
        (assets / "reading_rules.json").write_text(rules.to_json())

    def _json(self, key: str, name: str, value: dict) -> None:
        (Path(self.uri(key)) / name).write_text(json.dumps(value))


def compared_with_champion(run: Run) -> dict:
    """The comparison with a champion that has half the probabilities, on two spans."""
    scores = np.float32([run.probabilities, run.probabilities / 2])
    pair = champion.Pair(run.labels.astype(bool), scores, scores >= THRESHOLD)
    newest = pair.of(np.arange(len(run.labels)) % 2 == 1)
    return {
        "state": champion_record.State.COMPARED.value,
        "reason": None,
        "version": 6,
        "threshold": THRESHOLD,
        champion_record.TEST: {**champion.compare(pair, run.prevalence), "caution": CAUTION},
        champion_record.NEWEST_SPAN: {
            "span": "2026-11-27",
            **champion.compare(newest, run.prevalence),
        },
    }


def picture(index: int) -> bytes:
    """A JPEG of 300 x 200 pixels whose colour depends on the index."""
    buffer = io.BytesIO()
    colour = (index % 8 * 32, index // 8 % 8 * 32, index // 64 % 8 * 32)
    Image.new("RGB", (300, 200), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def some_run(root: Path, *, positives: int = 100, negatives: int = 400, **changes) -> Run:
    """A model of medium quality, with a much lower recall for one breed."""
    rng = np.random.default_rng(3)
    labels = np.repeat([1, 0], [positives, negatives])
    breeds = [
        str(rng.choice(["beagle", "pug", "borzoi"] if label else ["manx", "siamese", ""]))
        for label in labels
    ]
    is_hard = np.array([breed == "borzoi" for breed in breeds])
    probabilities = rng.beta(0.8 + 4 * labels - 3.3 * is_hard, 5 - 4 * labels + 2 * is_hard)
    return Run(root, labels, probabilities, breeds, **changes)
