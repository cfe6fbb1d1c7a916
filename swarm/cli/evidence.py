"""`python -m swarm evidence`: what clients wrote down against peers, examined by computing it again."""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TypedDict

import torch

from swarm import shown
from swarm.cli.parsers.evidence import make_parser
from swarm.cli.support.exits import DONE, REFUTED
from swarm.cli.support.kept import find_kept
from swarm.cli.support.terminal import print_table, run
from swarm.errors import InvalidRequest, SwarmError, UnusableFile
from swarm.home import digests_folder, evidence_folder, standing_file, thresholds_folder
from swarm.home.folder import check_home
from swarm.model.checkpoint import open_checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.program import command
from swarm.storage.outputs import output
from swarm.verify.audit.expert import Expert
from swarm.verify.audit.judging.accumulated import ALARM
from swarm.verify.audit.judging.judgement import Verdict
from swarm.verify.fraud.evidence import Bundle
from swarm.verify.fraud.examination import Finding, Sentence, examine, read_bundle, sentence
from swarm.verify.fraud.proofs import AUDIT, Proof, read_proof
from swarm.verify.reputation.file import read_proofs
from swarm.wire.peer_names import short_id


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, lambda args: _COMMANDS[args.verb](args))


# --- what is kept here ---------------------------------------------------------------------------------------------


class _Claims(TypedDict):
    """What evidence says it is about, as JSON has it."""

    accused: str
    accuser: str
    model: str
    revision: str
    blocks: tuple[int, int]
    positions: tuple[int, int]
    format: str
    numerics: str
    weights: str
    session: str
    time_ms: int


def _list(args: argparse.Namespace) -> None:
    check_home()
    files = {str(path): _look_into(path) for path in sorted(evidence_folder().glob("*.evidence"))}
    proofs = [{"accused": accused, "kind": kind} for accused, (kind, _) in read_proofs(standing_file()).items()]
    if args.json:
        found = [{"file": file, **_listed(one)} for file, one in files.items()]
        print(json.dumps({"files": found, "proofs": proofs}))
        return
    if not files and not proofs:
        print(f"No evidence in {evidence_folder()}, and nobody convicted.")
    if files:
        rows = [_in_words(file, one) for file, one in files.items()]
        print_table(("file", "accused", "about", "model", "computed"), rows)
    if proofs:
        print_table(("convicted", "of"), [(one["accused"], one["kind"]) for one in proofs])


def _listed(one: _Claims | SwarmError) -> dict[str, object]:
    return {"error": str(one)} if isinstance(one, SwarmError) else {"error": "", **one}


def _in_words(file: str, one: _Claims | SwarmError) -> tuple[str, ...]:
    if isinstance(one, SwarmError):
        return file, "", str(one), "", ""
    return file, short_id(one["accused"]), _about(one), repr(one["model"])[:60], _local(one["time_ms"])


def _look_into(path: Path) -> _Claims | SwarmError:
    """What a file says it is about, nothing of it computed again; or why it cannot be read."""
    try:
        return _claims(read_bundle(path))
    except SwarmError as error:
        return error


def _claims(bundle: Bundle) -> _Claims:
    case = bundle.case
    return {
        "accused": case.peer_id,
        "accuser": bundle.accuser,
        "model": bundle.model,
        "revision": bundle.revision,
        "blocks": (case.terms.start, case.terms.stop),
        "positions": (case.first, case.stop),
        "format": case.terms.format,
        "numerics": case.terms.numerics_id,
        "weights": case.terms.weights.hex(),
        "session": case.terms.session.hex(),
        "time_ms": case.segment[0].receipt.time_ms,
    }


def _about(claims: _Claims) -> str:
    (start, stop), (first, last) = claims["blocks"], claims["positions"]
    return f"blocks {start}:{stop}, positions {first}:{last}"


def _local(time_ms: int) -> str:
    with suppress(ValueError, OverflowError, OSError):  # whatever the peer's clock says
        return datetime.fromtimestamp(time_ms / 1000).isoformat(" ", "seconds")
    return "?"


def _save(args: argparse.Namespace) -> None:
    proofs = {accused: proof for accused, (_, proof) in read_proofs(standing_file()).items()}
    data = proofs[find_kept(args.peer, proofs, "that was convicted here")]
    try:
        Proof.decode(data)
    except InvalidRequest as error:  # then it is the digest of the evidence
        raise InvalidRequest(
            f"the conviction of peer {args.peer} rests on a file of evidence, which is to be handed on as it is; see "
            "the list"
        ) from error
    try:
        with output(args.out) as file:
            file.write(data)
    except OSError as error:
        raise SwarmError(f"the proof cannot be written to {args.out}: {error.strerror}") from error
    if args.json:
        print(json.dumps({"file": str(args.out)}))


