"""The doctor: what is missing is named with the line that installs it."""

from __future__ import annotations

import pytest

from rs_platform import doctor
from rs_platform.doctor import PROGRAMS, Finding, disk, program, report, system_packages, version_in

BY_NAME = {entry.name: entry for entry in PROGRAMS}
GIB = 2**30


@pytest.mark.parametrize(
    ("name", "answer", "found", "remedy"),
    [
        ("go", "go version go1.26.8 linux/amd64", "1.26.8", ""),
        ("go", "go version go1.22.1 linux/amd64", "1.22.1, older than 1.25", "https://go.dev/doc/install"),
        ("go", "", "not found", "https://go.dev/doc/install"),
        ("java", 'openjdk version "17.0.15" 2025-04-15', "17.0.15", ""),
        ("java", 'openjdk version "11.0.2"', "11.0.2, older than 17", "openjdk-17-jre-headless"),
        ("mvn", "\x1b[1mApache Maven 3.8.7\x1b[m", "3.8.7", ""),
        ("mvn", "", "not found", "apt-get install maven"),
        ("node", "v20.20.2", "20.20.2", ""),
        ("node", "v16.1.0", "16.1.0, older than 18", "apt-get install nodejs"),
        ("npm", "", "not found", "apt-get install npm"),
    ],
)
def test_programs(name: str, answer: str, found: str, remedy: str) -> None:
    finding = program(BY_NAME[name], lambda _: answer)
    assert finding.found == found
    assert finding.ok == (remedy == "")
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("missing", "is_root", "has", "ok", "told"),
    [
        ((), False, set[str](), True, "all there"),
        (("chromium",), True, {"apt-get"}, True, "apt-get will install chromium"),
        (("chromium",), False, {"apt-get", "sudo"}, True, "apt-get will install chromium"),
        (("chromium",), False, {"apt-get"}, False, "as root: apt-get install chromium"),
        (("postgresql-postgis",), False, {"apt-get"}, False, "apt-get install postgresql postgresql-postgis"),
        (("chromium",), True, set[str](), False, "no apt-get here"),
    ],
)
def test_system_packages(missing: tuple[str, ...], is_root: bool, has: set[str], ok: bool, told: str) -> None:
    finding = system_packages(missing, is_root=is_root, found=lambda name: name if name in has else None)
    assert finding.ok is ok
    assert told in f"{finding.found}; {finding.remedy}"


@pytest.mark.parametrize(("free", "ok"), [(100 * GIB, True), (8 * GIB, True), (7 * GIB, False), (0, False)])
def test_disk(free: int, ok: bool) -> None:
    assert disk(free, "/somewhere").ok is ok


@pytest.mark.parametrize(
    ("answer", "version"), [("v18.1", (18, 1)), ("go1.25", (1, 25)), ("a 1.2.3.4 b", (1, 2, 3)), ("none", None)]
)
def test_versions(answer: str, version: tuple[int, ...] | None) -> None:
    assert version_in(answer) == version


def test_the_report_ends_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([Finding("go", "1.26"), Finding("mvn", "not found", "apt-get install maven")]) == 1
    assert capsys.readouterr().out.splitlines()[-1].strip() == "mvn: apt-get install maven"


def test_a_healthy_machine_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([Finding("go", "1.26")]) == 0
    assert "Missing" not in capsys.readouterr().out


def test_a_program_that_is_not_there_says_nothing() -> None:
    assert doctor.ask(["surely-no-such-program"]) == ""
    assert doctor.ask(["false"]) == ""
