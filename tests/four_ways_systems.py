"""The systems of benchmarks/four_ways, each said in several ways."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent.parent / "benchmarks" / "four_ways"


def _loaded() -> list[Any]:
    """The systems, which the benchmarks also run."""
    spec = importlib.util.spec_from_file_location(
        "four_ways", _FOLDER / "__init__.py", submodule_search_locations=[str(_FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["four_ways"] = package
    spec.loader.exec_module(package)
    return package.SYSTEMS


SYSTEMS = _loaded()
