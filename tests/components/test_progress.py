import logging
import pickle
import re
import time

import pytest

from components.progress import Counter, Progress, time_left, watched


@pytest.mark.parametrize(
    ("elapsed", "done", "expected"),
    [
        (10, 50, "about 10 s left"),
        (0.1, 50, "about 1 s left"),
        (100, 50, "about 2 min left"),
        (10, 100, "done"),
    ],
)
def test_the_time_left_is_estimated_from_the_speed_so_far(elapsed, done, expected):
    assert time_left(elapsed, done, 100) == expected


def test_lines_are_logged_at_most_once_per_interval_and_at_the_end(caplog):
    with caplog.at_level(logging.INFO, logger="outnumbered.trainer"):
        progress = Progress("images", total=3000, interval=60)
        for _ in range(3):
            progress.advance(1000)
    assert caplog.messages == ["3,000 of 3,000 images, done"]


def test_a_step_is_logged_when_the_interval_has_passed(caplog):
    with caplog.at_level(logging.INFO, logger="outnumbered.trainer"):
        progress = Progress("images", total=10, interval=0)
        progress.advance(5)
        progress.advance(8)
    assert caplog.messages[0].startswith("5 of 10 images, about ")
    assert caplog.messages[1] == "10 of 10 images, done"


def test_without_a_closing_line_a_fast_loop_logs_nothing(caplog):
    with caplog.at_level(logging.INFO, logger="outnumbered.trainer"):
        Progress("images", total=10, interval=60, closing=False).advance(10)
    assert not caplog.messages


def test_copies_within_a_process_share_one_count(caplog):
    with caplog.at_level(logging.INFO, logger="outnumbered.trainer"):
        progress = Progress("shards read", total=1200, interval=60)
        copy = pickle.loads(pickle.dumps(progress))
        for _ in range(600):
            progress.advance(1)
            copy.advance(1)
    assert caplog.messages == ["1,200 of 1,200 shards read, done"]


def test_copies_of_a_counter_share_one_count():
    counter = Counter()
    copy = pickle.loads(pickle.dumps(counter))
    counter.advance(2)
    copy.advance(3)
    assert (counter.done, copy.done, Counter().done) == (5, 5, 0)


def test_progress_is_logged_while_images_are_read(caplog):
    done = iter(range(0, 3000, 1000))
    with (
        caplog.at_level(logging.INFO, logger="outnumbered.trainer"),
        watched(lambda: next(done, 2500), total=2500, logger="outnumbered.trainer", interval=0.01),
    ):
        while len(caplog.messages) < 3:
            time.sleep(0.01)
    assert re.fullmatch(r"1,000 of 2,500 images, about .* left", caplog.messages[0])
    assert caplog.messages[2].startswith("2,500 of 2,500 images")