# --- computing it again --------------------------------------------------------------------------------------------


def _examine(args: argparse.Namespace) -> int:
    expert, findings = make_expert(args), []
    for path in args.files:
        findings.append(examine_file(expert, path))
        if not args.json:
            _print(path, findings[-1])
    sentences = sentence(findings)
    if args.json:
        files = [_as_json(path, finding) for path, finding in zip(args.files, findings, strict=True)]
        print(json.dumps({"files": files, "peers": [_sum_up(one) for one in sentences]}))
    else:
        print(*map(conclusion, sentences), sep="\n")
    return DONE if all(one.convicts for one in sentences) else REFUTED


def make_expert(args: argparse.Namespace) -> Expert:
    """By --model, --revision and --threads. Raises ModelError, InvalidRequest."""
    threads = args.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    return Expert(open_checkpoint(args.model, args.revision), thresholds_folder(), threads)


def examine_file(expert: Expert, path: Path) -> Finding:
    """Raises SwarmError that names the file."""
    try:
        return examine(read_bundle(path), expert, DigestCache(digests_folder()))
    except SwarmError as error:
        raise type(error)(f"{path}: {error}") from error


def _print(path: Path, finding: Finding) -> None:
    claims, judgement = _claims(finding.bundle), finding.judgement
    print(
        f"{path}\n"
        f"  accused    {claims['accused']}\n"
        f"  by         {claims['accuser']}\n"
        f"  announced  {claims['format']} of {claims['model']!r:.60}, numerics {claims['numerics'] or 'not promised'}\n"
        f"  about      {_about(claims)}, computed {_local(claims['time_ms'])}\n"
        f"  found      {judgement.verdict.name}, {judgement.reason} ({judgement.method})\n"
        f"  limits     {_limits(finding)}\n"
    )


def _limits(finding: Finding) -> str:
    """Where the line between honest and not comes from."""
    if finding.judgement.method == "exact":
        return "none: the same numerics promise the same bits"
    made_by = finding.thresholds.provenance
    advice = f"; for this model's own: {command('calibrate')}" if made_by.revision != finding.bundle.revision else ""
    return f"measured on {made_by.model!r}, {made_by.trials:,} honest windows, {made_by.date}{advice}"


def _as_json(path: Path, finding: Finding) -> dict[str, object]:
    judgement = finding.judgement
    return {
        "file": str(path),
        **_claims(finding.bundle),
        "verdict": judgement.verdict.name,
        "method": judgement.method,
        "statistic": judgement.statistic if math.isfinite(judgement.statistic) else None,
        "reason": judgement.reason,
        "limits": asdict(finding.thresholds.provenance),
    }


def conclusion(one: Sentence) -> str:
    """In one line."""
    count = len(one.findings)
    what = f"{shown.count(count, 'piece')} of evidence"
    if not one.convicts:
        return f"NOT CONVICTED: peer {one.accused}. {what}: {one.accumulated}."
    if failed := sum(finding.judgement.verdict == Verdict.FAIL for finding in one.findings):
        return f"CONVICTED: peer {one.accused}. {what}, of which {failed} convict alone."
    proviso = "provided that no audits that it passed were left out"
    return f"CONVICTED: peer {one.accused}. {what}: {one.accumulated}, {proviso}."


def _sum_up(one: Sentence) -> dict[str, object]:
    return {
        "peer_id": one.accused,
        "convicted": one.convicts,
        "counted": len(one.findings),
        "nats": one.accumulated.score,
        "alarm": ALARM,
        "conclusion": conclusion(one),
    }


# --- proofs --------------------------------------------------------------------------------------------------------


def _proof(args: argparse.Namespace) -> None:
    proof = _read_proof(args.file)
    if args.json:
        print(json.dumps({"kind": proof.kind, "accused": proof.accused, "witnesses": proof.witnesses}))
        return
    rows = [
        (one.peer_id, f"{one.blocks[0]}:{one.blocks[1]}", f"{one.receipt.position}:{one.receipt.stop_position}",
         one.receipt.outputs.hex()[:16])
        for one in proof.receipts
    ]  # fmt: skip
    print_table(("signed by", "blocks", "positions", "outputs"), rows)
    rests = f", by the word of {len(proof.witnesses)} other peers" if proof.kind == AUDIT else ", by its own signatures"
    print(f"CONVICTED: peer {proof.accused} of {proof.kind}{rests}.")


def _read_proof(path: Path) -> Proof:
    try:
        return read_proof(path)
    except UnusableFile:
        raise
    except InvalidRequest as error:
        raise UnusableFile(f"{path}: {error}") from error


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int | None]] = {
    "list": _list, "examine": _examine, "proof": _proof, "save": _save,
}  # fmt: skip
