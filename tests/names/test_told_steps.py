"""Steps as users write them: csv, json and mappings; wrong ones are refused in a sentence."""

from pathlib import Path

import pytest

from dvis.names import Told, check_told, chosen, read_told

GOOD = {
    "header.csv": "name,step,epoch\na.pth,100,1\nb.pth,2e3,\n",
    "bare.csv": "a.pth,100,1\n\nb.pth, 2000\n",
    "tabs.csv": "checkpoint\tstep\tepoch\na.pth\t100\t1\nb.pth\t2000\n",
    "bom.csv": "\ufeffname,epoch,step\r\na.pth,1,100\r\nb.pth,,2000\r\n",
    "object.json": '{"a.pth": {"step": 100, "epoch": 1}, "b.pth": 2000}',
    "rows.json": '[{"name": "a.pth", "step": 100, "epoch": 1}, {"name": "b.pth", "step": 2000}]',
}
WRONG = {
    "twice.csv": ("a,1\na,2", "names 'a' twice"),
    "twice.json": ('{"a": 1, "a": 2}', "names 'a' twice"),
    "word.csv": ("name,step\na,soon", "the step of 'a' is 'soon'; it must be a whole number"),
    "half.json": ('{"a": 1.5}', "the step of 'a' is 1.5"),
    "negative.csv": ("a,-1", "the step of 'a' is '-1'"),
    "truth.json": ('{"a": true}', "the step of 'a' is True"),
    "long.csv": ("a,1,2,3", "is no row of steps. Write name,step"),
    "short.csv": ("a", "is no row of steps"),
    "empty.csv": ("", "tells no steps"),
    "header_only.csv": ("name,step\n", "tells no steps"),
    "other.csv": ("name,loss\na,3", "tells no step of 'a'"),
    "damaged.json": ("{", "cannot be read as steps"),
    "list.json": ("[1]", "is no row of steps"),
}


@pytest.mark.parametrize("name", GOOD)
def test_files_of_steps_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(GOOD[name], encoding="utf-8", newline="")
    assert read_told(path) == {"a.pth": Told(100, 1), "b.pth": Told(2000)}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_of_steps_are_refused(name: str, tmp_path: Path) -> None:
    content, said = WRONG[name]
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=said) as error:
        read_told(str(path))
    assert "\n" not in str(error.value)


def test_what_is_no_text_and_what_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="cannot be read as steps"):
        read_told(path)
    with pytest.raises(FileNotFoundError, match=r"No file none.csv"):
        read_told("none.csv")


def test_names_that_are_not_there_are_told_with_those_that_are() -> None:
    told = read_told({"epoch_1.pt": 1, "epoch_3.pt": 3})
    with pytest.raises(ValueError, match=r"No checkpoint 'epoch_3.pt' in the run.*Did you mean"):
        check_told(told, ["epoch_1.pt", "epoch_2.pt"], "the run")


def test_patterns_choose_and_one_that_fits_nothing_is_refused() -> None:
    labels = ["epoch_1.pt", "epoch_2.pt", "best.pt"]
    assert chosen(labels, ["best*", "*_1.*"]) == ["epoch_1.pt", "best.pt"]
    assert chosen(labels, []) == labels
    with pytest.raises(ValueError, match=r"like 'step_\*'; there are: epoch_1.pt, epoch_2.pt"):
        chosen(labels, ["best*", "step_*"])
