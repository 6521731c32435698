"""The table of commands: where each lives, its options and its line of help."""

from typing import NamedTuple


class Command(NamedTuple):
    """Where a command lives, and a line of help.

    Attributes:
        module: in which it lives.
        config: its dataclass of options.
        function: what runs it.
        help: the line.
        writes: config attribute that names the directory to lock while the command runs;
            None where it only reads, or writes single files at once.
        takes_hosts: whether several processes can do it together.
    """

    module: str
    config: str
    function: str
    help: str
    writes: str | None = "out"
    takes_hosts: bool = False


COMMANDS: dict[str, Command] = {
    "quickstart": Command(
        "experiments.quickstart.synthesis", "QuickstartConfig", "quickstart",
        "the whole job on handwritten digits, with a report; two minutes on a laptop",
        writes="directory",
    ),
    "data prepare": Command(
        "experiments.data.prepare_cifar10", "PrepareConfig", "prepare",
        "CIFAR-10's official archive → a TFDS data set, without TensorFlow",
        writes="target",
    ),
    "data import": Command(
        "experiments.data.import_folder", "ImportConfig", "import_folder",
        "a folder of your own pictures, one subfolder a class → a TFDS data set",
    ),
    "data show": Command(
        "experiments.data.show", "ShowConfig", "show",
        "classes, counts and a contact sheet of a data set",
        writes=None,
    ),
    "data subset": Command(
        "experiments.data.subset", "SubsetConfig", "make_subset",
        "so many images of each class, drawn by key → a small data set",
    ),
    "augment": Command(
        "experiments.data.augment", "AugmentConfig", "augment",
        "random squares of a set's images, enlarged → an image set",
    ),
    "classifier train": Command(
        "experiments.classifier.train", "ClassifierTrainConfig", "train_classifier",
        "train a classifier, also with images replaced by synthesised ones, or with extra sets",
        takes_hosts=True,
    ),
    "classifier evaluate": Command(
        "experiments.classifier.evaluate", "ClassifierEvaluateConfig", "evaluate_classifier",
        "accuracy, confusion and calibration on a whole test set",
        writes=None,
    ),
    "gan train": Command(
        "experiments.gan.train", "GanTrainConfig", "train_gan",
        "train a DCGAN or a Stacked GAN on a small data set",
        takes_hosts=True,
    ),
    "gan sample": Command(
        "experiments.gan.sample", "GanSampleConfig", "sample_gan",
        "images of chosen classes from a GAN, sorted by a classifier if asked → an image set",
    ),
    "select": Command(
        "experiments.gan.select", "SelectConfig", "select",
        "keep the images of a set whose predicted class is the one intended → an image set",
    ),
    "synthesize": Command(
        "experiments.synthesis.command", "SynthesizeConfig", "synthesize_set",
        "make images that elicit chosen outputs from a classifier",
        takes_hosts=True,
    ),
    "gan evaluate": Command(
        "experiments.gan.evaluate", "GanEvaluateConfig", "evaluate_gan",
        "how good generated images are, beside real ones",
    ),
    "verify": Command(
        "experiments.verify.command", "VerifyConfig", "verify",
        "check every digest below a directory, and repeat some of an experiment by its keys",
        writes=None,
    ),
    "report": Command(
        "experiments.papers.report", "ReportConfig", "report",
        "an experiment's table and report again from its files; or two of its results compared",
        writes=None,
    ),
    "experiment list": Command(
        "experiments.papers.list_experiments", "ListConfig", "list_experiments",
        "the experiments there are, and what their presets measure",
        writes=None,
    ),
    "experiment table-a": Command(
        "experiments.papers.table_a", "TableAConfig", "table_a",
        "paper A's table 1: accuracy with 0 to 50% of the training images replaced",
    ),
    "experiment table-b": Command(
        "experiments.papers.table_b", "TableBConfig", "table_b",
        "paper B's table 2: accuracy with a GAN's images beside few real ones, sorted or not",
    ),
    "experiment figures-a": Command(
        "experiments.papers.figures_a", "FiguresAConfig", "figures_a",
        "paper A's figures 1 and 3 to 5: its update rules side by side, with numbers",
    ),
    "experiment figures-b": Command(
        "experiments.papers.figures_b", "FiguresBConfig", "figures_b",
        "paper B's figure 3: a GAN's images, sorted, beside geometric augmentation",
    ),
    "experiment closed-loop": Command(
        "experiments.papers.closed_loop", "ClosedLoopConfig", "closed_loop",
        "paper B's comparison: classifiers trained with and without a GAN's images, sorted or not",
    ),
}  # fmt: skip
