#pragma version 0.4.3
#pragma evm-version cancun
"""
@title The ledger of swarm-inference, in a chain's own currency
@notice One nano-credit is one gwei (10^9 wei), paid in by `mint` and `emit`, paid out by `redeem`. Amounts are in
        nano-credits. What is burned otherwise stays in this contract for ever.
@dev    swarm/economy/ledger.py says what each operation means. All credits together are at most 2^62, so every amount
        fits 64 bits, and sums of them never overflow: the four buckets of an account share one word, and a channel
        takes two. Reasons of refusal are short; swarm/economy/evm/refusals.py says them in full.
"""

struct Voucher:
    channel: bytes32
    amount: uint256  # cumulative
    receipt: bytes32
    r: uint256  # the payer's signature as in EIP-2098: the recovery id is the highest bit of `vs`
    vs: uint256

struct Payment:
    to: address
    amount: uint256

struct Rules:
    withdraw_delay: uint256  # seconds
    unbonding: uint256
    reporter_ppm: uint256  # parts per million
    burn_ppm: uint256

# What depends on types of typed data (EIP-712), which are defined elsewhere. Positions count words, from 0.
struct Types:
    domain: bytes32  # hash of the domain
    voucher: bytes32  # hashes of types
    receipt: bytes32
    receipt_words: uint256
    peer: uint256  # positions in a receipt of what makes up its slot
    session: uint256
    start: uint256
    attempt: uint256
    index: uint256

# The first indexed members are the accounts that an event touches, so that each can find its own.
event Mint:
    to: indexed(address)
    by: indexed(address)
    amount: uint256

event Redeem:
    by: indexed(address)
    amount: uint256

event Burn:
    by: indexed(address)
    amount: uint256

event Transfer:
    by: indexed(address)
    to: indexed(address)
    amount: uint256

event OpenChannel:
    by: indexed(address)
    payee: indexed(address)
    channel: indexed(bytes32)
    amount: uint256
    salt: bytes32

event TopUp:
    by: indexed(address)
    payee: indexed(address)
    channel: indexed(bytes32)
    amount: uint256

event Settle:
    payer: indexed(address)
    payee: indexed(address)
    channel: indexed(bytes32)
    by: address
    amount: uint256  # worth, of which a part may have been burned
    receipt: bytes32

event Release:
    payer: indexed(address)
    by: indexed(address)
    channel: indexed(bytes32)
    amount: uint256

event RequestClose:
    by: indexed(address)
    payee: indexed(address)
    channel: indexed(bytes32)
    closes_at: uint256

event Close:
    by: indexed(address)
    payee: indexed(address)
    channel: indexed(bytes32)
    amount: uint256

event Bond:
    by: indexed(address)
    amount: uint256

event Unbond:
    by: indexed(address)
    amount: uint256
    release_at: uint256

event Withdraw:
    by: indexed(address)
    amount: uint256

event SlashEquivocation:
    offender: indexed(address)
    by: indexed(address)
    slot: indexed(bytes32)
    staked: uint256  # taken of each bucket
    unbonding: uint256

event Slash:
    offender: indexed(address)
    reporter: indexed(address)
    evidence: indexed(bytes32)
    staked: uint256
    unbonding: uint256

event Commit:
    by: indexed(address)
    epoch: indexed(uint256)
    digest: bytes32

event EndCommits:
    epoch: indexed(uint256)

event Reveal:
    by: indexed(address)
    epoch: indexed(uint256)
    payload: Bytes[MAX_PAYLOAD]

event Emit:
    to: indexed(address)
    epoch: indexed(uint256)
    amount: uint256

MAX_VOUCHERS: constant(uint256) = 128
MAX_PAYMENTS: constant(uint256) = 512
MAX_PAYLOAD: constant(uint256) = 4096
MAX_RECEIPT: constant(uint256) = 1024  # bytes
MAX_UNBONDINGS: constant(uint256) = 8
MAX_CREDITS: constant(uint256) = 2**62
MAX_DELAY: constant(uint256) = 2**30  # seconds
PER_MILLION: constant(uint256) = 10**6
NANO: constant(uint256) = 10**9  # wei
# Of two signatures with the same r, the one with the smaller s counts.
HALF_ORDER: constant(bytes32) = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0

