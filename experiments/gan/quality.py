"""Measured quality of generated images, beside that of real test images."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SetQuality:
    """Quality of one image set.

    Attributes:
        images: Number of images.
        measures: Values by full name, such as `frechet_kono-cnn_5000`: measure, network of the
            classifier, and number of images. Only values of the same full name can be compared.
        acceptance_by_class: Share of each class's images that the classifier assigns to it; None
            for a class without images.
        confusion: Number of images by [label, predicted class].
    """

    images: int
    measures: dict[str, float]
    acceptance_by_class: dict[str, float | None]
    confusion: list[list[int]]


@dataclass(frozen=True)
class GanQuality:
    """Quality of generated images, and of real test images measured in the same way.

    Attributes:
        generated: Quality of the generated images.
        real_test: Quality of the real test images.
        real_train_images: Number of real training images, which both are measured against.
        class_names: Names of the classes, in the order of the labels.
        network: Network of the classifier.
        classifier_sha256: Digest of the classifier.
        features: Length of the classifier's feature vectors.
        neighbours: The nearest neighbour that an image's neighbourhood reaches to.
    """

    generated: SetQuality
    real_test: SetQuality
    real_train_images: int
    class_names: tuple[str, ...]
    network: str
    classifier_sha256: str
    features: int
    neighbours: int

    def measure_name(self, measure: str, images: int) -> str:
        """Full name of a measure that is taken of so many images."""
        return f"{measure}_{self.network}_{images}"

    def to_json(self) -> dict[str, object]:
        """Fields of `result.json`."""
        return {
            "generated": asdict(self.generated),
            "real_test": asdict(self.real_test),
            "real_train": {"images": self.real_train_images},
            "class_names": list(self.class_names),
            "feature_source": {
                "network": self.network,
                "classifier_sha256": self.classifier_sha256,
                "features": self.features,
            },
            "neighbours": self.neighbours,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "GanQuality":
        """Reads the fields of `result.json`."""
        return cls(
            SetQuality(**fields["generated"]),
            SetQuality(**fields["real_test"]),
            fields["real_train"]["images"],
            tuple(fields["class_names"]),
            **fields["feature_source"],
            neighbours=fields["neighbours"],
        )
