"""The ledger that is a contract on an EVM chain: ether, signatures and stake."""

import json
import os

import pytest
import vyper
from web3 import Web3

from evm_worlds import chain, contract, ether
from ledgers import KEYS, RULES, World, equivocation
from swarm.cli.ledger import verbs
from swarm.errors import LedgerRefusal
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.evm.chain import GWEI
from swarm.market.evm.evm_ledger import EvmLedger
from swarm.market.ledger.ledger import Account
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.identity import keccak256

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1


# Redeems, and when it is paid, redeems again.
GREEDY = """
#pragma version 0.4.3
interface Ledger:
    def redeem(amount: uint256): nonpayable
    def burn(amount: uint256): nonpayable

ledger: Ledger
wants_to_redeem: bool

@deploy
def __init__(ledger: address):
    self.ledger = Ledger(ledger)

@external
def redeem(amount: uint256):
    self.wants_to_redeem = True
    extcall self.ledger.redeem(amount)

@external
@payable
def __default__():
    if self.wants_to_redeem:
        self.wants_to_redeem = False
        extcall self.ledger.redeem(1)
"""


def held(world: World) -> int:
    """Nano-credits in ether that the contract has."""
    return ether(contract(world.alice)) // GWEI


def call(ledger: EvmLedger, name: str, *arguments: object, wei: int = 0) -> None:
    """Without what the library checks before it sends."""
    data = ledger._contract.encode_abi(name, args=arguments)
    ledger._chain.send(contract(ledger), Web3.to_bytes(hexstr=data), wei)


# --- ether ------------------------------------------------------------------------------------------------------------


def test_every_credit_is_a_gwei_that_the_contract_holds(world):
    assert held(world) == 200 * CREDIT
    world.issuer.emit(1, {world.carol.address: 5, world.bob.address: 6})
    assert held(world) == 200 * CREDIT + 11
    world.alice.burn(7)
    assert held(world) == 200 * CREDIT + 11  # what is burned stays there for ever
    before = ether(world.alice.address)
    world.alice.redeem(90 * CREDIT)
    assert held(world) == 110 * CREDIT + 11
    assert 0 < before + 90 * CREDIT * GWEI - ether(world.alice.address) < 10**15  # gas
    assert world.alice.supply().burned == 90 * CREDIT + 7
    with pytest.raises(LedgerRefusal, match="not so much available"):
        world.alice.redeem(10 * CREDIT)


