"""Three servers that want to be paid, a client with a budget, and the bill.

    python examples/paid.py

The ledger is a folder that all of them share; across machines it is `python -m swarm.ledger`, or a contract.
"""

import tempfile

import swarm
from swarm.economy.amounts import format_amount, parse_amount
from swarm.economy.books import open_ledger
from swarm.route.local import client_identity


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(folder, client_identity())  # whoever makes a ledger may mint
        ledger.mint(ledger.address, parse_amount("1"))
        options = {"quant": "int4", "ledger": folder, "price": 1000}  # nano-credits for a token through a block
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
        print(f"{format_amount(out.cost)} credits of {format_amount(ledger.supply().minted)}")
        ledger.shut()


if __name__ == "__main__":
    main()
