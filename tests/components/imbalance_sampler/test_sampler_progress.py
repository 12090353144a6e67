import logging
import pickle

from components.imbalance_sampler.progress import Progress


def test_copies_on_workers_share_one_count_and_the_end_is_always_told(caplog):
    caplog.set_level(logging.INFO, logger="outnumbered.imbalance_sampler")
    progress = Progress("read", 1200)
    copy = pickle.loads(pickle.dumps(progress))
    for _ in range(600):
        progress.advance()
        copy.advance()
    assert caplog.messages[-1] == "read 1,200 of 1,200 shards, about 0 s left"
    assert len(caplog.messages) < 5