# Where the buckets are in an account's word; `available` is the lowest.
BUCKET: constant(uint256) = 2**64 - 1
ESCROWED: constant(uint256) = 64
STAKED: constant(uint256) = 128
UNBONDING: constant(uint256) = 192
# Where the parts are in a channel's two words: payer, deposit, whether closed; payee, paid, when it may be closed.
PARTY: constant(uint256) = 2**160 - 1
MONEY: constant(uint256) = 160
LAST: constant(uint256) = 224

ID: immutable(bytes32)
ISSUER: immutable(address)
ARBITER: immutable(address)
RULES: immutable(Rules)
TYPES: immutable(Types)
CREATED: immutable(uint256)  # the block before which no event is to be looked for

accounts: HashMap[address, uint256]
channels: HashMap[bytes32, uint256[2]]
unbondings: HashMap[address, uint256[MAX_UNBONDINGS]]  # amount, and from bit 64 on when it may be withdrawn; 0: free
supplied: uint256  # minted, and from bit 128 on burned: both only grow, and are far from 2^128
offences: HashMap[bytes32, bool]  # slots
verdicts: HashMap[bytes32, bool]  # evidence
commits: HashMap[uint256, HashMap[address, bytes32]]
open_epoch: uint256  # the first one that may still be committed for
emitted: HashMap[uint256, bool]


@deploy
def __init__(arbiter: address, rules: Rules, types: Types):
    assert max(rules.withdraw_delay, rules.unbonding) <= MAX_DELAY, "rules"
    assert max(rules.reporter_ppm, rules.burn_ppm) <= PER_MILLION, "rules"
    assert types.receipt_words * 32 <= MAX_RECEIPT, "rules"
    ID = keccak256(concat(convert(chain.id, bytes32), convert(self, bytes32)))
    ISSUER = msg.sender
    ARBITER = arbiter
    RULES = rules
    TYPES = types
    CREATED = block.number


# --- reading ----------------------------------------------------------------------------------------------------------


@external
@view
def about() -> (bytes32, address, address, Rules, Types, uint256):
    return ID, ISSUER, ARBITER, RULES, TYPES, CREATED


@external
@view
def account(owner: address) -> (uint256, uint256, uint256, uint256):
    """
    @return available, escrowed, staked, unbonding
    """
    word: uint256 = self.accounts[owner]
    return word & BUCKET, (word >> ESCROWED) & BUCKET, (word >> STAKED) & BUCKET, word >> UNBONDING


@external
@view
def supply() -> (uint256, uint256):
    """
    @return all that was ever minted, and burned
    """
    return self.supplied & (2**128 - 1), self.supplied >> 128


@external
@view
def channel(id: bytes32) -> (address, address, uint256, uint256, uint256, bool):
    """
    @return payer (zero: there is no such channel), payee, deposit, paid, closes_at, is_closed
    """
    first: uint256 = self.channels[id][0]
    second: uint256 = self.channels[id][1]
    return (
        convert(first & PARTY, address), convert(second & PARTY, address),
        (first >> MONEY) & BUCKET, (second >> MONEY) & BUCKET, second >> LAST, first >> LAST != 0,
    )


# --- money ------------------------------------------------------------------------------------------------------------


@external
@payable
def mint(to: address):
    amount: uint256 = self._paid_in()
    self._credit(to, amount)
    log Mint(to=to, by=msg.sender, amount=amount)


@external
@nonreentrant
def redeem(amount: uint256):
    """
    @notice Burn credits, and get what was paid in for them
    """
    self._debit(msg.sender, amount, 0)
    self._burn(amount)
    log Redeem(by=msg.sender, amount=amount)
    assert raw_call(msg.sender, b"", value=amount * NANO, revert_on_failure=False), "payee"


@external
def burn(amount: uint256):
    self._debit(msg.sender, amount, 0)
    self._burn(amount)
    log Burn(by=msg.sender, amount=amount)


@external
def transfer(to: address, amount: uint256):
    self._debit(msg.sender, amount, 0)
    self._credit(to, amount)
    log Transfer(by=msg.sender, to=to, amount=amount)


# --- channels ---------------------------------------------------------------------------------------------------------


