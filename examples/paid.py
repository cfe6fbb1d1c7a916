"""Three servers that want to be paid, a client with a budget, and the bill.

    python examples/paid.py

The ledger is a folder that all of them share; across machines it is `python -m swarm ledger serve`, or a contract.
"""

import tempfile

import swarm
from swarm.home import client_identity
from swarm.market.ledger.opening import open_ledger
from swarm.wire.formats.amounts import format_amount, parse_amount


def main() -> None:
    deposit = parse_amount("1")
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(folder, client_identity())  # whoever makes a ledger may mint
        ledger.mint(ledger.address, deposit)
        options = {"quant": "int4", "ledger": folder, "price": "1000n"}  # for a token through a block
        options["stake"] = "1"  # credits, that a server loses if it is found to cheat
        with (
            swarm.LocalSwarm("demo", ["0:10", "10:20", "20:30"], **options) as local,
            swarm.Client("demo", peers=local.peers, ledger=folder, budget="0.01") as client,
        ):
            out = client.generate("The capital of France is", max_new_tokens=32)
        print(out.text)
        for payment in out.payments:
            start, stop = payment.blocks
            prompt = f"{payment.prefill_tokens} x {payment.prefill_price}"
            new = f"{payment.decode_tokens} x {payment.decode_price}"
            print(f"{payment.peer_id[-8:]}: {stop - start} blocks x ({prompt} + {new}) = {payment.amount} nano-credits")
        print(f"{format_amount(out.cost)} credits of {format_amount(deposit)}")
        ledger.shut()


if __name__ == "__main__":
    main()
