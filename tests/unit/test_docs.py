"""The documents are true: settings are listed as they are, code in them runs, links lead somewhere."""

import ast
import re
from pathlib import Path

import pytest

from edgescale.config import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[2]
SETTINGS = Settings.model_fields
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def rendered(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={number}" for name, number in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    defaults = {name: rendered(field.get_default(call_default_factory=True)) for name, field in SETTINGS.items()}
    shown = {name: f"`{default}`" if default else "" for name, default in defaults.items()}
    rows = [f"| `{ENV_PREFIX}{name.upper()}` | {shown[name]} | {SETTINGS[name].description} |" for name in SETTINGS]
    documented = (ROOT / "docs" / "configuration.md").read_text().splitlines()

    assert [row for row in documented if row.startswith(f"| `{ENV_PREFIX}")] == rows


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text())

    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_in_documents_compiles_and_its_imports_exist(document: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
        tree = ast.parse(block)
        imports: list[ast.stmt] = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), str(document), "exec"), {})  # noqa: S102 - our own documents