@external
def open_channel(payee: address, amount: uint256, salt: bytes32) -> bytes32:
    id: bytes32 = keccak256(concat(ID, convert(msg.sender, bytes20), convert(payee, bytes20), salt))
    assert payee != empty(address), "address"
    assert self.channels[id][0] == 0, "exists"
    self._debit(msg.sender, amount, ESCROWED)
    self.channels[id][0] = convert(msg.sender, uint256) | (amount << MONEY)
    self.channels[id][1] = convert(payee, uint256)
    log OpenChannel(by=msg.sender, payee=payee, channel=id, amount=amount, salt=salt)
    return id


@external
def top_up(id: bytes32, amount: uint256):
    first: uint256 = self._own(id)
    second: uint256 = self.channels[id][1]
    self._debit(msg.sender, amount, ESCROWED)
    self.channels[id][0] = first + (amount << MONEY)
    if second >> LAST != 0:
        self.channels[id][1] = second & (2**LAST - 1)
    log TopUp(by=msg.sender, payee=convert(second & PARTY, address), channel=id, amount=amount)


@external
def settle(vouchers: DynArray[Voucher, MAX_VOUCHERS]):
    burned: uint256 = 0
    for voucher: Voucher in vouchers:
        first: uint256 = self._open(voucher.channel)
        second: uint256 = self.channels[voucher.channel][1]
        payer: address = convert(first & PARTY, address)
        payee: address = convert(second & PARTY, address)
        paid: uint256 = (second >> MONEY) & BUCKET
        assert voucher.amount <= (first >> MONEY) & BUCKET, "over deposit"
        assert voucher.amount > paid, "stale"
        members: bytes32 = keccak256(
            abi_encode(TYPES.voucher, ID, voucher.channel, voucher.amount, voucher.receipt)
        )
        assert self._signer(members, voucher.r, voucher.vs) == payer, "not signed"
        worth: uint256 = unsafe_sub(voucher.amount, paid)
        cut: uint256 = unsafe_div(unsafe_mul(worth, RULES.burn_ppm), PER_MILLION)
        burned = unsafe_add(burned, cut)
        self.channels[voucher.channel][1] = unsafe_add(second, worth << MONEY)
        self.accounts[payer] -= worth << ESCROWED
        self.accounts[payee] += unsafe_sub(worth, cut)
        log Settle(
            payer=payer, payee=payee, channel=voucher.channel, by=msg.sender, amount=worth, receipt=voucher.receipt
        )
    if burned != 0:
        self._burn(burned)


@external
def release(id: bytes32):
    first: uint256 = self._open(id)
    second: uint256 = self.channels[id][1]
    assert convert(second & PARTY, address) == msg.sender, "not payee"
    log Release(
        payer=convert(first & PARTY, address), by=msg.sender, channel=id, amount=self._close(id, first, second)
    )


@external
def request_close(id: bytes32):
    first: uint256 = self._own(id)
    second: uint256 = self.channels[id][1]
    assert second >> LAST == 0, "requested"
    closes_at: uint256 = block.timestamp + RULES.withdraw_delay
    self.channels[id][1] = second | (closes_at << LAST)
    log RequestClose(by=msg.sender, payee=convert(second & PARTY, address), channel=id, closes_at=closes_at)


@external
def close(id: bytes32):
    first: uint256 = self._own(id)
    second: uint256 = self.channels[id][1]
    assert second >> LAST != 0, "not requested"
    assert block.timestamp >= second >> LAST, "too early"
    log Close(
        by=msg.sender, payee=convert(second & PARTY, address), channel=id, amount=self._close(id, first, second)
    )


# --- stake ------------------------------------------------------------------------------------------------------------


@external
def bond(amount: uint256):
    self._debit(msg.sender, amount, STAKED)
    log Bond(by=msg.sender, amount=amount)


@external
def unbond(amount: uint256):
    word: uint256 = self.accounts[msg.sender]
    assert amount != 0, "amount"
    assert amount <= (word >> STAKED) & BUCKET, "no stake"
    self.accounts[msg.sender] = word - (amount << STAKED) + (amount << UNBONDING)
    release_at: uint256 = block.timestamp + RULES.unbonding
    for index: uint256 in range(MAX_UNBONDINGS):
        if self.unbondings[msg.sender][index] == 0:
            self.unbondings[msg.sender][index] = amount | (release_at << 64)
            log Unbond(by=msg.sender, amount=amount, release_at=release_at)
            return
    raise "unbondings"


