"""Every screen and note looks as it did: its text, and the colours of each line, in each size and theme.

Where a change was meant: `python tests/pictures.py --update`, and read what git says of tests/pictures/.
"""

import asyncio

import pytest
from pictures import KEPT, SIZES, differences, pictures

MOST_BYTES = 600_000


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.timeout(300)
def test_every_screen_looks_as_it_is_kept(size: tuple[int, int]) -> None:
    told = [*differences(size, asyncio.run(pictures(size)))]
    if told:
        pytest.fail("\n".join([*told[:200], "meant? python tests/pictures.py --update"]), pytrace=False)


def test_the_pictures_stay_small() -> None:
    assert 0 < sum(path.stat().st_size for path in KEPT.iterdir()) < MOST_BYTES
