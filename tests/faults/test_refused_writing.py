"""A full disk or a place without permission to write: one line, and later the command continues."""

import subprocess

import pytest

from tests.faults.harness import LOG, OUT, Job, content

pytestmark = pytest.mark.slow

# The largest file that can be written, and the first that is larger.
LIMITS = {
    "synthesize": {300: "out/config.json", 20_000: "out/synthesised-train.array_record-0000"},
    "classifier": {300: "out/config.json", 2_000: "out/checkpoints/", 15_000: "out/report.html"},
}
MOUNT = ("mount", "-t", "tmpfs", "-o")


def assert_one_line(status, printed, *, naming, because):
    assert status == 2, printed
    lines = [line for line in printed.splitlines() if not line.startswith("[")]  # no progress
    assert len(lines) == 1, printed
    assert lines[0].startswith("elicit ")
    for words in (naming, because, "choose another place"):
        assert words in lines[0]


def assert_nothing_half_made(out, whole):
    """Files with final names are equal to those of a complete run, or to a beginning of them."""
    for name, found in (content(out) if out.exists() else {}).items():
        if name.endswith("metrics.jsonl"):
            assert whole.content[name].startswith(found)
        elif not name.startswith("checkpoints/"):  # whose digests `content` has checked
            assert found == whole.content[name], name


def under_final_names(out):
    return {name: found for name, found in content(out).items() if not name.endswith(".partial")}


@pytest.mark.parametrize("name", LIMITS)
def test_a_file_that_cannot_be_written_whole(name, driver, undisturbed, tmp_path):
    whole = undisturbed(name)
    directory = tmp_path / "full"
    for limit, file in LIMITS[name].items():
        status, printed = driver.run(whole.words, directory, file_bytes=limit)
        assert_one_line(status, printed, naming=file, because="File too large")
        assert_nothing_half_made(directory / OUT, whole)
    driver.complete(whole, directory)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and a function that makes it larger."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run([*MOUNT, "size=700k", "none", place], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place, lambda: subprocess.run([*MOUNT, "remount,size=9m", "none", place], check=True)
    subprocess.run(["umount", "--lazy", place], check=True)  # noqa: S607 - as every system has it


def test_a_full_disk(driver, undisturbed, small_disk):
    whole = undisturbed("synthesize")
    directory, enlarge = small_disk
    status, printed = driver.run(whole.words, directory)
    assert_one_line(status, printed, naming="out/", because="No space left on device")
    assert_nothing_half_made(directory / OUT, whole)
    enlarge()
    driver.complete(whole, directory)


@pytest.mark.parametrize("name", LIMITS)
def test_a_place_that_may_not_be_written_to(name, driver, commands, tmp_path):
    tmp_path.chmod(0o555)
    status, printed = driver.run(commands[name], tmp_path, heeds_permissions=True)
    assert_one_line(status, printed, naming="out", because="Permission denied")
    assert [path.name for path in tmp_path.iterdir()] == [LOG]


def test_an_output_that_may_no_longer_be_written_to(driver, undisturbed, tmp_path):
    whole = undisturbed("synthesize")
    directory, out = tmp_path / "work", tmp_path / "work" / OUT
    cut = driver.start(Job(whole.words, directory, steps=tmp_path / "steps", kill_at=8))
    cut.wait()
    before = under_final_names(out)
    out.chmod(0o555)
    status, printed = driver.run(whole.words, directory, heeds_permissions=True)
    assert_one_line(status, printed, naming="out", because="Permission denied")
    assert under_final_names(out) == before
    out.chmod(0o755)
    driver.complete(whole, directory)