@external
def withdraw() -> uint256:
    word: uint256 = self.accounts[msg.sender]
    amount: uint256 = self._take_unbonding(msg.sender, word >> UNBONDING, BUCKET, block.timestamp)
    if amount != 0:
        self.accounts[msg.sender] = word - (amount << UNBONDING) + amount
        log Withdraw(by=msg.sender, amount=amount)
    return amount


@external
def slash_equivocation(
    first: Bytes[MAX_RECEIPT], second: Bytes[MAX_RECEIPT], signatures: uint256[4]
) -> uint256:
    """
    @param first  words of a receipt, as they are hashed; `second` likewise
    @param signatures  r, vs of the first; r, vs of the second
    """
    assert len(first) == TYPES.receipt_words * 32 and len(second) == len(first), "receipt"
    first_hash: bytes32 = keccak256(concat(TYPES.receipt, first))
    second_hash: bytes32 = keccak256(concat(TYPES.receipt, second))
    slot: bytes32 = self._slot(first)
    assert first_hash != second_hash and slot == self._slot(second), "no equivocation"
    offender: address = self._signer(first_hash, signatures[0], signatures[1])
    peer: bytes32 = extract32(first, TYPES.peer * 32)
    assert convert(offender, bytes32) == peer, "not signed"
    assert self._signer(second_hash, signatures[2], signatures[3]) == offender, "not signed"
    assert not self.offences[slot], "done"
    self.offences[slot] = True
    staked: uint256 = 0
    unbonding: uint256 = 0
    staked, unbonding = self._slash(offender, BUCKET, msg.sender)
    log SlashEquivocation(offender=offender, by=msg.sender, slot=slot, staked=staked, unbonding=unbonding)
    return staked + unbonding


@external
def slash(offender: address, amount: uint256, reporter: address, evidence: bytes32) -> uint256:
    assert msg.sender == ARBITER, "not arbiter"
    assert reporter != empty(address), "address"
    assert amount != 0, "amount"
    assert not self.verdicts[evidence], "done"
    self.verdicts[evidence] = True
    staked: uint256 = 0
    unbonding: uint256 = 0
    staked, unbonding = self._slash(offender, amount, reporter)
    log Slash(offender=offender, reporter=reporter, evidence=evidence, staked=staked, unbonding=unbonding)
    return staked + unbonding


# --- epochs -----------------------------------------------------------------------------------------------------------


@external
def commit(epoch: uint256, digest: bytes32):
    assert epoch >= self.open_epoch, "commits ended"
    assert digest != empty(bytes32), "payload"
    assert self.commits[epoch][msg.sender] == empty(bytes32), "committed"
    self.commits[epoch][msg.sender] = digest
    log Commit(by=msg.sender, epoch=epoch, digest=digest)


@external
def end_commits(epoch: uint256):
    assert msg.sender == ISSUER, "not issuer"
    assert epoch >= self.open_epoch, "commits ended"
    self.open_epoch = epoch + 1
    log EndCommits(epoch=epoch)


@external
def reveal(epoch: uint256, payload: Bytes[MAX_PAYLOAD]):
    assert epoch < self.open_epoch, "commits open"
    assert self.commits[epoch][msg.sender] == keccak256(payload), "payload"
    self.commits[epoch][msg.sender] = empty(bytes32)
    log Reveal(by=msg.sender, epoch=epoch, payload=payload)


@external
@payable
def emit(epoch: uint256, payments: DynArray[Payment, MAX_PAYMENTS]):
    assert msg.sender == ISSUER, "not issuer"
    assert not self.emitted[epoch], "emitted"
    self.emitted[epoch] = True
    rest: uint256 = self._paid_in()
    for payment: Payment in payments:
        assert payment.amount <= rest, "value"
        rest = unsafe_sub(rest, payment.amount)
        assert payment.to != empty(address), "address"
        self.accounts[payment.to] += payment.amount
        log Emit(to=payment.to, epoch=epoch, amount=payment.amount)
    assert rest == 0, "value"


# --- inside -----------------------------------------------------------------------------------------------------------


