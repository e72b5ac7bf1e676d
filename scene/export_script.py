"""What the other Blender runs for `export_apart`: makes the extension importable there, where it is not enabled."""

import importlib.util
import sys
from pathlib import Path

NAME = "pantomime"
ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location(NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None and spec.loader is not None
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])
    work = importlib.import_module(f"{NAME}.scene.export_apart").work
    work(sys.argv[sys.argv.index("--") + 1])
