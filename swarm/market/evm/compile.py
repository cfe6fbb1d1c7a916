"""Compile the contract: `make contract`. Needs Vyper, which is in the extra `dev`."""

import json

import vyper
from vyper.compiler.settings import OptimizationLevel, Settings

from swarm.market.evm.artifact import ARTIFACT, SOURCE, source_digest

# It is deployed once, and used ever after: fast rather than short.
_SETTINGS = Settings(optimize=OptimizationLevel.GAS)


def compiled() -> dict[str, object]:
    """What ARTIFACT should hold."""
    output = vyper.compile_code(SOURCE.read_text(), output_formats=["abi", "bytecode"], settings=_SETTINGS)
    return {"compiler": f"vyper {vyper.__version__}", "source": source_digest(), **output}


def main() -> None:
    ARTIFACT.write_text(json.dumps(compiled(), indent=1) + "\n")
    print(f"wrote {ARTIFACT}")


if __name__ == "__main__":
    main()
