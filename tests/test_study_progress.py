"""What the bar of a study says of the time that is left."""

import pytest
from helpers.made_study import made_cells

from hf_ambiser.studies.progress import StudyBar


def bar(folder, finished: dict[str, float], jobs: int = 1) -> StudyBar:
    """Three folds each of a, b and c; `finished`: cell -> its seconds."""
    cells = [cell for fold in "123" for cell in made_cells(folder / fold, ["a", "b", "c"])]
    cells = [type(cell)(**{**vars(cell), "key": f"{cell.system}{cell.out.name}"}) for cell in cells]
    made = StudyBar(cells, jobs, stale=60.0, show=False)
    made._finished = set(finished)
    made.seconds = lambda cell: finished.get(cell.key)
    return made


@pytest.mark.parametrize(
    ("finished", "jobs", "failed", "said"),
    [
        ({}, 1, (), "time left not known before the first cell is finished"),
        # Two of a at 10; of b and c nothing is known, so their six cells cost as much.
        ({"a1": 10.0}, 1, (), "about 80 s left (from 1 finished, none of b and 1 more)"),
        ({"a1": 10.0, "b1": 40.0}, 1, (), "about 3 min left (from 2 finished, none of c)"),
        # 2 x 10 + 2 x 40 + 2 x 5
        ({"a1": 10.0, "b1": 40.0, "c1": 5.0}, 1, (), "about 2 min left (from 3 finished)"),
        ({"a1": 10.0, "b1": 40.0, "c1": 5.0}, 2, (), "about 55 s left (from 3 finished)"),
        ({"a1": 10.0, "b1": 40.0, "c1": 5.0}, 1, ("b2", "b3"), "about 30 s left (from 3 finished)"),
    ],
)
def test_the_time_left_is_that_of_each_systems_own_cells_and_names_those_that_are_not_known(
    tmp_path, finished, jobs, failed, said
):
    assert bar(tmp_path, finished, jobs).time_left(failed) == said
