"""The table of commands: module, options, function and help line of each."""

import importlib
from typing import Any, NamedTuple


class Command(NamedTuple):
    """A command of `elicit`.

    Attributes:
        module: module with the command's code.
        function: name of the function that runs it.
        options: its dataclass of options, in a module of `experiments.options`.
        help: one line for `elicit --help`.
        writes: config attribute that names the directory to lock while the command runs; None for
            commands that only read, or that write single files at once.
        is_distributed: whether several processes can run it together.
    """

    module: str
    function: str
    options: str
    help: str
    writes: str | None = "out"
    is_distributed: bool = False

    def config_type(self) -> Any:
        """The dataclass of options; no JAX is imported for it."""
        module, _, name = self.options.partition(".")
        return getattr(importlib.import_module(f"experiments.options.{module}"), name)

    def run(self, config: Any) -> None:
        """Imports the command's code and runs it."""
        getattr(importlib.import_module(self.module), self.function)(config)


COMMANDS: dict[str, Command] = {
    "quickstart": Command(
        "experiments.quickstart.synthesis", "quickstart", "quickstart.QuickstartConfig",
        "the whole job on handwritten digits, with a report; two minutes on a laptop",
        writes="directory",
    ),
    "explore": Command(
        "experiments.explore.command", "explore", "explore.ExploreConfig",
        "a page in the browser: choose an output, and watch an image come to elicit it",
        writes=None,
    ),
    "data prepare": Command(
        "experiments.data.prepare_cifar", "prepare", "data.PrepareConfig",
        "CIFAR-10 or CIFAR-100: official archive → a TFDS data set, without TensorFlow",
        writes="target",
    ),
    "data import": Command(
        "experiments.share.import_export", "import_directory", "data.ImportConfig",
        "a folder of your own pictures, one subfolder a class, or an export → a TFDS data set",
    ),
    "data show": Command(
        "experiments.data.show", "show", "data.ShowConfig",
        "classes, counts and a contact sheet of a data set",
        writes=None,
    ),
    "data subset": Command(
        "experiments.data.subset", "make_subset", "data.SubsetConfig",
        "a number of images of each class, drawn by key → a small data set",
    ),
    "data resize": Command(
        "experiments.data.resize", "resize", "data.ResizeConfig",
        "all images of a data set in another size, such as MNIST's in 32 x 32 pixels",
    ),
    "augment": Command(
        "experiments.data.augment", "augment", "data.AugmentConfig",
        "random square crops of a set's images, enlarged → an image set",
    ),
    "classifier train": Command(
        "experiments.classifier.train", "train_classifier", "classifier.ClassifierTrainConfig",
        "train a classifier, also with images replaced by synthesised ones, or with extra sets",
        is_distributed=True,
    ),
    "classifier evaluate": Command(
        "experiments.classifier.evaluate", "evaluate_classifier",
        "classifier.ClassifierEvaluateConfig",
        "accuracy, confusion and calibration on a whole test set",
        writes=None,
    ),
    "gan train": Command(
        "experiments.gan.train", "train_gan", "gan.GanTrainConfig",
        "train a DCGAN or a Stacked GAN on a small data set",
        is_distributed=True,
    ),
    "gan sample": Command(
        "experiments.gan.sample", "sample_gan", "gan.GanSampleConfig",
        "images of chosen classes from a GAN, optionally sorted by a classifier → an image set",
    ),
    "select": Command(
        "experiments.gan.select", "select", "gan.SelectConfig",
        "keep the images of a set that are classified as intended → an image set",
    ),
    "synthesize": Command(
        "experiments.synthesis.command", "synthesize_set", "synthesis.SynthesizeConfig",
        "make images that elicit chosen outputs from a classifier",
        is_distributed=True,
    ),
    "exemplars": Command(
        "experiments.synthesis.exemplars", "make_exemplars", "synthesis.ExemplarsConfig",
        "a few images a class on which a classifier can be retrained without forgetting",
    ),
    "transfer": Command(
        "experiments.transfer.command", "measure_transfer", "synthesis.TransferConfig",
        "what synthesised images say to classifiers that did not make them",
    ),
    "gan evaluate": Command(
        "experiments.gan.evaluate", "evaluate_gan", "gan.GanEvaluateConfig",
        "quality of generated images, compared with real ones",
    ),
    "export": Command(
        "experiments.share.command", "export", "export.ExportConfig",
        "an image set for Hugging Face, as PNG files or NumPy arrays; a trained network for JAX",
    ),
    "verify": Command(
        "experiments.verify.command", "verify", "verify.VerifyConfig",
        "check every digest below a directory, and compute parts of an experiment again",
        writes=None,
    ),
    "report": Command(
        "experiments.papers.report", "report", "papers.ReportConfig",
        "write an experiment's table and report again, or compare two of its results",
        writes=None,
    ),
    "experiment list": Command(
        "experiments.papers.list_experiments", "list_experiments", "papers.ListConfig",
        "all experiments, and what their presets measure",
        writes=None,
    ),
    "experiment table-a": Command(
        "experiments.papers.table_a", "table_a", "papers.TableAConfig",
        "paper A's table 1: accuracy with 0 to 50% of the training images replaced",
    ),
    "experiment table-b": Command(
        "experiments.papers.table_b", "table_b", "papers.TableBConfig",
        "paper B's table 2: accuracy with a GAN's images beside few real ones, sorted or not",
    ),
    "experiment figures-a": Command(
        "experiments.papers.figures_a", "figures_a", "papers.FiguresAConfig",
        "paper A's figures 1 and 3 to 5: its update rules side by side, with numbers",
    ),
    "experiment figures-b": Command(
        "experiments.papers.figures_b", "figures_b", "papers.FiguresBConfig",
        "paper B's figure 3: a GAN's images, sorted, beside geometric augmentation",
    ),
    "experiment questions-b": Command(
        "experiments.papers.questions_b", "questions_b", "papers.QuestionsBConfig",
        "what paper B leaves open: how many samples, how mixed, fewer images, more levels",
    ),
    "experiment closed-loop": Command(
        "experiments.papers.closed_loop", "closed_loop", "papers.ClosedLoopConfig",
        "paper B's comparison: classifiers trained with and without a GAN's images, sorted or not",
    ),
    "experiment does-it-help": Command(
        "experiments.papers.does_it_help.command", "does_it_help", "papers.DoesItHelpConfig",
        "whether made images help a classifier of few images, against matched controls",
    ),
}  # fmt: skip
