"""`edgescale demo`: what a newcomer runs first holds what it claims."""

import json

from tests.processes import command


async def test_every_claim_of_the_demonstration_holds() -> None:
    status, output, errors = await command("demo", "--json")
    told = json.loads(output)
    assert [check["claim"] for check in told["checks"] if not check["held"]] == [], errors
    assert (status, told["held"], len(told["checks"]) >= 6) == (0, True, True)
