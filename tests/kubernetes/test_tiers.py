"""A run says what it left out, and CI does not accept that anything was."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiers

pytest_plugins = ["pytester"]

TESTS = Path(__file__).parents[1]


def test_a_test_without_fixtures_of_a_tier_needs_no_marker() -> None:
    assert tiers.misplaced("t", [], {"tmp_path"}) is None


def test_a_test_names_the_tier_of_each_fixture_it_takes() -> None:
    assert tiers.misplaced("t", ["s3"], {"s3_server", "api_server"}) == (
        "t: uses the tier 'api', mark it @pytest.mark.tier(\"api\")"
    )


def test_the_control_plane_has_an_api_server() -> None:
    assert tiers.misplaced("t", ["controlplane"], {"api_server", "control_plane"}) is None


def test_a_tier_that_is_not_used_is_not_named() -> None:
    assert tiers.misplaced("t", ["s3"], set()) == "t: is marked with the tier 's3' but takes no fixture of it"


def test_a_tier_is_one_of_those_that_exist() -> None:
    assert tiers.misplaced("t", ["gpu"], set()) == (f"t: unknown tier 'gpu', one of {', '.join(tiers.TIERS)}")


def test_the_last_line_counts_each_reason_once() -> None:
    assert tiers.skip_line(["no Go", "no GPU", "no Go"]) == "3 skipped: 2 × no Go; 1 × no GPU"


def _run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str) -> pytest.RunResult:
    monkeypatch.setenv("CI", ci)
    pytester.makeconftest((TESTS / "conftest.py").read_text())
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester.runpytest_inprocess("--verbose", f"--override-ini=pythonpath={TESTS / 'kit'}")


def test_a_skip_is_the_last_line_of_a_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile("import pytest\ndef test_it(): pytest.skip('no Go')\ndef test_other(): pass")
    result = _run(pytester, monkeypatch, ci="")
    assert (result.ret, result.outlines[-1]) == (pytest.ExitCode.OK, "1 skipped: 1 × no Go")


def test_a_skip_fails_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.skip('later')\ndef test_it(): pass\ndef test_other(): pass")
    result = _run(pytester, monkeypatch, ci="true")
    assert (result.ret, result.outlines[-1]) == (pytest.ExitCode.TESTS_FAILED, "1 skipped: 1 × later")


def test_a_skipped_module_fails_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(
        test_one="def test_it(): pass", test_two="import pytest\npytest.importorskip('not_installed_anywhere')"
    )
    result = _run(pytester, monkeypatch, ci="true")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.outlines[-1].startswith("1 skipped: 1 × could not import 'not_installed_anywhere'")


def test_a_run_without_skips_says_so(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = _run(pytester, monkeypatch, ci="true")
    assert (result.ret, result.outlines[-1]) == (pytest.ExitCode.OK, "nothing was skipped")


def test_a_fixture_without_its_marker_is_refused(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile("def test_it(s3_server): pass")
    result = _run(pytester, monkeypatch, ci="")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*uses the tier 's3', mark it @pytest.mark.tier(\"s3\")"])


def test_dear_tests_come_last(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.tier("s3")
        def test_dear(s3_server): pass
        def test_cheap(): pass
        """
    )
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(pytester.path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    result = _run(pytester, monkeypatch, ci="")
    result.stdout.fnmatch_lines(["*::test_cheap PASSED*", "*::test_dear SKIPPED*"])
    assert result.outlines[-1] == (
        "1 skipped: 1 × versitygw is not in the cache and there is no Go on PATH to build it with"
    )
