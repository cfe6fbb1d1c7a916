"""How amounts are said to people."""

import re
from pathlib import Path

import swarm
from swarm.wire.formats.amounts import CREDIT, format_credits, format_prices

WHERE = ("amounts.py", "parsing.py", "bidding.py", "tender.py")  # which tell units apart, and refuse a pair of prices


def test_an_amount_is_said_with_its_unit():
    said = ["0 credits", "0.000000001 credits", "1 credit", "2 credits"]
    assert [format_credits(amount) for amount in (0, 1, CREDIT, 2 * CREDIT)] == said
    assert format_prices(1000, 50) == "1000/50n"


def test_nobody_writes_the_unit_of_an_amount_by_hand():
    """Else there is soon a line that says "1 credits", or one in another unit."""
    by_hand = re.compile(r"\} (nano-)?credits?\b")
    texts = {path: path.read_text() for path in Path(swarm.__file__).parent.rglob("*.py")}
    found = [(path.name, hit[0]) for path, text in texts.items() for hit in by_hand.finditer(text)]
    assert [one for one in found if one[0] not in WHERE] == []
