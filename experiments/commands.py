"""The table of commands: module, options, function and help line of each."""

from typing import NamedTuple


class Command(NamedTuple):
    """A command of `elicit`.

    Attributes:
        module: module with the command's code.
        config: name of its dataclass of options.
        function: name of the function that runs it.
        help: one line for `elicit --help`.
        writes: config attribute that names the directory to lock while the command runs; None for
            commands that only read, or that write single files at once.
        is_distributed: whether several processes can run it together.
    """

    module: str
    config: str
    function: str
    help: str
    writes: str | None = "out"
    is_distributed: bool = False


COMMANDS: dict[str, Command] = {
    "quickstart": Command(
        "experiments.quickstart.synthesis", "QuickstartConfig", "quickstart",
        "the whole job on handwritten digits, with a report; two minutes on a laptop",
        writes="directory",
    ),
    "explore": Command(
        "experiments.explore.command", "ExploreConfig", "explore",
        "a page in the browser: choose an output, and watch an image come to elicit it",
        writes=None,
    ),
    "data prepare": Command(
        "experiments.data.prepare_cifar", "PrepareConfig", "prepare",
        "CIFAR-10 or CIFAR-100: official archive → a TFDS data set, without TensorFlow",
        writes="target",
    ),
    "data import": Command(
        "experiments.share.import_export", "ImportConfig", "import_directory",
        "a folder of your own pictures, one subfolder a class, or an export → a TFDS data set",
    ),
    "data show": Command(
        "experiments.data.show", "ShowConfig", "show",
        "classes, counts and a contact sheet of a data set",
        writes=None,
    ),
    "data subset": Command(
        "experiments.data.subset", "SubsetConfig", "make_subset",
        "a number of images of each class, drawn by key → a small data set",
    ),
    "data resize": Command(
        "experiments.data.resize", "ResizeConfig", "resize",
        "all images of a data set in another size, such as MNIST's in 32 x 32 pixels",
    ),
    "augment": Command(
        "experiments.data.augment", "AugmentConfig", "augment",
        "random square crops of a set's images, enlarged → an image set",
    ),
    "classifier train": Command(
        "experiments.classifier.train", "ClassifierTrainConfig", "train_classifier",
        "train a classifier, also with images replaced by synthesised ones, or with extra sets",
        is_distributed=True,
    ),
    "classifier evaluate": Command(
        "experiments.classifier.evaluate", "ClassifierEvaluateConfig", "evaluate_classifier",
        "accuracy, confusion and calibration on a whole test set",
        writes=None,
    ),
    "gan train": Command(
        "experiments.gan.train", "GanTrainConfig", "train_gan",
        "train a DCGAN or a Stacked GAN on a small data set",
        is_distributed=True,
    ),
    "gan sample": Command(
        "experiments.gan.sample", "GanSampleConfig", "sample_gan",
        "images of chosen classes from a GAN, optionally sorted by a classifier → an image set",
    ),
    "select": Command(
        "experiments.gan.select", "SelectConfig", "select",
        "keep the images of a set that are classified as intended → an image set",
    ),
    "synthesize": Command(
        "experiments.synthesis.command", "SynthesizeConfig", "synthesize_set",
        "make images that elicit chosen outputs from a classifier",
        is_distributed=True,
    ),
    "exemplars": Command(
        "experiments.synthesis.exemplars", "ExemplarsConfig", "make_exemplars",
        "a few images a class on which a classifier can be retrained without forgetting",
    ),
    "transfer": Command(
        "experiments.transfer.command", "TransferConfig", "measure_transfer",
        "what synthesised images say to classifiers that did not make them",
    ),
    "gan evaluate": Command(
        "experiments.gan.evaluate", "GanEvaluateConfig", "evaluate_gan",
        "quality of generated images, compared with real ones",
    ),
    "export": Command(
        "experiments.share.command", "ExportConfig", "export",
        "an image set for Hugging Face, as PNG files or NumPy arrays; a trained network for JAX",
    ),
    "verify": Command(
        "experiments.verify.command", "VerifyConfig", "verify",
        "check every digest below a directory, and compute parts of an experiment again",
        writes=None,
    ),
    "report": Command(
        "experiments.papers.report", "ReportConfig", "report",
        "write an experiment's table and report again, or compare two of its results",
        writes=None,
    ),
    "experiment list": Command(
        "experiments.papers.list_experiments", "ListConfig", "list_experiments",
        "all experiments, and what their presets measure",
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
    "experiment questions-b": Command(
        "experiments.papers.questions_b", "QuestionsBConfig", "questions_b",
        "what paper B leaves open: how many samples, how mixed, fewer images, more levels",
    ),
    "experiment closed-loop": Command(
        "experiments.papers.closed_loop", "ClosedLoopConfig", "closed_loop",
        "paper B's comparison: classifiers trained with and without a GAN's images, sorted or not",
    ),
    "experiment does-it-help": Command(
        "experiments.papers.does_it_help.command", "DoesItHelpConfig", "does_it_help",
        "whether made images help a classifier of few images, against matched controls",
    ),
}  # fmt: skip
