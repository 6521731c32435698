"""Small copies of CIFAR-10, in both forms, as archive and as folder."""

from pathlib import Path

import pytest

from tests.experiments.data.small_cifar10 import (
    FILES,
    RELEASES,
    python_files,
    trust,
    write_archive,
    write_folder,
)


@pytest.fixture
def cifar10(tmp_path, monkeypatch) -> dict[str, Path]:
    """Paths by form, such as "python archive"; their checksums count as the official ones."""
    place = tmp_path / "official"
    paths = {}
    for form, release in RELEASES.items():
        contents = FILES[form]()
        paths[f"{form} folder"] = write_folder(place / release.folder, contents)
        paths[f"{form} archive"] = write_archive(place / release.archive, release, contents)
    archives = {r.archive: paths[f"{form} archive"] for form, r in RELEASES.items()}
    trust(monkeypatch, files=python_files(), archives=archives)
    return paths