@internal
@payable
def _paid_in() -> uint256:
    amount: uint256 = msg.value // NANO
    assert amount * NANO == msg.value, "gwei"
    supplied: uint256 = self.supplied + amount
    assert supplied & (2**128 - 1) <= MAX_CREDITS + (supplied >> 128), "too much"
    self.supplied = supplied
    return amount


@internal
def _burn(amount: uint256):
    self.supplied += amount << 128


@internal
def _credit(owner: address, amount: uint256):
    assert owner != empty(address), "address"
    assert amount != 0, "amount"
    self.accounts[owner] += amount


@internal
def _debit(owner: address, amount: uint256, bucket: uint256):
    """
    @param bucket  where it goes within the account; 0: out of it
    """
    word: uint256 = self.accounts[owner]
    assert amount != 0, "amount"
    assert amount <= word & BUCKET, "not covered"
    if bucket != 0:
        word += amount << bucket
    self.accounts[owner] = word - amount


@internal
@view
def _open(id: bytes32) -> uint256:
    """
    @return the channel's first word
    """
    first: uint256 = self.channels[id][0]
    assert first != 0, "unknown"
    assert first >> LAST == 0, "closed"
    return first


@internal
@view
def _own(id: bytes32) -> uint256:
    """
    @return the first word of a channel that the sender pays from
    """
    first: uint256 = self._open(id)
    assert convert(first & PARTY, address) == msg.sender, "not payer"
    return first


@internal
def _close(id: bytes32, first: uint256, second: uint256) -> uint256:
    """
    @return what the payer got back
    """
    rest: uint256 = ((first >> MONEY) & BUCKET) - ((second >> MONEY) & BUCKET)
    payer: address = convert(first & PARTY, address)
    self.channels[id][0] = first | (1 << LAST)
    self.accounts[payer] = self.accounts[payer] - (rest << ESCROWED) + rest
    return rest


@internal
def _slash(offender: address, most: uint256, reporter: address) -> (uint256, uint256):
    """
    @return what was taken of stake, and of what is unbonding
    """
    word: uint256 = self.accounts[offender]
    staked: uint256 = min((word >> STAKED) & BUCKET, most)
    unbonding: uint256 = min(word >> UNBONDING, most - staked)
    assert staked + unbonding != 0, "no stake"
    self.accounts[offender] = word - (staked << STAKED) - (unbonding << UNBONDING)
    self._take_unbonding(offender, word >> UNBONDING, unbonding, max_value(uint256))
    reward: uint256 = (staked + unbonding) * RULES.reporter_ppm // PER_MILLION
    self.accounts[reporter] += reward
    self._burn(staked + unbonding - reward)
    return staked, unbonding


@internal
def _take_unbonding(owner: address, total: uint256, most: uint256, until: uint256) -> uint256:
    """
    @notice Take what is free first, and may be by `until`; what stays moves up, so it is in the order of its times
    @param total  of all entries
    @return how much, at most `most`
    """
    left: uint256 = total  # in entries that have not been looked at
    taken: uint256 = 0
    kept: uint256 = 0
    for index: uint256 in range(MAX_UNBONDINGS):
        if left == 0:
            break
        entry: uint256 = self.unbondings[owner][index]
        amount: uint256 = entry & BUCKET
        left -= amount
        part: uint256 = min(amount, most - taken) if entry >> 64 <= until else 0
        taken += part
        if part == amount or kept != index:
            self.unbondings[owner][index] = 0
        if part != amount:
            if part != 0 or kept != index:
                self.unbondings[owner][kept] = entry - part
            kept += 1
    return taken


@internal
@view
def _slot(words: Bytes[MAX_RECEIPT]) -> bytes32:
    return keccak256(
        abi_encode(
            extract32(words, TYPES.peer * 32), extract32(words, TYPES.session * 32),
            extract32(words, TYPES.start * 32), extract32(words, TYPES.attempt * 32),
            extract32(words, TYPES.index * 32),
        )
    )


@internal
@view
def _signer(members: bytes32, r: uint256, vs: uint256) -> address:
    s: uint256 = vs & (2**255 - 1)
    assert s <= convert(HALF_ORDER, uint256), "signature"
    signer: address = ecrecover(keccak256(concat(b"\x19\x01", TYPES.domain, members)), (vs >> 255) + 27, r, s)
    assert signer != empty(address), "signature"
    return signer