def test_credits_are_redeemed_by_a_command(world, monkeypatch, capsys):
    monkeypatch.setattr(verbs, "opened", lambda args: world.alice)
    assert verbs.main(["redeem", "0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["available"] == 100 * CREDIT - CREDIT // 2
    assert held(world) == 200 * CREDIT - CREDIT // 2


@pytest.mark.parametrize("wei", [1, GWEI - 1, GWEI + 1])
def test_what_is_no_whole_number_of_gwei_is_not_taken(world, wei):
    with pytest.raises(LedgerRefusal, match="gwei"):
        call(world.alice, "mint", Web3.to_checksum_address(world.alice.address), wei=wei)


@pytest.mark.parametrize("paid", [10, 12])
def test_rewards_are_paid_in_to_the_last_gwei(world, paid):
    payments = [(Web3.to_checksum_address(world.carol.address), 11)]
    with pytest.raises(LedgerRefusal, match="sum of the payments"):
        call(world.issuer, "emit", 1, payments, wei=paid * GWEI)


def test_an_account_that_is_a_contract_does_not_redeem_while_it_redeems(world):
    web3 = chain()
    output = vyper.compile_code(GREEDY, output_formats=["abi", "bytecode"])
    code = web3.eth.contract(abi=output["abi"], bytecode=output["bytecode"])
    data = code.constructor(Web3.to_checksum_address(contract(world.alice))).data_in_transaction
    receipt = world.alice._chain.send(b"", Web3.to_bytes(hexstr=data))
    greedy = Web3.to_bytes(hexstr=receipt["contractAddress"])
    world.issuer.mint(greedy, 10)
    order = Web3.to_bytes(hexstr=web3.eth.contract(abi=output["abi"]).encode_abi("redeem", args=[5]))
    with pytest.raises(LedgerRefusal, match="own code did not take"):
        world.alice._chain.send(greedy, order)
    assert world.alice.account(greedy) == Account(10)
    assert ether(greedy) == 0


# --- signatures -------------------------------------------------------------------------------------------------------


def test_the_contracts_id_is_that_of_chain_and_address(world):
    words = chain().eth.chain_id.to_bytes(32) + contract(world.alice).rjust(32, b"\0")
    assert world.alice.id == keccak256(words)


def test_a_voucher_for_one_contract_is_worth_nothing_in_another(world, tmp_path):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    voucher = world.voucher(channel, 500, ledger=os.urandom(32)).voucher
    signed = SignedVoucher(voucher, KEYS["alice"].sign_hash(voucher.hash), world.alice.address)
    with pytest.raises(LedgerRefusal, match="a voucher for ledger"):
        world.bob.settle([signed])
    words = channel.id, 500, voucher.receipt, *halves(signed.signature)
    with pytest.raises(LedgerRefusal, match="not signed by whom it names"):
        call(world.bob, "settle", [words])


def halves(signature: bytes) -> tuple[int, int]:
    return int.from_bytes(signature[:32]), signature[64] << 255 | int.from_bytes(signature[32:64])


def test_the_other_form_of_a_signature_is_refused(world):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    signed = world.voucher(channel, 500)
    r, vs = halves(signed.signature)
    # The other form's s is above 2^255, where this encoding has the recovery id, or just below it.
    high = ORDER - (vs & (2**255 - 1)) ^ (vs >> 255 ^ 1) << 255
    for other in ((r, high), (r, 2**255 - 1), (0, vs), (r, 0)):
        with pytest.raises(LedgerRefusal, match=r"malformed signature|not signed"):
            call(world.bob, "settle", [(channel.id, 500, signed.voucher.receipt, *other)])
    assert world.bob.settle([signed]) == [500]


def test_receipts_are_compared_and_their_signers_found_on_the_chain(world):
    world.bob.bond(1_000)
    first, second = equivocation("bob")
    words, signatures = (first.receipt.words, second.receipt.words), (*halves(first.signature),
                                                                      *halves(second.signature))  # fmt: skip
    swapped = (*signatures[2:], *signatures[:2])
    for bad_words, bad_signatures, match in (
        (words, swapped, "not signed by whom it names"),
        ((words[0], words[0]), signatures, "no equivocation"),
        ((words[0][:-32], words[1]), signatures, "not the words of a receipt"),
        ((words[0] + bytes(32), words[1] + bytes(32)), signatures, "not the words of a receipt"),
        ((words[0], words[1][:-1] + b"\7"), signatures, "not signed|malformed"),
    ):
        with pytest.raises(LedgerRefusal, match=match):
            call(world.carol, "slash_equivocation", *bad_words, bad_signatures)
    assert world.carol.slash_equivocation(first, second) == 1_000


def test_a_peer_is_not_slashed_for_what_another_signed(world):
    """Alice signs two receipts that name bob."""
    world.bob.bond(1_000)
    pair = equivocation("bob")
    signatures = [half for signed in pair for half in halves(KEYS["alice"].sign_hash(signed.receipt.hash))]
    with pytest.raises(LedgerRefusal, match="not signed by whom it names"):
        call(world.carol, "slash_equivocation", *(signed.receipt.words for signed in pair), signatures)


def test_only_so_many_parts_of_a_stake_unbond_at_a_time(world):
    world.bob.bond(1_000)
    for _ in range(8):
        world.bob.unbond(10)
    with pytest.raises(LedgerRefusal, match="withdraw those that are ready"):
        world.bob.unbond(10)
    world.advance(RULES.unbonding_s + 60)
    assert world.bob.withdraw() == 80
    world.bob.unbond(10)
