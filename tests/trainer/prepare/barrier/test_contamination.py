"""Rows that quote each other at length."""

from __future__ import annotations

from pathlib import Path

from finetune_trainer.prepare.barrier.contamination import COMMON, Contamination
from finetune_trainer.prepare.barrier.grams import text_grams


def words(name: str, count: int) -> str:
    return " ".join(f"{name}{number}" for number in range(count))


def check(folder: Path, measured: list[str], train: list[str]) -> Contamination:
    return Contamination(
        text_grams(enumerate(measured), None),
        lambda known: text_grams(enumerate(train), known),
        expected=len(measured),
        folder=folder / "c",
    )


def test_a_measured_row_that_train_quotes_is_found(tmp_path: Path) -> None:
    measured = [words("a", 40), words("b", 40), words("c", 12)]
    train = [words("x", 50) + " " + words("a", 40).upper() + " " + words("y", 50), words("c", 12), words("z", 99)]
    found = check(tmp_path, measured, train)
    assert found.measured_rows().tolist() == [0]
    assert found.train_rows().tolist() == [0]


def test_half_of_a_row_is_enough_and_less_is_not(tmp_path: Path) -> None:
    text = words("a", 52)  # forty sequences of 13
    parts = text.split()
    for shared, expected in [(32, [0]), (31, [])]:  # twenty of them, nineteen
        found = check(tmp_path / str(shared), [text], [" ".join(parts[:shared])])
        assert found.measured_rows().tolist() == expected
        assert found.train_rows().tolist() == expected


def test_pieces_in_several_train_rows_count_together_against_the_measured_row_only(tmp_path: Path) -> None:
    parts = words("a", 60).split()
    found = check(tmp_path, [" ".join(parts)], [" ".join(parts[:30]), " ".join(parts[30:])])
    assert found.measured_rows().tolist() == [0]
    assert found.train_rows().tolist() == []


def test_phrases_of_the_whole_data_are_no_contamination(tmp_path: Path) -> None:
    instruction = words("instruction", 40)
    measured = [f"{instruction} {words('mine', 20)}", instruction]
    train = [f"{instruction} {words(f'row{number}x', 20)}" for number in range(COMMON + 1)]
    found = check(tmp_path / "many", measured, train)
    assert found.measured_rows().tolist() == []
    few = check(tmp_path / "few", measured, train[:COMMON])
    assert few.measured_rows().tolist() == [0, 1]


def test_rows_without_13_words_have_nothing_to_be_found_by(tmp_path: Path) -> None:
    found = check(tmp_path, [words("a", 12)], [words("a", 12)])
    assert found.measured_rows().tolist() == found.train_rows().tolist() == []
    nothing = check(tmp_path / "nothing", [], [])
    assert nothing.measured_rows().tolist() == nothing.train_rows().tolist() == []


def test_a_long_row_is_judged_by_a_sample_of_its_sequences(tmp_path: Path) -> None:
    long = words("a", 5000)
    half = " ".join(long.split()[:4000])
    quarter = " ".join(long.split()[:1000])
    assert check(tmp_path / "half", [long], [half]).measured_rows().tolist() == [0]
    assert check(tmp_path / "quarter", [long], [quarter]).measured_rows().tolist() == []
