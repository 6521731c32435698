"""Small copies of CIFAR-10, in both forms, as archive and as folder."""

from pathlib import Path

import pytest

from tests.experiments.data.small_cifar import FILES, RELEASES, trust, write_archive, write_folder


@pytest.fixture
def cifar10(tmp_path, monkeypatch) -> dict[str, Path]:
    """Paths by form, such as "python archive"; the digests of their files count as official."""
    place = tmp_path / "official"
    paths = {}
    for form, release in RELEASES.items():
        contents = FILES[form]()
        paths[f"{form} folder"] = write_folder(place / release.folder, contents)
        paths[f"{form} archive"] = write_archive(place / release.archive, release, contents)
    trust(monkeypatch)
    return paths
