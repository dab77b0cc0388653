"""The story of the demo: sentences of docs/concepts/demo.md are computed, and true of stores."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
STORES = ROOT / "demo" / "stores"


@pytest.fixture(scope="module")
def story() -> ModuleType:
    spec = importlib.util.spec_from_file_location("story", ROOT / "scripts" / "story.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["story"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_page_tells_each_claim(story: ModuleType) -> None:
    page = re.sub(r"\s+", " ", (ROOT / "docs" / "concepts" / "demo.md").read_text())
    assert [claim.text for claim in story.CLAIMS if claim.text not in page] == []


@pytest.mark.skipif(not STORES.is_dir(), reason="`make demo` was not run")
def test_each_claim_is_true_of_the_demo(story: ModuleType) -> None:
    told = list(story.told(story.Demo.of(STORES)))
    assert [(claim.text, figures) for claim, holds, figures in told if not holds] == []
