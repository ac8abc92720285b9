"""Whether the database answers, asked so often that a question is always just ending."""

from __future__ import annotations

import threading

from openwatch import clock
from openwatch.db import Database

SECONDS = 4.5  # the watch ends and begins anew about every second


def test_a_database_that_is_well_is_called_well_however_often_it_is_asked(
    database: Database,
) -> None:
    until, longest, answers = clock.monotonic() + SECONDS, [0.0] * 4, []

    def ask(number: int) -> None:
        while (begun := clock.monotonic()) < until:
            answers.append(database.pulse.is_well())
            longest[number] = max(longest[number], clock.monotonic() - begun)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(longest))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(False) == 0
    assert max(longest) < 1.5
